"""An engine is a ``Driver`` and nothing else: one that starts no process goes through all that a run does with one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from drivers.recording import NAME, Recorder

from harness.engine.choice import DRIVERS
from harness.errors import BrokenStack
from harness.runs import Run, running
from harness.runs.choice import choose
from harness.verbs import act, up_down

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

    from harness.config import Settings
    from harness.engine.driver import Driver

SERVICES = {
    "web": {"image": "web", "depends_on": {"db": {"condition": "service_healthy"}}},
    "db": {"image": "db"},
}
PLANNED = ["plan s", "check", "plan s", "launch s"]
DB_UP = ["start db", "ask db"]
WEB_UP = ["start web", "ask web"]
PLANTED = ["execute in db: fill it"]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Return an engine that can be chosen by its name."""
    recorder = Recorder()
    driver: Driver = recorder  # that is what makes it an engine
    monkeypatch.setitem(DRIVERS, NAME, lambda _, __: driver)
    return recorder


@pytest.fixture
def settings(project: Project) -> Settings:
    """Return settings that choose it, with a stack of two services and a seed."""
    seed = {"key": "fill", "exec": {"service": "db", "command": ["fill", "it"]}}
    project.stack("s", SERVICES, **{"x-harness": {"seed": [seed]}})
    return replace(project.settings(stack="s"), engine=NAME)


def _run(settings: Settings) -> Run:
    return Run(choose(settings), lambda _: None)


def _nothing_is_left(project: Project) -> bool:
    return project.processes() == {} and project.ledgers() == []


def test_a_run_asks_an_engine_for_all_in_its_order(
    project: Project, recorder: Recorder, settings: Settings, tmp_path: Path
) -> None:
    """A stack must be planned, checked, started in its order, settled, seeded, acted on and given back."""
    run = _run(settings)
    with running(run):
        stack = run.bring("s")
        assert recorder.calls == [*PLANNED, *DB_UP, *WEB_UP, *PLANTED]
        recorder.calls.clear()
        web = stack.service("web")
        assert web.exec(["say", "/a"]).stdout == "say /a"
        web.restart(grace=3)
        web.pause()
        assert web.copy_out("/etc/web", tmp_path / "copy").read_text() == "/etc/web"
        run.settled["s"].restart("web", 1.0)
    assert recorder.calls == [
        "execute in web: say /a",
        "restart web in 3 s",
        "pause web in 0 s",
        "copy /etc/web out of web",
        "restart web in 1 s",
        "ask web",
    ]
    assert run.left == []
    assert _nothing_is_left(project)


def test_commands_reach_the_engine_of_what_is_kept(project: Project, recorder: Recorder, settings: Settings) -> None:
    """What ``up`` left must be acted on, by later commands, by way of the engine that it is on."""
    up_down.up(settings, project.said.append)
    recorder.calls.clear()
    assert act.execute(settings, "web", ["say", "it"]) == 2
    act.restart(settings, project.said.append, "web")
    assert recorder.calls == ["execute here in web: say it", "check", "plan s", "restart web in 2 s", "ask web"]
    assert act.seed(settings, project.said.append, fresh=True) == ["s/fill"]
    assert recorder.calls[-1] == PLANTED[-1]
    up_down.down(settings, project.said.append)
    assert _nothing_is_left(project)


def test_the_end_of_a_service_is_heard_from_its_engine(
    project: Project, recorder: Recorder, settings: Settings
) -> None:
    """A service that ends while it is waited for must end the wait, and who needs it not be started."""
    recorder.dying = frozenset(["db"])
    run = _run(settings)
    with pytest.raises(BrokenStack, match="Service 'db' ended with exit code 3 before it was ready"), running(run):
        run.bring("s")
    assert recorder.calls == [*PLANNED, *DB_UP, "refuse strangers of db"]
    assert _nothing_is_left(project)


def test_a_service_that_cannot_be_started_breaks_its_stack(
    project: Project, recorder: Recorder, settings: Settings
) -> None:
    """What the engine says of a start that failed must be the error, and nobody be asked any more."""
    recorder.broken = frozenset(["web"])
    run = _run(settings)
    with pytest.raises(BrokenStack, match="Service 'web' could not be started: it is broken"), running(run):
        run.bring("s")
    assert recorder.calls == [*PLANNED, *DB_UP, "start web"]
    assert _nothing_is_left(project)
