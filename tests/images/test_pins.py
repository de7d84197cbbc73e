"""One pin, one place: every mention is found, and those that say something else are named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in

from harness.config.pins import read_pins
from harness.config.subjects import read_subjects
from harness.errors import ConfigError
from harness.images.pins import find_mentions, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def found(
    texts: dict[str, str], subjects: Mapping[str, Any] | None = None, pins: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the mentions in texts, in words."""
    file = Path("/p/pyproject.toml")
    tables = read_subjects(subjects or {}, Path("/p"), file)
    return [str(mention) for mention in find_mentions(tables.values(), read_pins(pins or {}, file), texts)]


def test_a_commit_is_that_of_the_subject_named_nearest_above() -> None:
    """A commit must be held against the subject that its line names, or one of the three above, the nearest first."""
    subjects = {
        "web-app": {"git": "https://example.org/shop/server.git", "commit": ONE},
        "db": {"git": "../database", "commit": TWO},
    }
    texts = {
        "Dockerfile": f"ARG WEB_APP_COMMIT={ONE}\nARG DB_COMMIT={ONE}\n",
        "README.md": f"The server is\n[here](https://example.org/shop/server/tree/{TWO}).\n",
        "far.md": f"The server.\n\n\n\n{THREE}\n",
        "near.yaml": f"database:\n  server-side: no\n  database: 1\n  x: 2\n  commit: {TWO}\n",
        "other.md": f"What webapps and dbs do is at {THREE}; sha256:{'4' * 64}\n",
    }
    assert found(texts, subjects) == [
        f"Dockerfile:1: web-app is {ONE}",
        f"Dockerfile:2: db is {ONE}, {TWO} was needed",
        f"README.md:2: web-app is {TWO}, {ONE} was needed",
        f"near.yaml:5: db is {TWO}",
    ]


def test_a_tag_is_that_of_its_image_alone() -> None:
    """Tags of an image must be found with and without its registry; not ports, other images, or a line that says so."""
    subjects = {"k": {"prebuilt": "apache/kafka:4.1.1"}, "s": {"prebuilt": "search:2"}}
    texts = {
        "compose.yaml": "image: apache/kafka:4.1.1\nimage: docker.io/apache/kafka:4.0\nimage: my/apache/kafka:3\n",
        "README.md": "Not `apache/kafka:3.9`. # pins: ignore\nsearch:9200\ndocker pull search:3.\n",
        "Dockerfile": "FROM apache/kafka:4.1.1 AS a\nFROM apache/kafka\nFROM search:2\n",
    }
    assert found(texts, subjects) == [
        "compose.yaml:1: k is apache/kafka:4.1.1",
        "compose.yaml:2: k is apache/kafka:4.0, apache/kafka:4.1.1 was needed",
        "Dockerfile:1: k is apache/kafka:4.1.1",
        "README.md:3: s is search:3, search:2 was needed",
        "Dockerfile:3: s is search:2",
    ]


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        (
            {"pattern": r"tool==([\d.]+)"},
            ["a.txt:1: p is 1.2", "docs/b.md:1: p is 1.3, a.txt:1 has 1.2"],
        ),
        ({"pattern": r"tool==([\d.]+)", "value": "1.3", "files": ["docs/*"]}, ["docs/b.md:1: p is 1.3"]),
        ({"value": "1.2", "files": ["a.txt"]}, ["a.txt:1: p is 1.2"]),
        ({"value": "1.2", "files": ["*.md"]}, ["docs/b.md: p is not mentioned, 1.2 was needed"]),
        (
            {"value": "1.2", "files": ["a.txt", "c"]},
            ["a.txt:1: p is 1.2", "c: there is no such file to read, p was needed in it"],
        ),
        ({"pattern": "other==(.*)"}, ["any file: p is not mentioned, a mention was needed"]),
    ],
)
def test_a_pin_of_ones_own_is_found_by_its_pattern(pin: dict[str, Any], told: list[str]) -> None:
    """Without a value the first place must say it; every file that is named must have it."""
    assert found({"a.txt": "tool==1.2\n", "docs/b.md": "use tool==1.3\n"}, pins={"p": pin}) == told


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "has neither a pattern, nor a value and files; one of them was needed"),
        ({"value": "1"}, "has neither a pattern, nor a value and files"),
        ({"valeu": "1"}, "key 'valeu' is not known; did you mean 'value'?"),
        ({"pattern": "("}, "pattern '(' is no regular expression"),
        ({"pattern": "a"}, "pattern 'a' has 0 groups; one was needed, for the value"),
        ({"value": 1}, "value is int 1, a str was needed"),
        ({"value": "1", "files": [1]}, "files has [1], names of files were needed"),
    ],
)
def test_what_is_wrong_in_a_pin_is_named(table: dict[str, Any], problem: str) -> None:
    """An error must name the file, the table, what was seen and what was needed."""
    with pytest.raises(ConfigError) as caught:
        read_pins({"p": table}, Path("pyproject.toml"))
    assert caught.value.summary.startswith("pyproject.toml: [tool.harness.pins.p]: ")
    assert problem in caught.value.summary
    with pytest.raises(ConfigError, match="is str '1', a table was needed"):
        read_pins({"p": "1"}, Path("pyproject.toml"))


