"""What explains a failed test: the part of every service's log that was written while it ran, and what has died."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts
from harness.errors import BrokenStack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.runs.environment import Environment

SHOWN_LINES = 40


@dataclass(frozen=True)
class Mark:
    """Where every service log stood at some moment: path -> size."""

    sizes: dict[Path, int]


def _logs(environment: Environment) -> list[Path]:
    return sorted((environment.folder / "services").glob("*.log"))


def mark(environment: Environment) -> Mark:
    """Note where the logs stand now."""
    return Mark({path: artifacts.file_size(path) for path in _logs(environment)})


def slices_since(environment: Environment, since: Mark) -> dict[str, bytes]:
    """Return service -> what its log got since ``since``; services that wrote nothing are left out."""
    found = {path.stem: artifacts.read_slice(path, since.sizes.get(path, 0)) for path in _logs(environment)}
    return {name: data for name, data in found.items() if data}


def save_evidence(environment: Environment, test: str, slices: dict[str, bytes]) -> Path:
    """Write the slices, byte for byte, to ``failures/<test>/<service>.log`` and return that folder."""
    folder = environment.report.failure_folder(test)
    for name, data in slices.items():
        (folder / f"{name}.log").write_bytes(data)
    return folder


def save_testimony(environment: Environment, test: str, heard: Mapping[str, str]) -> None:
    """Write what clients saw (subject -> text) to ``failures/<test>/<subject>.txt``."""
    folder = environment.report.failure_folder(test)
    for subject, text in heard.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", subject)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


def shown(data: bytes) -> str:
    """Return the last lines of a slice for a report."""
    lines = artifacts.printable(data).splitlines()
    dropped = f"... {len(lines) - SHOWN_LINES} earlier lines\n" if len(lines) > SHOWN_LINES else ""
    return dropped + "\n".join(lines[-SHOWN_LINES:])


def death(environment: Environment) -> BrokenStack | None:
    """Return the error for a service in use that has died, None while all live."""
    try:
        environment.check()
    except BrokenStack as error:
        return error
    return None
