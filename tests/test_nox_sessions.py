"""What the Nox sessions install, in this project and in those of others."""

from __future__ import annotations

import json
import sys
from importlib.metadata import distribution
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from harness import nox_sessions, procs
from harness.nox_sessions import wanted_packages

if TYPE_CHECKING:
    from pathlib import Path

HERE = "integration-harness"
PACKAGE = {"build-system": {}, "project": {"name": "app", "optional-dependencies": {"all": ["x"]}}}
GROUPS = {"dependency-groups": {"test": ["pytest", {"include-group": "more"}], "more": ["requests>=2"]}}
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, []),
    "a package": (PACKAGE, ["-e", ".[all]"]),
    "a package without extras": ({"build-system": {}, "project": {"name": "app"}}, ["-e", "."]),
    "an application": ({"project": {"name": "app", "dependencies": ["flask"]}}, ["flask"]),
    "groups": ({**PACKAGE, **GROUPS}, ["-e", ".[all]", "pytest", "requests>=2"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_project_of_others_gets_what_it_has_and_the_harness(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a project has must be installed, nothing that it has not, and the harness that Nox itself has."""
    document, wanted = CASES[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nox_sessions, "_this_harness", lambda _: ["this"])
    assert wanted_packages(document, ["test"], "all") == [*wanted, "this"]
    (tmp_path / "requirements.txt").write_text("flask\n")
    files = [] if "build-system" in document else ["-r", "requirements.txt"]
    assert wanted_packages(document, [], "") == [
        *(word.removesuffix("[all]") for word in wanted if word not in ("pytest", "requests>=2")),
        *files,
        "this",
    ]


def test_this_project_gets_itself_only() -> None:
    """The harness must not be installed a second time, in its own project."""
    document = {"build-system": {}, "project": {"name": HERE}}
    assert wanted_packages(document, ["test"], "all") == ["-e", "."]


@pytest.mark.parametrize(
    ("told", "requirement"),
    [
        ("", f"{HERE}==1.2"),
        (json.dumps({"url": "file:///a/b", "dir_info": {"editable": True}}), f"{HERE} @ file:///a/b"),
        (
            json.dumps({"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "abc"}}),
            f"{HERE} @ git+https://h/r@abc",
        ),
    ],
)
def test_the_harness_that_is_installed_is_that_of_nox(
    told: str, requirement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite must get the version, the folder or the commit that Nox itself was given."""
    folder = tmp_path / "integration_harness-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {HERE}\nVersion: 1.2\n")
    if told:
        (folder / "direct_url.json").write_text(told)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert distribution(HERE).version == "1.2"
    assert nox_sessions._this_harness() == [requirement]
    with_archives = requirement.replace(HERE, f"{HERE}[archives]", 1)
    assert wanted_packages({}, [], "all", "archives") == [with_archives]


@pytest.mark.parametrize("verb", ["save", "load"])
def test_images_that_are_saved_or_loaded_have_what_reads_archives(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session must ask for the harness's own extra: a project of others has none that brings it."""
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(nox_sessions, "install", lambda *_, **more: asked.append(more))
    monkeypatch.setattr(nox_sessions, "run", lambda *_: None)
    nox_sessions.images.func(SimpleNamespace(posargs=[verb, "a.tar.zst"]))
    assert [more["needs"] for more in asked] == ["archives"]


def test_of_all_suites_each_is_run_whatever_the_first_said(tmp_path: Path) -> None:
    """`-- all` must run every suite, so that each is known to be red or green, and end with what the first one said."""
    (tmp_path / "noxfile.py").write_text(
        "from harness.nox_sessions import integration\nimport nox\nnox.options.default_venv_backend = 'none'\n"
    )
    tables = [f'[tool.harness.systems.{name}]\ntests = "{name}"\n' for name in "ab"]
    (tmp_path / "pyproject.toml").write_text("".join(tables))
    for name, body in (("a", "assert 0"), ("b", "open(__file__ + '.ran', 'w').close()")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"test_{name}.py").write_text(f"def test_it(): {body}\n")
    argv = [sys.executable, "-m", "nox", "-s", "integration", "--", "all", "-p", "no:cacheprovider"]
    done = procs.run(argv, timeout=120, cwd=tmp_path)
    assert done.code == 1, done.stderr
    assert "a: harness exit: 1 (tests failed)" in done.stderr
    assert (tmp_path / "b" / "test_b.py.ran").exists()
