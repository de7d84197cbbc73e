"""Projects with a deployer: a template, a stack whose service may have copies of it made, and what that could ask."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkout import TESTS
from projects import ACTOR, Project

from harness.helpers import http

if TYPE_CHECKING:
    from harness.runs import Stack

MODEL = TESTS / "deployer" / "model.py"


def template(project: Project, **table: Any) -> Path:
    """Write the template ``model.yaml``."""
    service = {
        "image": "model",
        "ports": ["8080:8080"],
        "environment": {"MODEL_FILE": "of the file"},
        "x-harness": {
            "embedded": {"command": ["python", str(MODEL), "{address}", "{port:8080}"]},
            "ready": [{"http": {"port": 8080}}],
        },
        **table,
    }
    path = project.root / "compose" / "model.yaml"
    path.write_text(json.dumps({"services": {"model": service}}))
    return path


def platform(project: Project, *, most: int = 3, **deployer: Any) -> None:
    """Write a stack whose service ``site`` may have copies of the template made."""
    site = {
        "image": "none",
        "ports": ["8080:8080"],
        "x-harness": {
            "host": {"command": ["python", str(ACTOR), "serve:{address}:{port:8080}:0", "wait"]},
            "ready": [{"http": {"port": 8080}}],
        },
    }
    made = {"file": "model.yaml", "service": "model", "environment": ["MODEL_FILE", "MODEL_OPTIONS"], "most": most}
    settings = {"tells": "site", "templates": {"pynode": made}, **deployer}
    project.environ["HARNESS_STACK"] = "s"
    project.stack("s", {"site": site}, **{"x-harness": {"deployer": settings}})


class Client:
    """What ``site`` could ask its deployer."""

    def __init__(self, stack: Stack, token: str = "") -> None:
        env = stack.service("site").env
        host, _, port = env["HARNESS_DEPLOYER_URL"].removeprefix("http://").rpartition(":")
        self.place = (host, int(port))
        self.token_file = Path(env["HARNESS_DEPLOYER_TOKEN_FILE"])
        self.token = token or self.token_file.read_text()

    def ask(self, method: str, path: str, body: object = None) -> http.Answer:
        """Ask it; return the answer."""
        return http.ask(
            *self.place,
            path,
            method=method,
            body=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )

    def create(self, name: str, **environment: str) -> http.Answer:
        """Have a copy made."""
        return self.ask("POST", "/instances", {"template": "pynode", "name": name, "environment": environment})


def place(url: str) -> tuple[str, int]:
    """Return the address of a URL."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


def served(url: str, path: str = "/") -> dict[str, Any]:
    """Return what a copy answers."""
    answer: dict[str, Any] = http.ask(*place(url), path).json()
    return answer


def answers(url: str) -> bool:
    """Return whether anybody listens at a URL."""
    with socket.socket() as probe:
        return probe.connect_ex(place(url)) == 0
