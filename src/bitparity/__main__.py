"""Entry point of the command `bitparity` and of `python -m bitparity`."""

import sys

from bitparity import __version__


def main() -> None:
    """Run the command line; the version alone is told without loading it."""
    if sys.argv[1:] == ["--version"]:
        print(f"bitparity {__version__}")
        return
    from bitparity.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
