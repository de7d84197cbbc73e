"""A small matrix in a project: implementations in Python and in sh that do as the test's name says."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from projects import Project, run_in

from harness import procs

if TYPE_CHECKING:
    from pathlib import Path

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
PY = """
import json, os, sys
test, role = sys.argv[1:]
def say(ty, **data): print(json.dumps({"ty": ty, "in": data}), flush=True)
if test.startswith("probe-") or test == "unknown": sys.exit(127)
say("ready")
if role == "driver":
    sys.stdin.readline()  # the worker is ready
    if test == "fails": sys.exit(3)
    say("done")
else:
    for line in sys.stdin: pass
"""
SH = """#!/bin/sh
case "$1" in probe-*|unknown) exit 127;; esac
echo '{"ty":"ready"}'
if [ "$2" = driver ]; then
    read -r line # the worker is ready
    [ "$1" = fails ] && exit 3
    echo '{"ty":"done"}'
else
    while read -r line; do :; done
fi
"""
TOML = """name = "toy"
[implementations.py]
build = "py"
command = ["python", "th-test.py"]
[implementations.sh]
build = "sh"
command = ["sh", "./th-test.sh"]
"""


class Toy:
    """The matrix, in a project's folder."""

    def __init__(self, project: Project, *tests: str, toml: str = TOML) -> None:
        self.project, self.root = project, project.root
        self.write("interop.toml", toml)
        self.write("py/th-test.py", PY)
        self.write("sh/th-test.sh", SH)
        for test in tests or ("plain",):
            self.write(f"tests/{test}.md", '{"timeout": "20s"}\n')

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def __call__(self, *words: str) -> procs.Finished:
        """Run ``harness interop.WORDS``."""
        first, *others = words
        return run_in(self.project, *HARNESS, f"interop.{first}", *others, timeout=120)

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run the matrix, and return its report; it must end with ``code``."""
        done = self("run", "--json", *words)
        assert done.code == code, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def plan(self, *words: str) -> dict[str, Any]:
        """Return the plan's first line and its cells."""
        done = self("plan", "--json", *words)
        assert done.code == 0, done.stderr
        plan: dict[str, Any] = json.loads(done.stdout)
        return plan

    def refused(self, *words: str, code: int = 10) -> str:
        """Return what is told when a command is refused: an error without a traceback, of one line and its details."""
        done = self(*words)
        assert done.code == code, (done.code, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stderr


def statuses(report: dict[str, Any]) -> dict[str, str]:
    """Return cell -> status."""
    return {cell["id"]: cell["verdict"]["status"] for cell in report["cells"]}


def git(*words: str, cwd: Path) -> str:
    """Run git, and return what it printed."""
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = procs.run(["git", *words], timeout=30, cwd=cwd, env={**os.environ, **who})
    assert done.code == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit all of a folder; return the commit."""
    if not (folder / ".git").exists():
        git("init", "-q", cwd=folder)
    git("add", "-A", cwd=folder)
    git("commit", "-qm", "x", "--no-gpg-sign", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)
