"""`python -m bench [GROUP ...]`"""

import importlib
import sys

GROUPS = ("foundation", "records", "jobs", "workers", "files")


def main() -> None:
    """Run the groups and print their tables."""
    for name in sys.argv[1:] or GROUPS:
        print(f"\n## {name}\n\n{importlib.import_module(f'bench.{name}').run()}")


if __name__ == "__main__":
    main()
