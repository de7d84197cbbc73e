"""The deployer, which starts and ends model servers for whoever knows its token."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

TIMEOUT = 60.0
"""Seconds for an answer: a model server is ready when the answer comes."""
TEMPLATE = "pynode"


class DeployerError(Exception):
    """The deployer did not do what it was asked for.

    Attributes:
        status: of its answer, 0 where there was none.
        log: the last lines of the model server, where it told them.
        in_doubt: it was asked and gave no answer, so it may have done it, or do it yet.
    """

    def __init__(self, words: str, status: int = 0, log: str = "", *, in_doubt: bool = False) -> None:
        super().__init__(words)
        self.status, self.log, self.in_doubt = status, log, in_doubt


def create(name: str, file: str, options: dict[str, Any]) -> str:
    """Start a model server and return its URL once it is ready. Raises DeployerError."""
    environment = {"MODEL_FILE": file, "MODEL_OPTIONS": json.dumps(options)}
    return str(_ask("POST", "", {"template": TEMPLATE, "name": name, "environment": environment})["url"])


def look(name: str) -> dict[str, Any]:
    """Return what a model server is doing. Raises DeployerError."""
    return dict(_ask("GET", f"/{name}"))


def logs(name: str, tail: int) -> str:
    """Return the last lines of a model server. Raises DeployerError."""
    return str(_ask("GET", f"/{name}/logs?tail={tail}"))


def restart(name: str) -> str:
    """Start a model server anew and return its URL once it is ready. Raises DeployerError."""
    return str(_ask("POST", f"/{name}/restart")["url"])


def remove(name: str) -> None:
    """End a model server; one that is not there is no error. Raises DeployerError."""
    try:
        _ask("DELETE", f"/{name}")
    except DeployerError as error:
        if error.status != http.client.NOT_FOUND:
            raise


def _ask(method: str, path: str, document: dict[str, Any] | None = None) -> Any:
    variables = settings.VARIABLES
    if not variables.deployer_url:
        raise DeployerError("there is no deployer: HARNESS_DEPLOYER_URL is not set")
    body = json.dumps(document) if document is not None else None
    parts = urlsplit(variables.deployer_url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT)
    asked = False
    try:
        token = Path(variables.deployer_token_file).read_text(encoding="ascii").strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.connect()
        asked = True
        connection.request(method, f"{parts.path}/instances{path}", body, headers)
        answer = connection.getresponse()
        status, said = answer.status, answer.read().decode(errors="replace")
    except (OSError, UnicodeDecodeError, http.client.HTTPException) as error:
        words = "gave no answer" if asked else "cannot be reached"
        raise DeployerError(f"the deployer {words}: {type(error).__name__}", in_doubt=asked) from error
    finally:
        connection.close()
    return _read(status, said, str(answer.headers.get_content_type()))


def _read(status: int, said: str, kind: str) -> Any:
    if kind != "application/json" or not said:
        document: Any = said
    else:
        try:
            document = json.loads(said)
        except ValueError as error:
            raise DeployerError("the deployer's answer is no JSON") from error
    if status < http.client.BAD_REQUEST:
        return document
    if status == http.client.UNAUTHORIZED:
        raise DeployerError("the deployer refused this server's token", status)
    told = document if isinstance(document, dict) else {}
    raise DeployerError(str(told.get("error", f"the deployer answered {status}")), status, str(told.get("log", "")))
