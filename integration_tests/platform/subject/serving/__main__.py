"""``python -m serving``: serve the platform until told to stop. One process, many threads."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import NoReturn

import django
import waitress
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

THREADS = 64
BAD_SETTING, BAD_DATABASE, NO_PORT = 2, 3, 4
"""Exit codes."""


def _stop(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> int:
    """Serve until told to stop; return the exit code."""
    signal.signal(signal.SIGTERM, _stop)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "serving.settings")
    try:
        django.setup()
    except ImproperlyConfigured as error:
        print(f"serving: {error}", file=sys.stderr)
        return BAD_SETTING
    # They need Django's settings.
    from django.core.wsgi import get_wsgi_application

    from serving import database, deploying

    try:
        database.check()
    except database.BadDatabaseError as error:
        print(f"serving: {error}", file=sys.stderr)
        return BAD_DATABASE
    if count := deploying.recover():
        logging.getLogger("serving").warning("%d versions were being deployed when the platform ended", count)
    variables = settings.VARIABLES
    try:
        server = waitress.create_server(
            get_wsgi_application(), host=variables.host, port=variables.port, threads=THREADS
        )
    except OSError as error:
        print(f"serving: {variables.host}:{variables.port} cannot be had: {error.strerror}", file=sys.stderr)
        return NO_PORT
    logging.getLogger("serving").info("serves at http://%s:%d", variables.host, variables.port)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
