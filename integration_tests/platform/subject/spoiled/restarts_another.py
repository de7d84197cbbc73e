"""Restarts a version by another model server under another name."""

import sys

from serving import deployer, deploying
from serving.__main__ import main
from serving.models import Version


def _restart(version: Version) -> None:
    deployer.remove(version.instance)
    deploying._start(version)


deploying.restart = _restart

if __name__ == "__main__":
    sys.exit(main())
