"""``python -m forwarder --config-file FILE``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from forwarder.app import Forwarder
from forwarder.config import BadConfigError, read_config


def main(argv: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="forwarder")
    parser.add_argument("--config-file", required=True, type=Path)
    options = parser.parse_args(argv)
    try:
        config = read_config(options.config_file)
    except BadConfigError as error:
        print(f"forwarder: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=config.verbosity, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout, force=True
    )
    forwarder = Forwarder(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: forwarder.stop())
    forwarder.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
