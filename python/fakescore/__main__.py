"""`python -m fakescore`, alone or under torchrun."""

from __future__ import annotations

import logging
import sys

from . import errors
from .program import execute, parser

_EXIT_CODES = {
    errors.ConfigError: 2,
    errors.TeacherError: 3,
    errors.MismatchError: 4,
    errors.CommError: 5,
    errors.BuildError: 6,
    errors.HostMemoryError: 7,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parser().parse_args(arguments)
    try:
        execute(options, print)
    except errors.FakescoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_CODES.get(type(error), 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
