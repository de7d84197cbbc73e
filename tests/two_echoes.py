"""A project with a matrix of two implementations in Python, whose tests do as their names say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from projects import Project, run_in

if TYPE_CHECKING:
    from harness import procs

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
PROGRAM = """
import sys
test, role = sys.argv[1:]
if test not in ("works", "fails", "differs"):
    sys.exit(127)
print('{"ty": "ready"}', flush=True)
if test == "differs":
    print('{"ty": "assert", "in": {"assert_id": "name", "value": "%s"}}' % role, flush=True)
if role == "worker":
    sys.stdin.read()
if test == "fails":
    sys.exit(3)
print('{"ty": "done"}', flush=True)
"""
TOML = """
name = "echoes"
[implementations.one]
build = "one"
command = ["python", "echo.py"]
local = true
[implementations.two]
build = "two"
command = ["python", "echo.py"]
"""


class Echoes:
    """The project."""

    def __init__(self, project: Project, *tests: str, toml: str = TOML) -> None:
        self.project, self.root = project, project.root
        self.write("interop.toml", toml)
        for name in ("one", "two"):
            self.write(f"{name}/echo.py", PROGRAM)
        for test in tests or ("works",):
            self.write(f"tests/{test}.md", '{"timeout": "20s"}\n\n# A test\n')

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(self, *words: str, code: int = 0) -> procs.Finished:
        """Run ``harness WORDS``, which must end with ``code`` and without a traceback."""
        done = run_in(self.project, *HARNESS, *words, timeout=120)
        assert done.code == code, (done.code, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done
