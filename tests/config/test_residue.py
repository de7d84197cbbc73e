"""Tests of `harness.config.residue`: what may be said about what tests leave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.config.residue import WATCHED, Allowed, ResidueSettings, read_residue
from harness.errors import ConfigError
from harness.residue.engine import EngineObjects
from harness.residue.files import Files
from harness.residue.host import EnvironmentVariables, SignalHandlers, Threads, Umask, WorkingDirectory
from harness.residue.processes import Ports, Processes
from harness.residue.stores import _KINDS
from harness.runs.watched import StartedServices

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path("/project")
WHERE = "pyproject.toml: [tool.harness.residue]"


def read(table: Mapping[str, Any]) -> ResidueSettings:
    """Read a table of a project."""
    return read_residue(table, "report", ROOT, Path("pyproject.toml"))


def test_folders_are_of_the_project_and_what_is_allowed_has_kind_name_and_reason() -> None:
    entry = {"kind": "threads", "name": "grpc-*", "reason": " one for each process "}
    assert read({"watch": ["out"], "allow": [entry]}) == ResidueSettings(
        "report", (ROOT / "out",), (Allowed("threads", "grpc-*", "one for each process"),)
    )


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("x", """is 'x', {kind = "...", name = "...", reason = "..."} was needed"""),
        ({"kind": "umask", "name": "*"}, "has no reason"),
        ({"kind": "umask", "name": "*", "reason": " "}, "has no reason"),
        ({"kind": "umask", "nam": "*", "reason": "x"}, "key 'nam' is not known; did you mean 'name'?"),
        ({"kind": "umask", "name": 3, "reason": "x"}, "name is int 3, a str was needed"),
        ({"kind": "thread", "name": "*", "reason": "x"}, "kind 'thread' is not known; did you mean 'threads'?"),
        ({"kind": "xyz", "name": "*", "reason": "x"}, f"kind 'xyz' is not known; valid: {', '.join(WATCHED)}"),
    ],
)
def test_an_entry_that_could_allow_nothing_is_refused_with_its_number(entry: object, problem: str) -> None:
    """Whoever misspells an entry must be told which one and what is wrong, and not wait for the end of a run."""
    right = {"kind": "files", "name": "*", "reason": "x"}
    with pytest.raises(ConfigError) as caught:
        read({"allow": [right, entry]})
    assert list(caught.value.problems) == [f"{WHERE}: allow, entry 2: {problem}"]


def test_a_folder_that_is_none_and_a_key_that_is_not_known_are_refused_together() -> None:
    with pytest.raises(ConfigError) as caught:
        read({"watch": ["out", 3, " "], "alow": []})
    assert list(caught.value.problems) == [
        f"{WHERE}: key 'alow' is not known; did you mean 'allow'?",
        f"{WHERE}: watch has 3, a folder of the project was needed",
        f"{WHERE}: watch has ' ', a folder of the project was needed",
    ]


def test_each_kind_that_is_watched_can_be_allowed_and_no_other() -> None:
    """The kinds of an entry must be those that reports name."""
    of_process = (Processes, Ports, Threads, EnvironmentVariables, WorkingDirectory, Umask, SignalHandlers, Files)
    kinds = [watcher.kind for watcher in (*of_process, StartedServices, EngineObjects)]
    assert sorted(WATCHED) == sorted([*kinds, *(kind for pair in _KINDS.values() for kind in pair if kind)])
