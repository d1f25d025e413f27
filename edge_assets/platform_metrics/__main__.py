"""`python -m edge_assets.platform_metrics > docs/metrics.md`"""

from edge_assets.platform_metrics.page import markdown

if __name__ == "__main__":
    print(markdown(), end="")
