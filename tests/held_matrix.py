"""A small matrix whose slow cells wait for a file: a test decides when they go on, and knows the processes of them."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from bench import toy_matrix
from harness import procs
from harness.clock import Deadline, poll

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Project

BUDGET = 120.0
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
PROGRAM = """
import os, sys, threading
from pathlib import Path
test, role = sys.argv[1:]
if test not in ("held", "plain", "fails", "differs"):
    sys.exit(127)
here = Path(os.environ["FIELD"])
def say(line): print(line, flush=True)
say('{"ty": "ready"}')
if test == "differs":
    say('{"ty": "assert", "in": {"assert_id": "name", "value": "%s"}}' % role)
if test == "held":
    (here / "pids" / str(os.getpid())).touch()
    while not (here / "go").exists():
        threading.Event().wait(0.02)
if role == "worker" or test == "differs":
    sys.stdin.read()
if test == "fails":
    sys.exit(3)
say('{"ty": "done"}')
"""
TOML = """
name = "field"
[implementations.one]
build = "one"
command = ["python", "role.py"]
env = {{FIELD = "{root}"}}
[implementations.two]
build = "two"
command = ["python", "role.py"]
env = {{FIELD = "{root}"}}
"""
FAST, CELLS = 12, 16
"""How many cells end by themselves, and how many there are."""


class Held:
    """The matrix, in a project's folder: each test has four cells, those of ``held`` wait for a file."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        self.pids, self.go = self.root / "pids", self.root / "go"
        self.pids.mkdir()
        (self.root / "tests").mkdir()
        for name in ("one", "two"):
            (self.root / name).mkdir()
            (self.root / name / "role.py").write_text(PROGRAM)
        (self.root / "interop.toml").write_text(TOML.format(root=self.root))
        for test in ("held", "plain", "fails", "differs"):
            (self.root / "tests" / f"{test}.md").write_text('{"timeout": "60s"}\n\n# A test\n')

    def undisturbed(self) -> dict[str, Any]:
        """Run it to its end; return what every run of it must find."""
        self.go.touch()
        done = self.harness("interop.run", code=1)
        found = toy_matrix.essence(self.project.latest / "report.json")
        assert len(found["cells"]) == CELLS, done.stderr
        self.go.unlink()
        self.forget()
        return found

    def forget(self) -> None:
        """Forget which processes there were."""
        for pid in self.pids.iterdir():
            pid.unlink()

    def harness(self, *words: str, code: int = 0) -> procs.Finished:
        """Run ``harness WORDS``, which must end with ``code`` and without a traceback."""
        argv = [*self.project.prefix, sys.executable, *HARNESS, *words]
        done = procs.run(argv, timeout=BUDGET, env=self.project.environ, cwd=self.root)
        assert done.code == code, (done.code, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    @contextlib.contextmanager
    def up(self, stack: str) -> Iterator[None]:
        """Have a stack up in the block; what ``ps`` says of it, pids among it, must be the same at the end."""
        self.harness("up", "--stack", stack)
        try:
            before = self.harness("ps", "--json").stdout
            assert f'"stack": "{stack}"' in before
            yield
            assert self.harness("ps", "--json").stdout == before
        finally:
            self.harness("down")

    def begin(self, *words: str, root: Path | None = None, out: str = "out") -> Begun:
        """Start a run in a process group of its own, here or in a copy; what it writes goes to a file here."""
        root, path = root or self.root, self.root / out
        argv = [*self.project.prefix, sys.executable, *HARNESS, "interop.run", *words]
        with path.open("wb") as output:
            return Begun(procs.spawn(argv, env=self.project.environ, cwd=root, output=output), root, path)

    def running(self) -> dict[int, int]:
        """Return the processes of held cells that live: pid -> start time."""
        found = {int(path.name): procs.start_time_of(int(path.name)) for path in self.pids.iterdir()}
        return {pid: start for pid, start in found.items() if start is not None and procs.is_alive(pid, start)}

    def until_held(self, begun: Begun, cells: int = 2, fast: int = 1) -> dict[int, int]:
        """Wait until so many held cells run and so many others have a verdict; return processes of the former."""
        for _ in poll(Deadline.after(BUDGET)):
            assert begun.process.poll() is None, begun.said()
            if len(self.running()) >= 2 * cells and len(begun.verdicts()) >= fast:
                break
        return self.running()


class Begun:
    """A run that was started."""

    def __init__(self, process: procs.Popen[bytes], root: Path, out: Path) -> None:
        self.process, self.root, self.out = process, root, out

    def said(self) -> str:
        """Return what it has written."""
        return self.out.read_text(errors="replace")

    def verdicts(self) -> list[str]:
        """Return the lines by which it told of cells that have a verdict."""
        words = (" succeeded ", " failed ", " broken ")
        return [line for line in self.said().splitlines() if any(word in f"{line} " for word in words)]

    def report(self) -> Path:
        """Return the report that it has named at its end."""
        (page,) = [line.partition("report: ")[2] for line in self.said().splitlines() if "report: " in line]
        return (self.root / page).with_name("report.json")

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(BUDGET)
