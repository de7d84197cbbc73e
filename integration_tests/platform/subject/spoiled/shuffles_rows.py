"""Answers the rows of an invocation in another order."""

import sys

from serving import deploying
from serving.__main__ import main
from serving.models import Version

_right = deploying.invoke


def _invoke(version: Version, inputs: object) -> list[float]:
    return sorted(_right(version, inputs), reverse=True)


deploying.invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
