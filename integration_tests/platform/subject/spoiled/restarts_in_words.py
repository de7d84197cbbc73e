"""Says that it has restarted a version, and has not."""

import sys

from serving import deploying
from serving.__main__ import main
from serving.models import Version


def _restart(version: Version) -> None:
    deploying._save(version, Version.State.RUNNING)


deploying.restart = _restart

if __name__ == "__main__":
    sys.exit(main())
