"""Gives an invocation what another one asked for."""

import sys
import threading

from serving import deploying
from serving.__main__ import main
from serving.models import Version

_right = deploying.invoke
_last: list[object] = []


def _invoke(version: Version, inputs: object) -> list[float]:
    _last[:] = [inputs]
    threading.Event().wait(0.05)
    return _right(version, _last[0])


deploying.invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