def test_files_that_say_what_is_used_are_looked_at(tmp_path: Path) -> None:
    """Documents, Dockerfiles, YAML and what a pin names must be read; not histories, logs and hidden ones."""
    names = ("a/README.md", "Dockerfile", "b.Dockerfile", "compose/x.yaml", ".github/w.yml", "uv.lock", "src/v.py")
    others = ("CHANGELOG.md", "logs/x.md", ".git/x.md", "venv/x.md", "src/w.py", "node_modules/x.md", "bytes.md")
    for name in (*names, *others, "venv/pyvenv.cfg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "bytes.md").write_bytes(b"\xff")
    pins = read_pins({"p": {"value": "1", "files": ["src/v.py"]}}, tmp_path)
    assert set(read_texts(tmp_path, pins, besides=tmp_path / "logs")) == set(names)


def test_the_task_ends_with_10_where_pins_disagree(project: Project) -> None:
    """``pins.check`` must print every place, those that disagree first, and end with 0 only when all agree."""
    table = f'[tool.harness.subjects.web]\ngit = "r"\ncommit = "{ONE}"\n'
    (project.root / "pyproject.toml").write_text(table)
    (project.root / "README.md").write_text(f"web is at {ONE}\n")
    done = run_in(project, *HARNESS, "pins.check")
    assert (done.code, done.stdout) == (0, f"README.md:1: web is {ONE}\npyproject.toml:3: web is {ONE}\n")
    (project.root / "README.md").write_text(f"\nweb is at {TWO}\n")
    done = run_in(project, *HARNESS, "pins.check")
    assert done.code == 10
    assert done.stdout.splitlines()[0] == f"README.md:2: web is {TWO}, {ONE} was needed"
    assert "1 of 2 mentions of pins do not agree" in done.stderr
    told = json.loads(run_in(project, *HARNESS, "pins.check", "--json").stdout)
    assert (told["kind"], [mention["agrees"] for mention in told["mentions"]]) == ("pins", [False, True])
    (project.root / "pyproject.toml").write_text("[tool.harness]\n")
    done = run_in(project, *HARNESS, "pins.check")
    assert (done.code, "nothing is pinned" in done.stderr) == (0, True)
    (project.root / "pyproject.toml").write_text(
        "[tool.harness.pins]\nnone = {pattern = 'nosuch=(.*)'} # pins: ignore\n"
    )
    done = run_in(project, *HARNESS, "pins.check")
    assert (done.code, done.stdout) == (10, "any file: none is not mentioned, a mention was needed\n")
    assert "1 of 1 mentions of pins do not agree" in done.stderr
