"""The matrix of docs/first-matrix.md, from an empty folder to a green one, as the page has it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from checkout import ROOT
from projects import run_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from containers import Dock
    from projects import Project

PAGE = (ROOT / "docs" / "first-matrix.md").read_text(encoding="utf-8").partition("\n## ")[2]
STEP = re.compile(
    r"^`(?P<file>[\w./-]+)`:\n\n```\w+\n(?P<text>.*?)^```$"
    r"|^```python\n(?P<mended>.*?)^```$"
    r"|^```text\n(?P<shown>.*?)^```$"
    r"|^    (?P<line>\S[^\n]*)$",
    re.MULTILINE | re.DOTALL,
)
MENDED = "python/netstrings.py"
FUNCTION = re.compile(r"^def (\w+)\(.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
PROGRAM = "import sys; from harness.invoke_tasks import main; sys.exit(main())"
UNEXPECTED = re.compile(r"; (\d+) unexpected")


def follow(project: Project, engine: str) -> Iterator[tuple[str, str]]:
    """Do what the page says; yield each thing that it shows, and what was shown. Commands of other engines are left."""
    said, code = "", 0
    for step in STEP.finditer(PAGE):
        if step["file"]:
            path = project.root / step["file"]
            path.parent.mkdir(exist_ok=True)
            path.write_text(step["text"], encoding="utf-8")
        elif step["mended"]:
            mend(project, step["mended"])
        elif step["shown"]:
            yield from ((line, said) for line in step["shown"].splitlines() if line and said)
        elif step["line"].startswith("harness "):
            said, code = run(project, step["line"]) if f"--engine {engine}" in step["line"] else ("", 0)
        elif step["line"].startswith("rm "):
            (project.root / step["line"].split()[1]).unlink()
        elif said:
            yield step["line"], said
        if said and (found := UNEXPECTED.search(step["shown"] or step["line"] or "")):
            assert code == (1 if int(found[1]) else 0)
        elif said and "none unexpected" in (step["line"] or ""):
            assert code == 0


def mend(project: Project, text: str) -> None:
    """Put functions in the place of those of the same names."""
    path = project.root / MENDED
    new = {match[1]: match[0].rstrip() + "\n\n\n" for match in FUNCTION.finditer(text)}
    old = path.read_text(encoding="utf-8")
    path.write_text(FUNCTION.sub(lambda match: new.pop(match[1], match[0]), old), encoding="utf-8")
    assert not new, f"functions that are not there: {', '.join(new)}"


def run(project: Project, line: str) -> tuple[str, int]:
    done = run_in(project, "-c", PROGRAM, *shlex.split(line)[1:], timeout=300)
    assert "harness: report: logs/" in done.stderr, done.stderr
    assert done.code is not None
    return done.stdout, done.code


def test_a_reader_gets_from_an_empty_folder_to_a_green_matrix(project: Project) -> None:
    """Each command of the page must show what the page says it shows, and end with its code."""
    shown = list(follow(project, "embedded"))
    for line, said in shown:
        assert line in said.splitlines(), said
    assert sum("unexpected" in line for line, _ in shown) == 4
    assert (project.latest / "index.html").is_file()


def test_a_failed_cell_is_where_the_page_says(project: Project) -> None:
    """What the page tells to look at must be there after the first run, and have the event that decided."""
    steps = follow(project, "embedded")
    next(steps)
    folder = project.latest / "cells" / "umlaut" / "python" / "sh"
    assert "assert-failed" in (folder / "events.jsonl").read_text(encoding="utf-8")
    assert str(folder.relative_to(project.latest)) in PAGE


def test_the_same_files_run_in_containers(dock: Dock) -> None:
    """What the page has made in the end must be green on an engine of containers, too."""
    shown = list(follow(dock, "compose"))
    assert shown
    for line, said in shown:
        assert line in said.splitlines(), said
