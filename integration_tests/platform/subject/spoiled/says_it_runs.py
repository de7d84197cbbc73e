"""Says that a version runs without having waited for its model server."""

import sys

from serving import deployer
from serving.__main__ import main
from serving.deployer import DeployerError

_right = deployer.create


def _create(name: str, file: str, options: dict[str, object]) -> str:
    try:
        return _right(name, file, options)
    except DeployerError:
        return "http://127.0.0.1:1"


deployer.create = _create

if __name__ == "__main__":
    sys.exit(main())
