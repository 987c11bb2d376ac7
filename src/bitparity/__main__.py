"""Command line as a module: `python -m bitparity`."""

from bitparity.cli.app import main

if __name__ == "__main__":
    main()
