"""After a change of a file ``watch`` does the least, and runs the tests again."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in, web

from harness import procs
from harness.clock import Deadline, poll
from harness.engine.snapshots import Snapshot
from harness.engine.sources import Source
from harness.errors import BrokenStack, ConfigError
from harness.runs.known import listed, listed_or_none
from harness.verbs import up_down
from harness.verbs import watch as verb
from harness.verbs.watch import Action, Grounds, decide, in_words, refuse_lacking, watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODULE = ("-c", "from harness.invoke_tasks import main; main()")


# -- what is decided -------------------------------------------------------------------------------------------------


@pytest.fixture
def grounds(tmp_path: Path) -> Grounds:
    """A project with the code of a service, a stack file and a folder of runs."""
    for name in ("api/app.py", "compose/web.yaml", "logs/run/x.py", "suite/test_it.py", "notes.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    snapshot = Snapshot.take({"api": [Source(tmp_path / "api")]})
    files = frozenset([tmp_path / "compose/web.yaml"])
    return Grounds(tmp_path, files, (tmp_path / "logs",), {"web": snapshot})


@pytest.mark.parametrize(
    ("names", "changed", "action"),
    [
        (["api/app.py"], ["api"], Action("replace", ("api",))),
        (["api/app.py", "suite/test_it.py"], ["api"], Action("replace", ("api",))),
        (["api/app.py"], [], Action("nothing")),
        (["suite/test_it.py"], [], Action("tests")),
        (["api/app.py", "suite/test_it.py"], [], Action("tests")),
        (["api/test_app.py"], [], Action("tests")),
        (["compose/web.yaml", "api/app.py"], ["api"], Action("up")),
        (["compose/.env"], [], Action("up")),
        (["compose/new.yaml"], [], Action("up")),
        (["notes.md", "out.xml"], [], Action("nothing")),
        (["logs/run/x.py", ".git/x.py", "suite/__pycache__/x.py", "suite/.x.py.swp"], ["api"], Action("nothing")),
        ([], ["api"], Action("nothing")),
    ],
)
def test_the_least_is_done(grounds: Grounds, names: list[str], changed: list[str], action: Action) -> None:
    """A source must have its service replaced, a stack file the stack brought up, others only the tests run."""
    paths = [grounds.root / name for name in names]
    assert decide(paths, grounds, changed) == action
    assert decide(paths * 1000, grounds, changed) == action


def test_a_stack_that_is_not_up_is_brought_up_by_any_change(grounds: Grounds) -> None:
    """When the stack is broken, whatever may mend it must bring it up again, and what cannot, not."""
    assert decide([grounds.root / "suite/test_it.py"], grounds, [], broken=True) == Action("up")
    assert decide([grounds.root / "logs/run/x.py"], grounds, [], broken=True) == Action("nothing")


def test_what_lies_outside_is_watched_too(grounds: Grounds, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sources and stack files that are not in the project's folder must be watched beside it, if they exist."""
    away = tmp_path_factory.mktemp("away")
    (away / "code").mkdir()
    snapshot = Snapshot.take({"api": [Source(away / "code"), Source(away / "none")]})
    assert replace(grounds, sources={"web": snapshot}).outside() == [away / "code"]
    assert grounds.outside() == []


