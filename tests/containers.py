"""Projects on the compose engine: an image that runs the actor, services on it, and proof that nothing is left."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import tempfile
from datetime import datetime
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from projects import ACTOR, Project

from harness import clock, procs
from harness.daemon import Api, connect, find_daemon
from harness.images import find_base
from harness.ownership import objects
from harness.ownership.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.docker_sdk import APIClient
    from harness.runs import Stack

NAME = "harness-test-actor"
LABEL = "harness.test"
DOCKERFILE = """\
ARG BASE
FROM $BASE
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
COPY actor.py /actor.py
ENV PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["python3", "-u", "/actor.py"]
"""
PYTEST = ("pytest", "pluggy", "iniconfig", "packaging", "pygments")  # none of these is compiled
PYTEST_DOCKERFILE = """\
FROM {image}
COPY site /site
COPY pytest /usr/local/bin/pytest
RUN chmod 755 /usr/local/bin/pytest
ENV PYTHONPATH=/site
WORKDIR /suite
"""
PYTEST_PROGRAM = "#!/usr/bin/python3\nimport sys, pytest\nsys.exit(pytest.main())\n"
BUILD_BUDGET = 600.0
FORWARDED = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def find_engine() -> APIClient:
    """Return a client of the engine that these tests use. Raises HarnessError when none answers."""
    return connect(find_daemon(os.environ), within=2)


def actor_image(client: APIClient) -> str:
    """Return the image in which the actor runs, built when the engine does not have it."""
    base = find_base(client)
    assert base, "the engine answers and has no harness-base image: `harness images.base` makes it"
    content = {"Dockerfile": DOCKERFILE.encode(), "actor.py": ACTOR.read_bytes()}
    digest = hashlib.sha256(b"\0".join([base.encode(), *content.values()])).hexdigest()[:12]
    tag = f"{NAME}:{digest}"
    with locked(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}.lock", BUILD_BUDGET):
        if not client.images(name=tag):
            arguments = {"BASE": base, **{name: os.environ[name] for name in FORWARDED if name in os.environ}}
            said = build(client, tag, content, arguments)
            assert client.images(name=tag), said
    return tag


def image_id(dock: Dock) -> str:
    """Return the id of the actor's image, in which there is Python."""
    return str(dock.client.inspect_image(dock.image)["Id"])


def pytest_image(client: APIClient, image: str) -> str:
    """Return the image of the actor with pytest in it, built when the engine does not have it."""
    content = {"Dockerfile": PYTEST_DOCKERFILE.format(image=image).encode(), "pytest": PYTEST_PROGRAM.encode()}
    for name in PYTEST:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            if path.suffix != ".pyc" and ".." not in file.parts and path.is_file():
                content[f"site/{file}"] = path.read_bytes()
    digest = hashlib.sha256(b"\0".join(content[name] for name in sorted(content))).hexdigest()[:12]
    tag = f"{NAME}-pytest:{digest}"
    with locked(Path(tempfile.gettempdir()) / f"{NAME}-{os.getuid()}.lock", BUILD_BUDGET):
        if not client.images(name=tag):
            said = build(client, tag, content, {})
            assert client.images(name=tag), said
    return tag


