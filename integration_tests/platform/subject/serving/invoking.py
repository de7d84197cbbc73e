"""Requests to a model server."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from serving.api import Refused

BAD_REQUEST, BAD_GATEWAY, TIMEOUT = 400, 502, 504


class NoAnswerError(Exception):
    """A model server gave no answer, or none that means something."""


def predict(url: str, inputs: object) -> list[float]:
    """Ask a model server.

    Raises:
        Refused: it refused the inputs, failed, or was too slow.
        NoAnswerError: it may have ended.
    """
    allowed = settings.VARIABLES.invoke_timeout
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=allowed)
    try:
        connection.request("POST", "/predict", json.dumps({"inputs": inputs}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        status, document = answer.status, json.loads(answer.read())
    except TimeoutError as error:
        raise Refused(TIMEOUT, f"the model server did not answer in {allowed:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError("the model server gave no answer") from error
    finally:
        connection.close()
    return _outputs(status, document)


def _outputs(status: int, document: Any) -> list[float]:
    told = document if isinstance(document, dict) else {}
    if status == http.client.OK and isinstance(told.get("outputs"), list):
        return list(told["outputs"])
    words = str(told.get("error", f"it answered {status}"))
    if status == BAD_REQUEST:
        raise Refused(BAD_REQUEST, words)
    raise Refused(BAD_GATEWAY, f"the model server failed: {words}")
