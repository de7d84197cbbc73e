"""What GitHub Actions reads in what a step prints: its commands, and how no other text becomes one of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SUMMARY = "GITHUB_STEP_SUMMARY"
LONGEST = 1000  # characters of a message that is shown beside a line of code
# A command begins its line, but for white space, and a carriage return ends one; its older spelling may be anywhere.
_COMMAND = re.compile(r"(?:(?<=[\r\n])|^)([^\S\r\n]*):(?=:)")
_OLD_COMMAND = re.compile(r"#(?=#\[)")


def is_on(environ: Mapping[str, str]) -> bool:
    """Return whether what is printed is read by GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


def neutral(text: str) -> str:
    """Return ``text`` such that none of its lines is a command: ``: :error::`` for ``::error::``."""
    return _OLD_COMMAND.sub("# ", _COMMAND.sub(r"\1: ", text))


def guarded(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` as it is, or where GitHub Actions reads it, with no command in it."""
    return neutral(text) if is_on(environ) else text


def _message(text: str) -> str:
    """Escape what follows the second ``::`` of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape the value of a property, which a colon or comma would end."""
    return _message(text).replace(":", "%3A").replace(",", "%2C")


@dataclass(frozen=True)
class Annotation:
    """An error as it is shown beside a line of code.

    Attributes:
        title: what is wrong, in few words.
        message: why.
        file: from the top of the workspace, "" where it is elsewhere.
        line: the first one is 1; 0 where none is meant.
    """

    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = {"file": self.file, "line": str(self.line) if self.file and self.line else "", "title": self.title}
        properties = ",".join(f"{key}={_property(value)}" for key, value in place.items() if value)
        # What is older than the escapes is looked for in a whole line.
        return _OLD_COMMAND.sub("# ", f"::error {properties}::{_message(self.message[:LONGEST])}")


def file_in_workspace(path: Path, environ: Mapping[str, str]) -> str:
    """Return an absolute ``path`` as annotations name files, "" where it is not in the workspace."""
    top = Path(environ.get("GITHUB_WORKSPACE") or path.anchor)
    if not path.is_relative_to(top):
        path, top = path.resolve(), top.resolve()
    return path.relative_to(top).as_posix() if path.is_relative_to(top) and top != Path(top.anchor) else ""


@dataclass(frozen=True)
class Fence:
    """Two lines, between which no command is heeded; they share a word that nobody can know before.

    Attributes:
        begin: goes before the text.
        end: goes after it.
    """

    begin: str
    end: str

    @classmethod
    def make(cls) -> Fence:
        """Return a new one."""
        word = os.urandom(16).hex()
        return cls(f"::stop-commands::{word}", f"::{word}::")


def group(title: str) -> str:
    """Return the line that begins a part of the output which is shown folded."""
    return f"::group::{_message(title)}"


END_GROUP = "::endgroup::"