def build(client: APIClient, tag: str, content: dict[str, bytes], arguments: dict[str, str]) -> str:
    """Build an image out of files; return what the engine said."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, data in content.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(data)
            archive.addfile(facts, io.BytesIO(data))
    context.seek(0)
    lines: Iterable[Any] = client.build(
        fileobj=context, custom_context=True, tag=tag, buildargs=arguments, rm=True, decode=True, labels={LABEL: "1"}
    )
    return "".join(str(line.get("stream") or line.get("error") or "") for line in lines)


class Dock(Project):
    """A project whose stacks are containers. ``left`` tells what of it is on the engine."""

    def __init__(self, root: Path, state: Path, client: APIClient, image: str) -> None:
        super().__init__(root, state)
        self.client: Any = client  # its stubs leave out much of what is asked for here
        self.image = image
        self.checkout = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        self.bystanders: list[tuple[str, str]] = []
        self.environ["HARNESS_ENGINE"] = "compose"

    def box(self, *words: str, **table: Any) -> dict[str, Any]:
        """Return a service that runs the actor with ``words`` in a container; ``harness`` is its x-harness."""
        harness = table.pop("harness", None)
        made: dict[str, Any] = {"image": self.image, "command": list(words), **table}
        return {**made, "x-harness": harness} if harness is not None else made

    def up(self, *words: str, **table: Any) -> dict[str, Any]:
        """Return a service that says ``up`` and waits, and is ready then."""
        harness = {"ready": [{"log": "up"}], **table.pop("harness", {})}
        return self.box(*words, "say:up", "wait", harness=harness, **table)

    def web(self, *words: str, delay: float = 0.0, port: int = 8080, **table: Any) -> dict[str, Any]:
        """Return a service that answers HTTP on its port 80, and is green ``delay`` seconds after its start."""
        ready = [{"http": {"port": port, "json": {"status": "green"}}}]
        harness = {"ready": ready, **table.pop("harness", {})}
        return self.box(*words, f"serve:0.0.0.0:80:{delay}", "wait", ports=[f"{port}:80"], harness=harness, **table)

    def objects(self) -> list[objects.Object]:
        """Return the containers, networks and volumes of this project."""
        return objects.find(Api(find_daemon(os.environ)), f"{objects.CHECKOUT}={self.checkout}")

    def left(self) -> list[str]:
        """Return what of this project is on the engine, in words."""
        return [str(one) for one in self.objects()]

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the container of a service, which must be one."""
        found = [
            one
            for one in self.objects()
            if one.kind == "container" and one.labels["com.docker.compose.service"] == service
        ]
        assert len(found) == 1, found
        facts: dict[str, Any] = self.client.inspect_container(found[0].id)
        return facts

    def containers(self) -> dict[str, str]:
        """Return service -> id of every container of this project."""
        return {one.labels["com.docker.compose.service"]: one.id for one in self.objects() if one.kind == "container"}

    def bystander(self, labels: dict[str, str], network: str = "none", kind: str = "container") -> str:
        """Make something that is nobody's but the test's; return its id."""
        labels = {**labels, "harness.test.bystander": self.checkout}
        name = f"bystander-{self.checkout}-{len(self.bystanders)}"
        if kind == "volume":
            one = self.client.create_volume(name, labels=labels)["Name"]
        elif kind == "network":
            one = self.client.create_network(name, labels=labels, internal=True)["Id"]
        else:
            host = self.client.create_host_config(network_mode=network)
            made = self.client.create_container(self.image, ["wait"], labels=labels, name=name, host_config=host)
            one = made["Id"]
            self.bystanders.append((kind, one))
            self.client.start(one)
            return str(one)
        self.bystanders.append((kind, one))
        return str(one)

    def dismiss_bystanders(self) -> list[str]:
        """Remove the bystanders; return those that somebody else had removed before."""
        from harness.docker_sdk import NotFound  # noqa: PLC0415 - with an engine only

        gone = []
        for kind, one in reversed(self.bystanders):
            try:
                if kind == "container":
                    self.client.remove_container(one, force=True, v=True)
                elif kind == "network":
                    self.client.remove_network(one)
                else:
                    self.client.inspect_volume(one)
                    self.client.remove_volume(one)
            except NotFound:
                gone.append(f"{kind} {one}")
        self.bystanders.clear()
        return gone

    def wait_until_clear(self, seconds: float) -> list[str]:
        """Wait until the engine has nothing of this project and no process of it lives; return what is left."""
        left: list[str] = []
        for _ in clock.poll(clock.Deadline.after(seconds)):
            left = [*self.left(), *self.processes().values(), *(path.name for path in self.ledgers())]
            if not left:
                break
        return left

    def close(self) -> None:
        """End what the test left open; prove that nothing is left; remove the images that were built."""
        for run in self.runs:
            run.close()
        left = self.wait_until_clear(10)
        gone = self.dismiss_bystanders()
        try:
            assert (left, gone) == ([], []), f"left: {left}; removed by somebody: {gone}"
            for image in self.client.images(filters={"label": f"{objects.CHECKOUT}={self.checkout}"}):
                users = self.client.containers(all=True, filters={"ancestor": image["Id"]})
                assert not users, f"image {image['RepoTags']} has containers: {users}"
                self.client.remove_image(image["Id"], force=True)
        finally:
            self.client.close()


def ask(stack: Stack, service: str, port: int = 8080) -> dict[str, Any]:
    """Return the JSON that a service answers at its endpoint."""
    from harness.helpers import http  # noqa: PLC0415

    host, _, number = stack.endpoint(service, port).rpartition(":")
    answer: dict[str, Any] = http.ask(host, int(number)).json()
    return answer


def fetch(url: str) -> list[str]:
    """Return a command that prints the JSON which ``url`` answers, for use inside a container."""
    return ["python3", "-c", f"import urllib.request as u; print(u.urlopen({url!r}, timeout=30).read().decode())"]


def spawn(dock: Dock, output: Path, *argv: str) -> procs.Popen[bytes]:
    """Start a Python program in the project's folder."""
    with output.open("wb") as file:
        return procs.spawn([sys.executable, *argv], env=dock.environ, cwd=dock.root, output=file)


def moment(text: str) -> float:
    """Return the engine's time stamp as seconds."""
    return datetime.fromisoformat(text).timestamp()
