"""Keeps of a name what is ASCII."""

import sys

from serving.__main__ import main
from serving.api import Asked

_right = Asked.name


def _name(self: Asked) -> str:
    return _right(self).encode("ascii", "replace").decode()


Asked.name = _name  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
