"""`python -m fetcher`."""

import gc
import sys

# Looked through at once: with Python's own 700, a tenth of a start goes into that.
_YOUNG_OBJECTS = 20_000


def main() -> None:
    """Run the program; Ctrl-C is no traceback, even while its modules are being read."""
    try:
        gc.set_threshold(_YOUNG_OBJECTS)
        from fetcher.cli.main import main as program  # noqa: PLC0415

        program()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
