"""Deletes a version and leaves its model server."""

import sys
from collections.abc import Iterable

from serving import deploying
from serving.__main__ import main
from serving.models import Version


def _delete(versions: Iterable[Version]) -> None:
    for version in versions:
        version.delete()


deploying.delete = _delete

if __name__ == "__main__":
    sys.exit(main())
