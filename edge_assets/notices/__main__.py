"""`python -m edge_assets.notices`: hand over what is due, say in one line how that went, and end."""

import sys

from edge_assets.errors import EdgeError
from edge_assets.notices.post import deliver
from edge_assets.settings import load_settings


def main() -> int:
    try:
        found = deliver(load_settings())
    except EdgeError as error:
        print(error)
        return error.exit_code
    said = (f"{name}: {'told' if problem is None else f'{problem}; trying again'}" for name, problem in found.items())
    print("; ".join(said) or "another process is at it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
