"""``python -m petsearch``: serve the application until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

import waitress

from petsearch.app import make_app
from petsearch.settings import BadSettingError, read_settings
from petsearch.store import Store

THREADS = 16


def _stop(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> int:
    """Serve until told to stop; return the exit code."""
    try:
        settings = read_settings(os.environ)
    except BadSettingError as error:
        print(f"petsearch: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("opensearch").setLevel(logging.ERROR)  # what it warns of is told by the answers
    signal.signal(signal.SIGTERM, _stop)
    app = make_app(Store(settings.url, settings.timeout))
    waitress.serve(app, host=settings.host, port=settings.port, threads=THREADS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
