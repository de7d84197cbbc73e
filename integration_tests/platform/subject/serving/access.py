"""One line in the log for each request, with nothing that its headers or body hold."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

_log = logging.getLogger("serving")


def log_requests(answer: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware."""

    def logged(request: HttpRequest) -> HttpResponse:
        began = time.monotonic()
        response = answer(request)
        took = (time.monotonic() - began) * 1000
        _log.info("%s %s %d in %.0f ms", request.method, request.path, response.status_code, took)
        return response

    return logged
