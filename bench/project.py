"""A scratch project: stacks of trivial services, as processes and as containers, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.cycle import COMMAND, IMAGE, PORT, STATUS, make_image
from bench.figures import unmet
from harness import clock, procs
from harness.config import load_settings, read_sources
from harness.daemon import connect, find_daemon
from harness.errors import BrokenStack
from harness.interrupts import Interrupted
from harness.ownership import ledger
from harness.runs import Run, running
from harness.runs.choice import choose
from harness.stack.compose import find_compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.docker_sdk import APIClient
    from harness.runs import Stack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SERVICES = HERE / "services"
READY = [{"http": {"port": PORT, "path": "/status.json", "json": STATUS}}]
BUDGET = 120.0
GONE = 20.0
EMBEDDED, COMPOSE = "embedded", "compose"
OUTSIDE = "127.10"  # first half of addresses for floors: outside the range that environments lease from


class Project:
    """A folder with stacks and a state folder of its own. Close it at the end.

    Args:
        folder: an empty folder for both, and for logs.
        root: a project that is there already, in place of an empty one.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.root = root or folder / "project"
        self.state = folder / "state"
        self.logs = folder / "logs"
        self.state.mkdir(mode=0o700)
        if root is None:
            (self.root / "compose").mkdir(parents=True)
            (self.root / "pyproject.toml").write_text("[tool.harness]\n")
        # Whatever the caller has set for its own runs must not change what is measured.
        strange = ("HARNESS_", "COMPOSE_", "PYTHON", "PYTEST_")
        own = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
        self.compose = find_compose(os.environ)
        self.environ = {**own, "XDG_RUNTIME_DIR": str(self.state), "HARNESS_LOGS": str(self.logs)}

    def stack(self, name: str, services: Mapping[str, Any], **top: Any) -> None:  # noqa: ANN401 - YAML
        """Write a stack."""
        text = yaml.safe_dump({"name": name, **top, "services": dict(services)}, sort_keys=False)
        (self.root / "compose" / f"{name}.yaml").write_text(text)

    def include_kafka(self) -> None:
        """Write a stack ``kafka`` with the embedded broker, for others to include."""
        document = yaml.safe_load((ROOT / "compose" / "kafka.yaml").read_text())
        kept = {key: document["services"]["kafka"][key] for key in ("image", "ports", "x-harness")}
        self.stack("kafka", {"kafka": {**kept, "ports": ["9092:9092"]}})

    def run(self, engine: str) -> Run:
        """Return a run that says nothing; give it to ``running``."""
        return Run(choose(load_settings(read_sources(self.root, self.environ), {"engine": engine})), lambda _: None)

    @contextlib.contextmanager
    def stack_up(self, name: str, engine: str) -> Iterator[Stack]:
        """Do what ``harness.stack_up`` does, in this project."""
        with running(self.run(engine)) as run:
            yield run.bring(name, keep_includes=False)

    def command(self, *argv: str, **environ: str) -> float:
        """Run a command in the project's folder; return its seconds.

        Raises:
            BrokenStack: its exit code is not 0.
        """
        began = clock.now()
        done = procs.run(argv, timeout=BUDGET, env={**self.environ, **environ}, cwd=self.root)
        seconds = clock.now() - began
        if done.code != 0:
            said = (done.stderr or done.stdout).splitlines()[-5:]
            raise BrokenStack(f"{' '.join(argv)[:80]} ended with {done.code}: {' '.join(said)[-200:]}", details=said)
        return seconds

    def harness(self, *words: str, **environ: str) -> float:
        """Run the console script ``harness``; return the seconds of its process."""
        return self.command(str(Path(sys.executable).with_name("harness")), *words, **environ)

    def module(self, name: str, *words: str, **environ: str) -> float:
        """Run a module of Python; return the seconds of its process."""
        return self.command(sys.executable, "-m", name, *words, **environ)

    def kept(self) -> dict[str, int]:
        """Return engine -> pid of the keeper of each environment."""
        read = [ledger.read(path) for path in ledger.all_ledgers(self.state / "harness")]
        return {one.engine: one.keeper.pid for one in read if one}

    def close(self) -> None:
        """Take down what is kept, and see that no environment is left.

        Raises:
            BrokenStack: one is.
        """
        if (self.state / "harness").is_dir():
            surely(partial(self.harness, "down"))
            surely(self._await_end)

    def _await_end(self) -> None:
        left: list[Path] = []
        for _ in clock.poll(clock.Deadline.after(GONE)):
            left = ledger.all_ledgers(self.state / "harness")
            if not left:
                return
        raise BrokenStack(f"{len(left)} environment(s) are left: {left[0].name}")


def surely(clear: Callable[[], object]) -> None:
    """Clear something away; a signal that comes meanwhile is raised when that is done."""
    try:
        clear()
    except Interrupted:  # raised once; what it tore apart is done again
        clear()
        raise


@contextlib.contextmanager
def scratch_project(folder: Path, root: Path | None = None) -> Iterator[Project]:
    """A project in a new folder below ``folder``; both are gone after the block."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="project-") as new:
        made = Project(Path(new), root)
        try:
            yield made
        finally:
            made.close()


def trivial(*words: str) -> dict[str, Any]:
    """Return a service that answers HTTP, as a process and as a container; ``words`` are more for the process."""
    command = ["python", "-IS", str(SERVICES / "web.py"), "{address}", f"{{port:{PORT}}}", *words]
    return {
        "image": IMAGE,
        "command": COMMAND,
        "ports": [f"{PORT}:{PORT}"],
        "x-harness": {"ready": READY, "embedded": {"command": command}},
    }


def names(count: int) -> list[str]:
    """Return names for so many services."""
    return [f"s{number:02}" for number in range(count)]


def addresses(count: int) -> list[str]:
    """Return so many loopback addresses for services that are not ours."""
    third = os.urandom(1)[0]
    return [f"{OUTSIDE}.{third}.{number}" for number in range(2, 2 + count)]


def engines(say: Callable[[str], None]) -> list[str]:
    """Return the engines to measure on: the embedded one, and where a Docker engine answers, ``compose``."""
    if reason := unmet(("engine",), os.environ):
        say(f"ways with containers are left out: {reason}")
        return [EMBEDDED]
    return [EMBEDDED, COMPOSE]


def find_engine() -> APIClient:
    """Return a client of the engine, which has the image of trivial services.

    Raises:
        HarnessError: no engine answers, or it has no base image to build from.
    """
    client = connect(find_daemon(os.environ))
    make_image(client)
    return client


def left_on(client: APIClient, label: str) -> list[str]:
    """Remove by id the containers and networks with a label; return their names."""
    found = []
    wanted = {"label": label}
    for container in client.containers(all=True, filters=wanted):
        found.append(str(container["Names"][0]))
        client.remove_container(container["Id"], v=True, force=True)
    for network in client.networks(filters=wanted):
        found.append(str(network["Name"]))
        client.remove_network(network["Id"])
    return found
