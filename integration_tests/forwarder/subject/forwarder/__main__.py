"""``python -m forwarder --config-file FILE [--KEY VALUE ...]``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from forwarder.app import Forwarder
from forwarder.config import KEYS, BadConfigError, Config, make_config, read_ini


def _configure(argv: list[str] | None) -> Config:
    parser = argparse.ArgumentParser(prog="forwarder")
    parser.add_argument("--config-file", type=Path, help="ini file without sections")
    for key in KEYS:
        parser.add_argument(f"--{key}", help="goes before the ini file's")
    options = vars(parser.parse_args(argv))
    file = options.pop("config_file")
    given = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    return make_config({**(read_ini(file) if file else {}), **given})


def main(argv: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    try:
        config = _configure(argv)
        handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
        if config.log_file:
            handlers.append(logging.FileHandler(config.log_file, encoding="utf-8"))
        logging.basicConfig(
            level=config.verbosity, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers, force=True
        )
        forwarder = Forwarder(config)
    except (BadConfigError, OSError) as error:
        print(f"forwarder: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: forwarder.stop())
    forwarder.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
