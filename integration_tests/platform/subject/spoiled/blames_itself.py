"""Tells inputs that a model does not take, and none, as a fault of its own."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Answer, Asked, Refused
from serving.models import Version

_right = views._invoke


def _invoke(asked: Asked, found: Version) -> Answer:
    try:
        return _right(asked, found)
    except Refused as error:
        raise Refused(500, str(error)) from error


views._invoke = _invoke

if __name__ == "__main__":
    sys.exit(main())
