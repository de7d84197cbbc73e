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


def save_evidence(environment: Environment, test: str, since: Mark) -> dict[str, str]:
    """Write what each log got since ``since``, byte for byte, to ``failures/<test>/<service>.log``.

    Of much it is the first and the last part (``artifacts.read_log``). Return service -> its last lines for a report;
    services that wrote nothing are left out.
    """
    folder = environment.report.failure_folder(test)
    told: dict[str, str] = {}
    for path in _logs(environment):
        if data := artifacts.read_log(path, since.sizes.get(path, 0)):
            (folder / path.name).write_bytes(data)
            told[path.stem] = shown(data)
    return told


def save_testimony(environment: Environment, test: str, heard: Mapping[str, str]) -> None:
    """Write what clients saw (subject -> text) to ``failures/<test>/<subject>.txt``."""
    folder = environment.report.failure_folder(test)
    for subject, text in heard.items():
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", subject)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


def shown(data: bytes) -> str:
    """Return the last lines of a slice for a report."""
    last = data[-artifacts.TAIL_BYTES :]
    lines = artifacts.printable(last).splitlines()[-SHOWN_LINES:]
    dropped = data.count(b"\n") + (not data.endswith(b"\n")) - len(lines)
    return (f"... {dropped} earlier lines\n" if dropped > 0 else "") + "\n".join(lines)


def death(environment: Environment) -> BrokenStack | None:
    """Return the error for a service in use that has died, None while all live."""
    try:
        environment.check()
    except BrokenStack as error:
        return error
    return None
