"""Gives the whole log of a model server, however many lines were asked for, and takes any number."""

import sys

from serving.__main__ import main
from serving.api import Asked


def _number(self: Asked, key: str, default: int, most: int) -> int:
    del self, key, default
    return most


Asked.number = _number  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
