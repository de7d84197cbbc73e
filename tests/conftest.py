"""Fixtures of the toolkit's own tests."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import containers
import fresh_server
import pytest
from fresh import Starter
from projects import Project

from harness import procs
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.docker_sdk import APIClient


collect_ignore_glob = ["adopt/*/*"]  # projects with tests of their own


def pytest_configure(config: pytest.Config) -> None:
    """Where no compiled code may be kept beside its sources, keep it in a folder, for all that is started by tests.

    There it is only read, so that a file that a test writes twice within a second is never taken for its older self.
    """
    # What these tests leave is not judged here: they leave things on purpose, in sessions of their own that are judged.
    config.option.harness_residue = config.getoption("harness_residue") or "off"
    if not sys.dont_write_bytecode or sys.pycache_prefix or hasattr(config, "workerinput"):
        return
    folder = tempfile.TemporaryDirectory(prefix="harness-compiled-")
    config.add_cleanup(folder.cleanup)
    code, empty = Path(folder.name, "code"), Path(folder.name, "empty")
    empty.mkdir()
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    load = [sys.executable, fresh_server.__file__, "--load", str(empty)]
    done = procs.run(load, timeout=120, env=environ | {"PYTHONPYCACHEPREFIX": str(code)}, cwd=empty)
    assert done.code == 0, done.stderr
    os.environ["PYTHONPYCACHEPREFIX"] = str(code)  # also for workers


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of how many tests each property holds that is true or false, such as that a first line names a cause."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    answers: dict[str, list[bool]] = {}
    for report in reports:
        for name, value in report.user_properties if getattr(report, "when", "") == "call" else ():
            if isinstance(value, bool):
                answers.setdefault(name, []).append(value)
    for name, values in sorted(answers.items()):
        terminalreporter.line(f"{name}: {sum(values)} of {len(values)}")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever is parsed in tests is kept in a folder of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """What tests start must heed INT, also where a shell has started the tests in its background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory, _interruptible: None) -> Iterator[Starter]:
    """What runs commands of Python without loading all that they need each time."""
    starter = Starter(tmp_path_factory.mktemp("fresh"))
    yield starter
    starter.close()


@pytest.fixture
def project(tmp_path: Path, starter: Starter) -> Iterator[Project]:
    """An empty project. At the end of the test nothing of it may be left."""
    root, state = tmp_path / "project", tmp_path / "state"
    root.mkdir()
    state.mkdir(mode=0o700)
    made = Project(root, state)
    made.starter = starter
    yield made
    for run in made.runs:
        run.close()
    left = made.wait_until_gone(30)
    assert not left
    assert not made.ledgers()


@pytest.fixture(scope="session")
def engine_client() -> Iterator[APIClient]:
    """A client of a Docker engine; without one, the tests that need it are skipped."""
    try:
        client = containers.find_engine()
    except HarnessError as error:
        pytest.skip(error.summary)
    yield client
    client.close()


@pytest.fixture(scope="session")
def make_dock(engine_client: APIClient, starter: Starter) -> Callable[[Path], containers.Dock]:
    """Return what makes a project on the compose engine in a folder."""
    image = containers.actor_image(engine_client)

    def make(folder: Path) -> containers.Dock:
        root, state = folder / "project", folder / "state"
        root.mkdir()
        state.mkdir(mode=0o700)
        dock = containers.Dock(root, state, containers.find_engine(), image)
        dock.starter = starter
        return dock

    return make


@pytest.fixture
def dock(make_dock: Callable[[Path], containers.Dock], tmp_path: Path) -> Iterator[containers.Dock]:
    """An empty project on the compose engine. At the end of the test nothing of it may be left."""
    made = make_dock(tmp_path)
    yield made
    made.close()
