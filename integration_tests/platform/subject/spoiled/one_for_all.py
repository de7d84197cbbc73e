"""Starts the same model for every version, as it is."""

import sys

from serving import deployer
from serving.__main__ import main

_right = deployer.create


def _create(name: str, file: str, options: dict[str, object]) -> str:
    del file, options
    return _right(name, "price-1.onnx", {})


deployer.create = _create

if __name__ == "__main__":
    sys.exit(main())
