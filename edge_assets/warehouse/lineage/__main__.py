"""`python -m edge_assets.warehouse.lineage`: write columns.json anew."""

from edge_assets.warehouse.lineage import FILE
from edge_assets.warehouse.lineage.relations import text

if __name__ == "__main__":
    FILE.write_text(text())
    print(FILE)
