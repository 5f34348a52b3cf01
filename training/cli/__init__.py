"""The command line; `recsys` and `python -m training` start `main`."""

import sys

from recsys.errors import MissingExtra
from recsys.extras import optional_packages


def main() -> None:
    """Runs the `recsys` command; what it needs is imported only then.

    Ends with 2 where the packages of `recsys[train]` are not installed.
    """
    try:
        with optional_packages("The recsys command"):
            from training.cli.app import main as run
    except MissingExtra as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    run()
