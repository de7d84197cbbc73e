"""Where pinned commits, tags and versions are written, and whether all places agree."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.config.pins import Pin
    from harness.config.subjects import Subject

LARGEST = 4 << 20
NEAR = 3  # lines above a commit in which its repository or subject may be named
IGNORED = "pins: ignore"  # in a line that is meant to say something else
_FILES = (
    *("pyproject.toml", "*.toml", "*.lock", "*-lock.json", "*.yaml", "*.yml", "requirements*.txt", "*.md", "*.rst"),
    *("README*", "Dockerfile*", "*.Dockerfile", "Containerfile*", "noxfile.py", "tasks.py"),
)
_HISTORY = ("CHANGELOG*", "CHANGES*", "HISTORY*")
_SHOWN = (".github", ".gitlab", ".circleci")
_NO_FOLDERS = ("node_modules", "__pycache__", "build", "dist", "site-packages")
_COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")
_OF_IMAGES = re.compile(r"\b(?:image|from|prebuilt|pull|run|save|load)\b", re.IGNORECASE)
_TAG = r"(?::[\w][\w.\-]*)?(?:@sha256:[0-9a-f]{64})?"


@dataclass(frozen=True)
class Mention:
    """A place that has a pin.

    Attributes:
        pin: its name.
        file: the file, from the project's folder on.
        line: its number, from 1 on; 0 for a file that should have the pin and has not.
        value: what it says, "" for nothing.
        wanted: what it should say.
        origin: file and line that say so, "" where it is declared.
        is_absent: whether there is no such file.
    """

    pin: str
    file: str
    line: int
    value: str
    wanted: str
    origin: str = ""
    is_absent: bool = False

    @property
    def agrees(self) -> bool:
        """Whether it says that."""
        return self.line > 0 and self.value == self.wanted

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        told = {name: getattr(self, name) for name in ("pin", "file", "line", "value", "wanted")}
        return {**told, "agrees": self.agrees}

    def __str__(self) -> str:
        if self.is_absent:
            return f"{self.file}: there is no such file to read, {self.pin} was needed in it"
        if not self.line:
            return f"{self.file}: {self.pin} is not mentioned, {self.wanted or 'a mention'} was needed"
        says = f"{self.file}:{self.line}: {self.pin} is {self.value}"
        if self.agrees:
            return says
        return f"{says}, {self.origin} has {self.wanted}" if self.origin else f"{says}, {self.wanted} was needed"


def find_mentions(subjects: Iterable[Subject], pins: Iterable[Pin], texts: Mapping[str, str]) -> list[Mention]:
    """Return every mention of what is pinned.

    Args:
        subjects: whose commits and tags are pinned.
        pins: the others.
        texts: file, from the project's folder on -> what it says.
    """
    lines = {file: text.splitlines() for file, text in texts.items()}
    commits = [subject for subject in subjects if subject.commit]
    found = list(_of_commits(commits, lines))
    for subject in subjects:
        if subject.image:
            found += _of_image(subject.name, subject.image, lines)
    for pin in pins:
        found += _of_pin(pin, lines)
    return found


def _of_commits(subjects: Sequence[Subject], lines: Mapping[str, Sequence[str]]) -> Iterator[Mention]:
    """Give each commit with the subject that is named the nearest above it."""
    names = {subject.name: _naming(subject) for subject in subjects}
    for file, number, line in _lines(lines):
        for commit in _COMMIT.findall(line):
            above = lines[file][max(0, number - 1 - NEAR) : number]
            named = next(
                (those for text in reversed(above) if (those := [s for s in subjects if names[s.name].search(text)])),
                [],
            )
            for subject in named:
                yield Mention(subject.name, file, number, commit, subject.commit)


def _naming(subject: Subject) -> re.Pattern[str]:
    """Return what finds a subject, or its repository, in a line: as words, in whatever way they are joined."""
    repository = subject.repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    words = (re.split(r"[-_. ]+", name) for name in {subject.name, repository} if name)
    either = "|".join(r"[-_. ]?".join(map(re.escape, parts)) for parts in words)
    return re.compile(rf"(?<![a-z0-9])(?:{either})(?![a-z0-9])", re.IGNORECASE)


def _of_image(name: str, image: str, lines: Mapping[str, Sequence[str]]) -> Iterator[Mention]:
    repository = re.split(r"@|:(?=[^/]*$)", image.partition("@")[0])[0]
    pattern = re.compile(rf"(?<![\w./\-])(?:docker\.io/(?:library/)?)?{re.escape(repository)}(?P<tag>{_TAG})(?![\w/@])")
    for file, number, line in _lines(lines):
        if "/" not in repository and not _OF_IMAGES.search(line):
            continue  # it may be a service and its port
        for match in pattern.finditer(line):
            tag = match["tag"].rstrip(".")
            if tag:
                yield Mention(name, file, number, f"{repository}{tag}", image)


def _of_pin(pin: Pin, lines: Mapping[str, Sequence[str]]) -> list[Mention]:
    pattern = re.compile(pin.pattern or f"({re.escape(pin.value)})")
    chosen = {file: said for file, said in lines.items() if not pin.files or _is_one(file, pin.files)}
    places = [
        (file, number, match[1] or "") for file, number, line in _lines(chosen) for match in pattern.finditer(line)
    ]
    wanted, origin = pin.value, ""
    if places and not wanted:
        first, at, wanted = places[0]
        origin = f"{first}:{at}"
    found = [Mention(pin.name, file, number, value, wanted, origin) for file, number, value in places]
    having = {file for file, _, _ in places}
    absent = [name for name in pin.files if not any(fnmatch(file, name) for file in chosen)]
    lacking = [file for file in chosen if file not in having] if pin.files else [] if places else ["any file"]
    return [
        *found,
        *(Mention(pin.name, file, 0, "", wanted, is_absent=True) for file in absent),
        *(Mention(pin.name, file, 0, "", wanted) for file in lacking),
    ]


def _lines(lines: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int, str]]:
    for file, said in lines.items():
        for number, line in enumerate(said, 1):
            if IGNORED not in line:
                yield file, number, line


def _is_one(file: str, names: Iterable[str]) -> bool:
    return any(fnmatch(file, name) for name in names)


def read_texts(root: Path, pins: Iterable[Pin], *, besides: Path) -> dict[str, str]:
    """Return file, from ``root`` on -> what it says, of the files in which pins may be written.

    They are those that pins name, pyproject.toml, Dockerfiles, YAML and TOML files (Compose's and those of CI services
    among them), documents and lock files; not histories, hidden folders, environments of Python, and ``besides``.
    """
    wanted = {name for pin in pins for name in pin.files}
    texts = {}
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if _is_entered(here / name, besides))
        for name in sorted(files):
            file = (here / name).relative_to(root).as_posix()
            if (_is_one(name, _FILES) and not _is_one(name, _HISTORY)) or _is_one(file, wanted):
                text = _text(here / name)
                if text is not None:
                    texts[file] = text
    return texts


def _is_entered(folder: Path, besides: Path) -> bool:
    hidden = folder.name.startswith(".") and folder.name not in _SHOWN
    return not (hidden or folder.name in _NO_FOLDERS or folder == besides or (folder / "pyvenv.cfg").exists())


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
