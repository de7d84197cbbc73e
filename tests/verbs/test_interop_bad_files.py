"""What is wrong in the files of a matrix: its command says all of it, with what was needed, and makes nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from toy_matrix import TOML, Toy

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

FOLDER, PIPE, LINK = b"\0folder", b"\0pipe", b"\0link"  # what is there in place of a file
MANIFEST = "tests/_implementations.json"
EXPECT = '[[expect]]\ntest = "{0}"\nstatus = "{1}"\nreason = "x"\n'


def put(path: Path, content: str | bytes | None) -> None:
    """Have a file, something else in its place, or (None) nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content == FOLDER:
        path.mkdir()
    elif content == PIPE:
        os.mkfifo(path)
    elif content == LINK:
        path.symlink_to("nowhere")
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def names(root: Path) -> list[str]:
    """Return all that is in a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


BAD: dict[str, tuple[dict[str, str | bytes | None], tuple[str, ...]]] = {
    # -- a test
    "header: words": (
        {"tests/t.md": "# A test\n"},
        ("header is no JSON", "(it begins '# A test')", 'a JSON object was needed, such as {"timeout": "20s"}'),
    ),
    "header: open": ({"tests/t.md": '{"timeout": "3s"\n\n# A test\n'}, ("tests/t.md:3", "header is no JSON")),
    "header: nothing": ({"tests/t.md": ""}, ("tests/t.md: has no header; a JSON object was needed",)),
    "header: a list": (
        {"tests/t.md": '["timeout"]'},
        ("tests/t.md: header is ['timeout'], a JSON object was needed",),
    ),
    "header: deep": ({"tests/t.md": "[" * 100_000}, ("tests/t.md: header is no JSON",)),
    "header: no text": ({"tests/t.md": b"{}\xff"}, ("tests/t.md: is no UTF-8: byte 2 is 0xff",)),
    "header: a key twice": (
        {"tests/t.md": '{"timeout": "1s", "timeout": "2s"}'},
        ("tests/t.md: header has 'timeout' twice, it was needed once",),
    ),
    "duration: words": (
        {"tests/t.md": '{"timeout": "10 minutes"}'},
        ("tests/t.md: timeout is '10 minutes', a duration such as 3ms, 1.5s or 1h30m was needed",),
    ),
    "duration: a number": ({"tests/t.md": '{"timeout": 10}'}, ("tests/t.md: timeout is 10, a duration such as",)),
    "role: without a command": (
        {"tests/t.md": '{"containers": {"relay": {}, "wroker": {"image": "x"}}}'},
        (
            "2 problems: tests/t.md: containers.relay: command is missing; a role that is neither worker nor driver",
            "tests/t.md: containers.wroker: command is missing",
        ),
    ),
    "test: two of one name": (
        {"interop.toml": 'tests = ["tests", "more"]\n' + TOML, "more/Plain.md": "{}"},
        ("more/Plain.md: test 'Plain' is in tests/plain.md too (case does not count)",),
    ),
    "test: a link to nothing": (
        {"tests/t.md": LINK},
        ("tests/t.md: cannot be read: No such file or directory (it is a link to nowhere)",),
    ),
    "test: a pipe": ({"tests/t.md": PIPE}, ("tests/t.md: cannot be read: it is a named pipe",)),
    "test: none": ({"tests/plain.md": None}, ("tests: has no test; NAME.md was needed",)),
    # -- interop.toml
    "toml: empty": ({"interop.toml": ""}, ("interop.toml: implementations is empty; at least one table [impl",)),
    "toml: none": ({"interop.toml": "name = toy"}, ("interop.toml: is no TOML: Invalid value (at line 1",)),
    "toml: no text": ({"interop.toml": b"\xff\xfe"}, ("interop.toml: is no UTF-8: byte 0 is 0xff",)),
    "toml: a folder": ({"interop.toml": FOLDER}, ("interop.toml: cannot be read: it is a folder",)),
    "toml: a pipe": ({"interop.toml": PIPE}, ("interop.toml: cannot be read: it is a named pipe",)),
    "toml: a link to nothing": ({"interop.toml": LINK}, ("interop.toml: cannot be read: No such", "link to nowhere")),
    "toml: wrong types": (
        {"interop.toml": 'name = 3\nseed = "x"\n[implementations.py]\nbuild = 3\ncommand = 4\nlocal = "yes"\n'},
        (
            "5 problems: interop.toml: name is 3, a text was needed",
            "[implementations.py]: build is 3, a folder, or a table {folder, target, args} was needed",
            "[implementations.py]: command is 4, a list of texts was needed",
            "[implementations.py]: local is 'yes', true or false was needed",
            "interop.toml: seed is 'x', a whole number from 0 on was needed",
        ),
    ),
    "toml: a list of names": (
        {"interop.toml": 'implementations = ["py"]'},
        ("interop.toml: implementations is ['py'], a table was needed",),
    ),
    "implementation: a duration": (
        {"interop.toml": TOML + 'timeout = "3s"\n'},
        ("interop.toml: [implementations.sh]: key 'timeout' is not known",),
    ),
    "implementation: twice": ({"interop.toml": TOML + TOML.partition("\n")[2]}, ("interop.toml: is no TOML:",)),
    "implementation: an unknown role": (
        {"interop.toml": TOML + 'roles = ["worker", "drivr"]\n'},
        ("interop.toml: [implementations.sh]: roles has 'drivr', which no test has; did you mean 'driver'?",),
    ),
    "implementation: unknown": (
        {"interop.toml": 'workers = ["pyy"]\n' + TOML},
        ("interop.toml: workers has 'pyy', which is no implementation; did you mean 'py'?",),
    ),
    "implementation: no folder": (
        {"interop.toml": TOML.replace('build = "sh"', 'build = "shh"')},
        ("interop.toml: [implementations.sh]: build: shh is no folder",),
    ),
    # -- an older project's manifest
    "manifest: no JSON": ({"interop.toml": None, MANIFEST: "{"}, (f"{MANIFEST}: is no JSON: ",)),
    "manifest: a list": (
        {"interop.toml": None, MANIFEST: "[]"},
        (f"{MANIFEST}: is no JSON object; {{NAME: {{'repo': URL}}}} was needed",),
    ),
    "manifest: empty": ({"interop.toml": None, MANIFEST: "{}"}, (f"{MANIFEST}: has no implementation; {{NAME: ",)),
    "manifest: no repository": (
        {"interop.toml": None, MANIFEST: '{"go": {"repo": 3}}'},
        (f"{MANIFEST}: go: is {{'repo': 3}}, an object with the URL of its repository was needed",),
    ),
    "manifest: a name twice": (
        {"interop.toml": None, MANIFEST: '{"go": {"repo": "git://h/a"}, "go": {"repo": "git://h/b"}}'},
        (f"{MANIFEST}: 'go' is there twice, it was needed once",),
    ),
    "manifest: a folder": ({"interop.toml": None, MANIFEST: FOLDER}, (f"{MANIFEST}: cannot be read: it is a folder",)),
    # -- expect.toml
    "expect: no TOML": ({"expect.toml": "[[expect]"}, ("expect.toml: is no TOML: ",)),
    "expect: a pipe": ({"expect.toml": PIPE}, ("expect.toml: cannot be read: it is a named pipe",)),
    "expect: a link to nothing": ({"expect.toml": LINK}, ("expect.toml: cannot be read: No such", "link to nowhere")),
    "expect: a verdict": (
        {"expect.toml": EXPECT.format("plain", "fialed")},
        ("expect.toml: [[expect]] 1: status has 'fialed', one of succeeded, failed, ", "did you mean 'failed'?"),
    ),
    "expect: about nothing": (
        {"expect.toml": EXPECT.format("plian", "failed")},
        ("expect.toml: [[expect]] 1 is about no cell: test 'plian'; did you mean 'plain'?",),
    ),
    # -- several
    "all at once": (
        {"interop.toml": TOML, "tests/t.md": "[]", "tests/u.md": "3", "expect.toml": "expect = 3"},
        ("3 problems: ", "tests/t.md: header is []", "tests/u.md: header is 3", "expect.toml: expect is 3"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_in_a_file_is_told(project: Project, name: str) -> None:
    """With 10, the file, what was seen and what was needed; nothing may be made, or left running."""
    files, says = BAD[name]
    toy = Toy(project)
    for file, content in files.items():
        put(toy.root / file, content)
    before = names(toy.root)
    told = " ".join(line.strip() for line in toy.refused("run").replace(" ...\n  ... ", " ").splitlines())
    assert [sentence for sentence in says if sentence not in told] == [], told
    assert names(toy.root) == before
    assert (project.ledgers(), project.processes()) == ([], {})


def test_what_means_nothing_in_a_header_is_said(project: Project) -> None:
    """An old file may hold it, so all is run; a slip of one's own must be seen, and a hundred old files not flood."""
    toy = Toy(project)
    toy.write("tests/plain.md", '{"timout": "3s"}')
    told = toy("plan")
    assert (told.code, "plain.md: key 'timout' means nothing here; did you mean 'timeout'?" in told.stderr) == (0, True)
    toy.write("tests/plain.md", "{" + ", ".join(f'"old-{number}": 1' for number in range(12)) + "}")
    lines = [line for line in toy("plan").stderr.splitlines() if "old-" in line or "more like this" in line]
    assert len(lines) == 11
    assert lines[-1].endswith("... and 2 more like this")