def test_many_changes_are_told_in_one_line() -> None:
    """A few names, and how many more, must be told."""
    root = Path("/src")
    assert in_words([root / "b.py", root / "a.py"], root) == "a.py, b.py changed"
    many = [root / f"m{number:04}.py" for number in range(1003)]
    assert in_words(many, root) == "m0000.py, m0001.py, m0002.py and 1,000 more changed"


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without watchfiles the extra must be named, and nothing be started."""
    monkeypatch.setattr(verb, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs the library watchfiles") as caught:
        refuse_lacking()
    assert caught.value.hint == "pip install 'integration-harness[watch]'"


# -- as it is done ---------------------------------------------------------------------------------------------------


class Hands:
    """Notes what is asked for, and does it where it can."""

    def __init__(self, project: Project, tests: Sequence[int]) -> None:
        self.did: list[str] = []
        self._project = project
        self._codes = list(tests)

    def up(self) -> object:
        """Say so; a file ``broken`` stands for a stack that does not settle."""
        self.did.append("up")
        if (self._project.root / "broken").exists():
            raise BrokenStack("Service 'web' did not settle")
        return {}

    def down(self) -> None:
        self.did.append("down")

    def test(self, words: Sequence[str]) -> int:
        """Change a file, as a user does meanwhile; the last code ends it."""
        self.did.append(" ".join(["test", *words]))
        (self._project.root / "broken").unlink(missing_ok=True)
        code = self._codes.pop(0)
        (self._project.root / f"test_{code}.py").write_text("x")
        return code


def test_changes_under_tests_count_and_what_tests_write_each_time_does_not(project: Project) -> None:
    """A file that changed while tests ran must have them run again; one that each run changes, only once."""
    project.stack("s", {"web": web()})
    hands = Hands(project, [0, 1, 1, 130])
    changed = project.root / "test_new.py"

    def say(line: str) -> None:
        project.said.append(line)
        if line == "waiting for a change":
            changed.write_text(f"# {len(project.said)}")

    assert watch(project.settings(stack="s"), say, hands, ["-x"]) == 130
    assert hands.did == ["up", *["test --ff -x"] * 4]
    assert [line for line in project.said if "next:" in line] == [
        "test_0.py changed; next: tests",
        "test_1.py changed; next: tests",
        "test_new.py changed; next: tests",  # the third run wrote test_1.py, as the second had
    ]


def test_a_stack_that_does_not_settle_is_waited_for(project: Project) -> None:
    """When the stack does not come up, that must be told, no test be run, and a change try it again."""
    project.stack("s", {"web": web()})
    (project.root / "broken").touch()
    hands = Hands(project, [143])

    def say(line: str) -> None:
        project.said.append(line)
        if line == "waiting for a change; the stack is not up":
            (project.root / "broken").unlink()
            (project.root / "app.py").write_text("mended")

    assert watch(project.settings(stack="s"), say, hands, []) == 143
    assert hands.did == ["up", "up", "test --ff"]
    assert "Service 'web' did not settle" in project.said[0]


@contextmanager
def watching(project: Project) -> Iterator[tuple[Path, procs.Popen[bytes]]]:
    """Run ``watch`` in a project; give the file that it prints to, and the process, which is gone afterwards."""
    log = project.root.parent / "watch.log"
    with log.open("wb") as output:
        argv = [sys.executable, *MODULE, "watch", "--stack", "s", "--", "-q", "suite"]
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=output)
    try:
        yield log, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def wait_for(log: Path, text: str, times: int = 1) -> str:
    """Wait until a text was printed so often; return what was."""
    for _ in poll(Deadline.after(90)):
        said = log.read_text(errors="replace")
        if said.count(text) >= times:
            break
    assert said.count(text) >= times, said
    return said


def watched(project: Project) -> None:
    """Write a stack with a service of its own code, one beside it, and a test that passes once that code is right."""
    (project.root / "code").mkdir()
    (project.root / "code" / "a.txt").write_text("wrong")
    (project.root / "suite").mkdir()
    project.stack("s", {"web": web(compose={"volumes": ["../code:/code:ro"]}), "db": web()})
    (project.root / "suite" / "test_it.py").write_text(
        "def test_well(stack):\n    pass\ndef test_code(stack):\n    assert open('code/a.txt').read() == 'right'\n"
    )


def test_a_change_has_its_service_replaced_and_failed_tests_run_first(project: Project) -> None:
    """A real change must replace its service only, the failed test pass first, and Ctrl-C leave nothing up."""
    watched(project)
    settings = project.settings(stack="s")
    with watching(project) as (log, process):
        wait_for(log, "1 failed, 1 passed")
        wait_for(log, "waiting for a change")
        before = {line.service: line.pid for line in listed(settings)}
        (project.root / "code" / "a.txt").write_text("right")
        said = wait_for(log, "waiting for a change", 2)
        assert "code/a.txt changed; next: replace web" in said
        assert "2 passed" in said
        after = {line.service: line.pid for line in listed(settings)}
        assert {name: after[name] == before[name] for name in before} == {"web": False, "db": True}
        for number in range(1000):
            (project.root / "code" / f"{number}.txt").write_text("x")
        said = wait_for(log, "waiting for a change", 3)
        assert "and 997 more changed; next: replace web" in said
        assert said.count("next: ") == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (128 + signal.SIGINT, -signal.SIGINT)
    assert listed_or_none(settings) == []


def test_what_was_up_before_stays_up(project: Project) -> None:
    """A stack that ``up`` left must be used by ``watch``, and left up by it."""
    watched(project)
    settings = project.settings(stack="s")
    up_down.up(settings, project.said.append, ttl=600)
    before = {line.service: line.pid for line in listed(settings)}
    with watching(project) as (log, _):
        wait_for(log, "waiting for a change")
    assert {line.service: line.pid for line in listed(settings)} == before
    up_down.down(settings, project.said.append)


def test_a_folder_without_a_stack_is_one_clear_error(project: Project) -> None:
    """Where there is no stack, ``watch`` must end with 10 at once, saying what to do."""
    done = run_in(project, *MODULE, "watch")
    assert done.code == 10
    assert done.stderr.splitlines()[0] == "No stack was named and none is the default; there are: none"
    assert done.stderr.splitlines()[1].startswith("next: `harness new --stack NAME` makes one in ")
