"""Services that are up and do not run what their sources say now are told, with a word each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects import run_in, service, web

from harness.engine.snapshots import Change
from harness.errors import ConfigError
from harness.runs.changes import seeds_told, span, told
from harness.runs.choice import choose
from harness.runs.known import changed_seeds, listed
from harness.runs.run import Run, running
from harness.verbs import act, explain, up_down

if TYPE_CHECKING:
    from projects import Project

ROOT = Path("/src")


def change(name: str = "api/app.py", how: str = "changed", at: float = 280.0, read: str = "started") -> Change:
    """Return a change of a file."""
    return Change(ROOT / name, how, at, read)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([change()], "api/app.py changed 3 min after it was started"),
        ([change(at=100.3)], "api/app.py changed less than 1 s after it was started"),
        ([change(how="came", at=112.0)], "api/app.py came 12 s after it was started"),
        ([change(how="went", at=7300.0)], "api/app.py was removed 2 h after it was started"),
        ([change(at=99.0, read="made")], "api/app.py changed while it was started"),
        ([change(), change("b.py")], "api/app.py and 1 other file changed, the first 3 min after it was started"),
        (
            [change(), change("b"), change("c")],
            "api/app.py and 2 other files changed, the first 3 min after it was started",
        ),
    ],
)
def test_a_change_is_told_in_words(changes: list[Change], line: str) -> None:
    """One line must say which file changed, how many more did, and how long after the service was started."""
    assert told({"api": changes}, {"api": 100.0}, ROOT) == {"api": line}


def test_what_was_there_at_a_restart_is_no_old_code() -> None:
    """What a service reads as it is started must not be told once it was started again; what is built in must."""
    changes = [change(at=90.0), change("Dockerfile", at=90.0, read="made")]
    assert told({"api": changes[:1]}, {"api": 100.0}, ROOT) == {}
    assert told({"api": changes}, {"api": 100.0}, ROOT) == {"api": "Dockerfile changed while it was started"}
    assert span(200000) == "2 days"


def test_a_kept_stack_that_runs_old_code_says_so(project: Project) -> None:
    """``test`` and ``ps`` must name the service and the file, and no other service; after a restart nothing."""
    (project.root / "conf").mkdir()
    (project.root / "conf" / "a.txt").write_text("one")
    (project.root / "rules.txt").write_text("one")
    mounted = {"volumes": ["../conf:/conf:ro"]}
    project.stack(
        "s", {"web": web(compose=mounted), "named": service("wait", sources=["../rules.txt"]), "other": service("wait")}
    )
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    assert [line.changed for line in listed(settings)] == ["", "", ""]
    (project.root / "conf" / "a.txt").write_text("two")
    (project.root / "rules.txt").write_text("two")
    how = {line.service: line.changed for line in listed(settings)}
    assert how.pop("other") == ""
    assert how["web"].startswith("conf/a.txt changed ")
    assert how["named"].startswith("rules.txt changed ")
    run = Run(choose(settings), project.said.append)
    with running(run):
        run.bring("s")
    assert f"web: {how['web']}" in project.said
    act.restart(settings, project.said.append, "web")
    assert {line.service: bool(line.changed) for line in listed(settings)} == {
        "web": False,
        "named": True,
        "other": False,
    }
    up_down.down(settings, project.said.append)


def test_a_source_that_does_not_exist_is_told_before_anything_is_made(project: Project) -> None:
    """A source that is named and not there must be an error of the file."""
    project.stack("s", {"web": web(sources=["nowhere"])})
    with pytest.raises(ConfigError, match=r"x-harness\.sources names nowhere"):
        project.run().bring("s")
    assert project.ledgers() == []
    done = run_in(project, "-c", "from harness.invoke_tasks import main; main()", "up", "--engine", "auto")
    assert (done.code, "names nowhere" in done.stderr, "was chosen" in done.stderr) == (10, True, False), done.stderr


def test_a_seed_whose_file_changed_after_it_was_planted_is_told(project: Project) -> None:
    """``up``, ``up --explain``, ``ps`` and a run must tell it, until it is planted again; no other seed."""
    for name in ("a.json", "b.json"):
        (project.root / name).write_text("one")
    seeds = [{"key": key, "http": {"service": "web", "port": 8080, "file": f"../{key}.json"}} for key in ("a", "b")]
    project.stack("s", {"web": web()}, **{"x-harness": {"seed": seeds}})
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    assert changed_seeds(settings) == []
    (project.root / "a.json").write_text("two")
    line = "seed 'a': ../a.json changed after it was planted; `harness up --fresh` plants it anew"
    assert changed_seeds(settings) == [line]
    assert [(one.act, one.notes) for one in explain.explain(settings)[1]] == [("leave", (line,))]
    said: list[str] = []
    up_down.up(settings, said.append, ttl=600)
    assert line in said
    run = Run(choose(settings), project.said.append)
    with running(run):
        run.bring("s")
    assert line in project.said
    act.seed(settings, project.said.append, fresh=True)
    assert changed_seeds(settings) == []
    up_down.down(settings, project.said.append)


def test_a_seed_whose_file_is_gone_is_told() -> None:
    """A file that was removed must be told as removed."""
    line = "seed 'a': a.sql was removed after it was planted; `harness up --fresh` plants it anew"
    assert seeds_told({"a": ["a.sql", "/none/a.sql", "0"]}) == [line]
