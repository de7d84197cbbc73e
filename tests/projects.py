"""Projects in temporary folders, each with a state folder of its own, and the services in them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml
from checkout import TESTS

from harness import procs
from harness.clock import Deadline, poll
from harness.config import load_settings, read_sources
from harness.ownership.identity import RUN_COOKIE
from harness.runs import Run
from harness.runs.choice import choose

if TYPE_CHECKING:
    from fresh import Starter

    from harness.config import Settings

ACTOR = TESTS / "actor.py"


class Project:
    """A folder with stacks, in which runs can be made."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.state = state
        self.said: list[str] = []
        self.prefix: tuple[str, ...] = ()  # what commands are run by, such as in a namespace
        self.starter: Starter | None = None  # who runs them else
        self.runs: list[Run] = []
        # What these tests run must not speak to GitHub Actions where they are run by that.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
        self.environ = {**outside, "XDG_RUNTIME_DIR": str(state), "HARNESS_ENGINE": "embedded"}
        self.environ["HARNESS_FLAKES"] = str(state / "flakes.json")
        (root / "compose").mkdir()
        (root / "pyproject.toml").write_text("[tool.harness]\n")

    def stack(self, name: str, services: dict[str, Any], **top: Any) -> Path:
        """Write ``compose/NAME.yaml``."""
        path = self.root / "compose" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"name": name, **top, "services": services}, sort_keys=False))
        return path

    def settings(self, **options: str) -> Settings:
        """Return the settings of a run in this project."""
        return load_settings(read_sources(self.root, self.environ), options)

    def run(self, **options: str) -> Run:
        """Return a run that is closed when the test is over."""
        run = Run(choose(self.settings(**options)), self.said.append)
        self.runs.append(run)
        return run

    @property
    def latest(self) -> Path:
        """The folder of the newest run."""
        return (self.root / "logs" / "latest").resolve()

    def ledgers(self) -> list[Path]:
        """Return the ledgers that are left."""
        return sorted((self.state / "harness").glob("*.ledger"))

    def processes(self) -> dict[int, str]:
        """Return every living process that belongs to an environment of this project, keepers included."""
        found = {}
        for process in psutil.process_iter(["pid", "cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            environment = b""
            try:
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            except OSError:
                continue
            runs = [path.name.encode() for path in (self.root / "logs").glob("*")]
            ours = any(f"{RUN_COOKIE}=".encode() + run in environment.split(b"\0") for run in runs)
            if ours or f'"{self.state}' in line:
                with contextlib.suppress(psutil.NoSuchProcess):  # it may end meanwhile
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found[process.pid] = line
        return found

    def wait_until_gone(self, seconds: float) -> dict[int, str]:
        """Wait until no process of this project is left; return what is."""
        left: dict[int, str] = {}
        for _ in poll(Deadline.after(seconds)):
            left = self.processes()
            if not left:
                break
        return left


def service(*words: str, ports: tuple[str, ...] = (), **harness: Any) -> dict[str, Any]:
    """Return a service that runs the actor with ``words``."""
    made: dict[str, Any] = {"image": "actor"}
    if ports:
        made["ports"] = list(ports)
    embedded = {"command": ["python", str(ACTOR), *words], **harness.pop("embedded", {})}
    compose = harness.pop("compose", {})
    return {**made, **compose, "x-harness": {"embedded": embedded, **harness}}


def web(delay: float = 0.0, **harness: Any) -> dict[str, Any]:
    """Return a service that answers HTTP on port 8080, and is green ``delay`` seconds after its start."""
    ready = harness.pop("ready", [{"http": {"port": 8080, "json": {"status": "green"}}}])
    words = harness.pop("words", ())
    return service(
        *words, f"serve:{{address}}:{{port:8080}}:{delay}", "wait", ports=("8080:80",), ready=ready, **harness
    )


def run_in(project: Project, *argv: str, timeout: float = 60) -> procs.Finished:
    """Run a command of Python in the project's folder."""
    if project.starter and not project.prefix:
        return project.starter.run(argv, timeout=timeout, env=project.environ, cwd=project.root)
    return procs.run([*project.prefix, sys.executable, *argv], timeout=timeout, env=project.environ, cwd=project.root)


def run_json(project: Project) -> dict[str, Any]:
    """Return run.json of the newest run."""
    document: dict[str, Any] = json.loads((project.latest / "run.json").read_text())
    return document
