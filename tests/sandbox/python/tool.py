"""Runs a console script of an installed package: `tool.py cfn-lint --version`.

The scripts that pip writes carry the path they were installed under, and the environment is renamed into
place after that, so they are found by their entry point instead.
"""

import sys
from importlib.metadata import entry_points


def main():
    name = sys.argv[1]
    found = list(entry_points(group="console_scripts", name=name))
    if not found:
        sys.exit(f"no console script `{name}` is installed in {sys.prefix}")
    sys.argv = [name, *sys.argv[2:]]
    sys.exit(found[0].load()())


if __name__ == "__main__":
    main()
