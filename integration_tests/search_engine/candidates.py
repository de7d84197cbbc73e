"""The engines that the contract has been run on, and which promise each is known to break (``known.toml``)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from harness.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    import harness

HERE = Path(__file__).parent
KNOWN = HERE / "known.toml"
REFERENCE = "opensearch"
EMBEDDED = "osmem-server"
"""The engine that the preset ``search`` runs on the embedded engine."""
NOTES = "search_engine.json"
"""File in a run's folder: which engine it was, and how much memory it had at the end."""

# A word of an engine's command line that no other has.
_TOLD_BY = {"osmem-server": EMBEDDED, "org.opensearch.bootstrap.OpenSearch": REFERENCE}


def known_failures() -> dict[str, dict[str, str]]:
    """Return engine -> test (``file::function``) -> what the engine does instead."""
    table = tomllib.loads(KNOWN.read_text(encoding="utf-8"))
    return {name: table.get(name, {}) for name in _TOLD_BY.values()}


def processes_of(stack: harness.Stack) -> list[psutil.Process]:
    """Return the processes of the engine that this machine can see; none of one that somebody else started."""
    try:
        first = psutil.Process(stack.service("search").pid)
        return [first, *first.children(recursive=True)]
    except (Unsupported, psutil.Error):
        return []


def name_of(processes: Sequence[psutil.Process]) -> str:
    """Return which engine these processes are; one that cannot be seen is held to the reference."""
    words = [Path(word).name for process in processes for word in process.cmdline()]
    return next((name for word, name in _TOLD_BY.items() if word in words), REFERENCE)
