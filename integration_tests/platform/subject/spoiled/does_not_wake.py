"""Does not wake a version for an invocation."""

import sys

from serving import deploying
from serving.__main__ import main
from serving.api import Refused
from serving.models import Version

_right = deploying.invoke


def _invoke(version: Version, inputs: object) -> list[float]:
    if version.state == "asleep":
        raise Refused(409, f"version {version.number} is asleep")
    return _right(version, inputs)


deploying.invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
