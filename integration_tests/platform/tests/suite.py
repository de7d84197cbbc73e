"""What the tests of the platform share: the platform as a user sees it, and what is around it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.helpers import http

if TYPE_CHECKING:
    from collections.abc import Callable

    import harness

MANAGE = ("python", "manage.py")
PATIENCE = 60.0
"""Seconds for an answer: a model server may have to be started for it."""
ALLOWED = 2.0
"""Seconds that the platform gives a model server (``INVOKE_TIMEOUT``)."""
LATE = 2.0
"""Seconds that a machine with much to do may take beside what it is given."""
FLAT = [50.0, 2.0, 10.0]
"""Area, rooms, age."""
PRICES = {"price-1.onnx": 115.0, "price-2.onnx": 162.0}
"""What each model says of it."""


@dataclass(frozen=True)
class Said:
    """An answer of the platform."""

    status: int
    body: Any
    headers: dict[str, str]
    seconds: float

    @property
    def error(self) -> str:
        """Why it was no success."""
        assert self.status >= 400, self
        return str(self.body["error"])

    @property
    def told(self) -> tuple[int, str]:
        """Status and error."""
        return self.status, self.error


class Platform:
    """The platform, asked as a user asks it: with an API key, and not seeing what is behind."""

    def __init__(self, url: str, key: str = "", *, scheme: str = "Bearer") -> None:
        headers = {"Authorization": f"{scheme} {key}"} if key else {}
        self.web = http.Session(url, headers=headers, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.web.close()

    def ask(self, method: str, path: str, document: object = None, *, data: bytes | None = None) -> Said:
        """Ask for a path. Every answer must be JSON."""
        body = json.dumps(document).encode() if document is not None else data
        answer = self.web.request(method, path, data=body)
        assert answer.headers["Content-Type"] == "application/json", answer.text
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return Said(answer.status_code, answer.json(), headers, answer.elapsed.total_seconds())

    def get(self, path: str) -> dict[str, Any]:
        """Return what is there; it must be."""
        said = self.ask("GET", path)
        assert said.status == 200, said
        return dict(said.body)

    def made(self, path: str, document: object) -> dict[str, Any]:
        """Make something; it must come about."""
        said = self.ask("POST", path, document)
        assert said.status == 201, said
        return dict(said.body)

    def done(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        """Have something done; it must be."""
        said = self.ask(method, path, document)
        assert said.status == 200, said
        return dict(said.body)

    def together(self, count: int, ask: Callable[[int], Said]) -> list[Said]:
        """Ask many times at once."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(ask, range(count)))


@dataclass(frozen=True)
class Model:
    """A model of a user."""

    platform: Platform
    pk: int

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/api/models/{self.pk}"

    def deploy(self, file: str = "price-1.onnx", **options: object) -> Version:
        """Deploy a version; it must come about."""
        made = self.platform.made(f"{self.path}/versions", {"file": file, "options": options})
        assert made["state"] == "running"
        return Version(self.platform, made["id"])

    def try_to_deploy(self, file: str = "price-1.onnx") -> Said:
        """Deploy a version, or not."""
        return self.platform.ask("POST", f"{self.path}/versions", {"file": file})

    def invoke(self, rows: object) -> Said:
        """Have the live version predict."""
        return self.platform.ask("POST", f"{self.path}/invoke", {"inputs": rows})

    def says(self) -> tuple[float, int]:
        """Return what it predicts of a flat, and which version did."""
        said = self.invoke([FLAT])
        assert said.status == 200, said
        return said.body["outputs"][0], said.body["version"]

    @property
    def live(self) -> int | None:
        """The number of its live version."""
        number: int | None = self.platform.get(self.path)["live"]
        return number


@dataclass(frozen=True)
class Version:
    """A deployed version."""

    platform: Platform
    pk: int

    @property
    def path(self) -> str:
        """Where it is."""
        return f"/api/versions/{self.pk}"

    @property
    def state(self) -> str:
        """What its model server is doing."""
        return str(self.platform.get(self.path)["state"])

    @property
    def instance(self) -> str:
        """The name of its model server."""
        return str(self.platform.get(self.path)["instance"])

    def act(self, what: str, document: object = None) -> dict[str, Any]:
        """Have something done with it: promote, restart, scale."""
        return self.platform.done("POST", f"{self.path}/{what}", document)

    def scale(self, replicas: int) -> dict[str, Any]:
        """Take its model server away, or have it back."""
        return self.act("scale", {"replicas": replicas})

    def invoke(self, rows: object = None) -> Said:
        """Have it predict."""
        return self.platform.ask("POST", f"{self.path}/invoke", {"inputs": rows or [FLAT]})

    def log(self, tail: int = 100) -> str:
        """Return the last lines of its model server."""
        return str(self.platform.get(f"{self.path}/logs?tail={tail}")["log"])

    def delete(self) -> None:
        """Delete it."""
        self.platform.done("DELETE", self.path)


class Deployer:
    """The deployer, of which the platform's users see nothing: what really runs."""

    def __init__(self, stack: harness.Stack) -> None:
        env = stack.service("django").env
        token = Path(env["HARNESS_DEPLOYER_TOKEN_FILE"]).read_text(encoding="ascii").strip()
        self.token = token
        self._web = http.Session(env["HARNESS_DEPLOYER_URL"], headers={"Authorization": f"Bearer {token}"}, timeout=10)

    @property
    def running(self) -> dict[str, str]:
        """The state of each model server by its name."""
        answer = self._web.get("/instances")
        return {instance["name"]: instance["state"] for instance in answer.json()["instances"]}

    def close(self) -> None:
        """Close it."""
        self._web.close()


def manage(stack: harness.Stack, *words: str) -> str:
    """Run a management command, which must succeed, and return what it printed."""
    done = stack.service("django").exec([*MANAGE, *words], timeout=PATIENCE)
    assert done.code == 0, done.stderr
    return done.stdout.strip()
