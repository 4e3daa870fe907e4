"""`python -m fetcher`."""

import sys


def main() -> None:
    """Run the program; Ctrl-C is no traceback, even while its modules are being read."""
    try:
        from fetcher.cli.main import main as program  # noqa: PLC0415

        program()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
