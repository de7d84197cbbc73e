"""Gives every version to whoever has any key."""

import sys

from serving import views
from serving.__main__ import main
from serving.api import Asked
from serving.models import Version


def _version(asked: Asked, pk: int) -> Version:
    del asked
    found: Version = Version.objects.get(pk=pk)
    return found


views._version = _version

if __name__ == "__main__":
    sys.exit(main())
