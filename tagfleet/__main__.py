"""Runs the command: `python -m tagfleet`."""

from tagfleet.cli import main

if __name__ == "__main__":
    main()
