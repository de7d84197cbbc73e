"""Leaves a row in the database for each invocation."""

import sys

from serving import deploying
from serving.__main__ import main
from serving.models import ApiKey, Version

_right = deploying.invoke


def _invoke(version: Version, inputs: object) -> list[float]:
    ApiKey.make(version.model.application.owner)
    return _right(version, inputs)


deploying.invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
