"""The table of exit codes (docs/exit-codes.md), end to end, by every way in."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from projects import Project, run_in, service, web

from harness import clock, procs
from harness.errors import EXIT_MEANING

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = "from harness import clock\ndef wait():\n    for _ in clock.poll(clock.Deadline.after(30)): pass\n"
ENTRIES = {
    "pytest": ("-m", "pytest", "-p", "no:cacheprovider", "suite"),
    "invoke": ("-m", "invoke", "test", "--", "-p", "no:cacheprovider", "suite"),
    "harness": ("-c", "from harness.invoke_tasks import main; main()", "test", "--", "-p", "no:cacheprovider", "suite"),
    "nox": ("-m", "nox", "-s", "suite", "--no-venv", "--", "-p", "no:cacheprovider"),
}
NOXFILE = """
import nox
from harness.nox_sessions import run_suite
@nox.session
def suite(session):
    run_suite(session, "it", session.posargs)
"""
DEAD = {"CI": "1", "DOCKER_HOST": "unix:///nonexistent/engine.sock", "HARNESS_ENGINE": "auto"}
BREAK = "def test_it(stack, run_dir):\n    (run_dir / 'work' / '.harness-environment').write_text('not mine')\n"
KILL = "import os\ndef test_it(stack):\n    os.kill(stack.service('web').pid, 9)\n    wait()\n"
CASES: dict[str, tuple[str, dict[str, str], int]] = {
    "passed": ("def test_it(stack): pass\n", {}, 0),
    "failed": ("def test_it(stack): assert False\n", {}, 1),
    "a setting": ("def test_it(stack): pass\n", {"HARNESS_ENGINE": "warp"}, 10),
    "no engine": ("def test_it(stack): pass\n", DEAD, 11),
    "did not settle": ("def test_it(stack): pass\n", {"BREAKS": "1"}, 12),
    "died": (KILL, {}, 12),
    "failed and died": (KILL + "def test_other(): assert False\n", {}, 1),
    "left": (BREAK, {}, 14),
    "failed and left": (BREAK + "    assert False\n", {}, 1),
    "no tests": ("", {}, 5),
}


@pytest.fixture
def prepare(project: Project) -> Callable[[str, dict[str, str]], None]:
    """Return what writes a project with one system, a tasks.py, a noxfile and one test file."""

    def write(tests: str, environ: dict[str, str]) -> None:
        broken = environ.pop("BREAKS", "")
        project.stack("s", {"web": service("exit:3", ready=[{"log": "never"}]) if broken else web()})
        (project.root / "pyproject.toml").write_text(
            '[tool.harness]\ndefault-system = "it"\n'
            '[tool.harness.systems.it]\ntests = "suite"\nstacks = ["s"]\ndefault = "s"\n'
        )
        (project.root / "tasks.py").write_text("from harness.invoke_tasks import namespace\n")
        (project.root / "noxfile.py").write_text(NOXFILE)
        (project.root / "suite").mkdir()
        (project.root / "suite" / "test_it.py").write_text(WAIT + tests)
        path = f"{Path(sys.executable).parent}:{project.environ['PATH']}"  # nox without a venv runs `python`
        project.environ |= {"NO_COLOR": "1", "PATH": path, **environ}

    return write


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("case", CASES)
def test_each_cause_has_its_code_by_every_way_in(
    project: Project, prepare: Callable[[str, dict[str, str]], None], case: str, entry: str
) -> None:
    """Each cause must give its code; nox must say it as its last words, too."""
    tests, environ, code = CASES[case]
    prepare(tests, dict(environ))
    done = run_in(project, *ENTRIES[entry])
    said = done.stdout + done.stderr
    assert done.code == code, said
    if entry == "nox" and code:
        assert f"harness exit: {code} ({EXIT_MEANING.get(code, 'pytest')})" in done.stderr, said
    if code == 14 or "left" in case:
        mark = project.latest / "work" / ".harness-environment"
        mark.write_text(project.latest.name)
        (project.root / "suite" / "test_it.py").write_text("def test_it(stack): pass\n")
        assert run_in(project, *ENTRIES["pytest"]).code == 0  # and what was left is swept


SIGNALS = {"INT": 130, "TERM": 143, "HUP": 129, "QUIT": 131}
# pytest keeps its own 2 for Ctrl-C; nox knows INT and TERM, and says 130 for both.
EXCEPTIONS = {("pytest", "INT"): 2, ("nox", "TERM"): 130}


@pytest.mark.parametrize("entry", ["pytest", "invoke", "nox"])
@pytest.mark.parametrize("name", SIGNALS)
def test_each_signal_has_its_code(
    project: Project, prepare: Callable[[str, dict[str, str]], None], tmp_path: Path, name: str, entry: str
) -> None:
    """After a signal in mid-test everything must be gone, and the code tell which it was."""
    if entry == "nox" and name in ("HUP", "QUIT"):
        pytest.skip("nox itself ends by them at once; the keeper clears up")
    prepare("def test_it(stack):\n    open('running', 'w').close()\n    wait()\n", {})
    with (tmp_path / "out").open("wb") as output:
        process = procs.spawn([sys.executable, *ENTRIES[entry]], env=project.environ, cwd=project.root, output=output)
    for _ in clock.poll(clock.Deadline.after(60)):
        if (project.root / "running").exists():
            break
    process.send_signal(getattr(signal, f"SIG{name}"))
    code = process.wait(60)
    said = (tmp_path / "out").read_text()
    told = 128 - code if code < 0 else code  # what a shell shows
    assert told == EXCEPTIONS.get((entry, name), SIGNALS[name]), said
    assert project.wait_until_gone(30) == {}


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    """docs/exit-codes.md must list every code with its meaning."""
    text = (ROOT / "docs" / "exit-codes.md").read_text()
    for code, meaning in EXIT_MEANING.items():
        assert f"| {code} | {meaning} |" in text
