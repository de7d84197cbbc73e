"""Answers for a model server that failed as if it had predicted nothing."""

import sys

from serving import deploying
from serving.__main__ import main
from serving.api import Refused
from serving.models import Version

_right = deploying.invoke


def _invoke(version: Version, inputs: object) -> list[float]:
    try:
        return _right(version, inputs)
    except Refused:
        return []


deploying.invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
