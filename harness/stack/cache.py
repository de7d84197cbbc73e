"""What Compose made of files, kept by content: files that have not changed are not parsed again.

An entry's name is a digest of all that Compose's answer depends on: its own binary, the command, every file that it
reads or would read, and the variables that the files name. Where that cannot be told for certain, nothing is kept.

Neither is what may hold a secret: files that name a variable that is set, or that have an ``.env``, ``env_file`` or
``label_file`` beside them. So an entry holds only what stands in the Compose files themselves. The folder is
``$XDG_CACHE_HOME/harness`` (mode 0700, XDG Base Directory Specification), and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.artifacts import cache_folder, open_regular, private_folder
from harness.errors import HarnessError
from harness.stack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FORMAT = 1
MOST = 256
LARGEST = 64 << 20  # bytes of an entry: twice what some 290,000 files of a build's folder take
TOTAL = 256 << 20  # bytes of all of them
SUFFIX = ".parsed"
_WORD = re.compile(r"\w+")
# Variables whose values are no secrets; what names another one is not kept.
_HARMLESS = frozenset(["HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "UID", "USER"])
# Keys, wherever they stand, that name Compose files; and those that have Compose look at other files, of which some may
# hold secrets, and links (``develop``).
_COMPOSE_FILES = ("include", "extends")
_OTHER_FILES = ("env_file", "label_file", "develop")
_PROGRAM = b"\x7fELF"  # a script could be about any program


class _UnsureError(Exception):
    """It cannot be told what Compose reads, or it is not to be kept."""


# -- what an answer depends on ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """What an answer of Compose depends on.

    Attributes:
        key: the name under which the answer may be kept, "" when it must not.
        stamps: when the files were changed; two equal inputs around a call mean that they did not change meanwhile.
    """

    key: str = ""
    stamps: tuple[tuple[str, int, int], ...] = ()


def inputs_of(
    argv: Sequence[str], files: Sequence[Path], folders: Sequence[Path], environ: Mapping[str, str]
) -> Inputs:
    """Return what Compose's answer depends on.

    Args:
        argv: the command; its first word is Compose.
        files: the Compose files.
        folders: where it looks for what they name, and for ``.env``.
        environ: the variables that it sees.
    """
    texts: dict[Path, str] = {}
    places = {folder.resolve() for folder in folders}
    try:
        for file in files:
            _read(file.resolve(), places, texts)
        if any((place / ".env").exists() for place in places):
            return Inputs()
        facts = [
            FORMAT,
            list(argv),
            _identity(Path(argv[0])),
            [[str(path), hashlib.sha256(text.encode()).hexdigest()] for path, text in sorted(texts.items())],
            sorted(_named(texts.values(), environ).items()),
            sorted((key, value) for key, value in environ.items() if key.startswith("DOCKER_") or key == "HOME"),
        ]
        stamps = tuple((str(path), *_stamp(path)) for path in sorted(texts))
    except (_UnsureError, OSError):
        return Inputs()
    return Inputs(hashlib.sha256(json.dumps(facts).encode()).hexdigest(), stamps)


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_mtime_ns


def _identity(program: Path) -> tuple[int, int, int]:
    with program.open("rb") as file:
        if file.read(len(_PROGRAM)) != _PROGRAM:
            raise _UnsureError
    return *_stamp(program), program.stat().st_size


def _named(texts: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables whose names occur in ``texts``, in whatever role."""
    words: set[str] = set()
    for text in texts:
        words.update(_WORD.findall(text))
        if any(name in text for name in environ if not _WORD.fullmatch(name)):
            raise _UnsureError
    variables = {name: environ[name] for name in words if name in environ}
    if not variables.keys() <= _HARMLESS:
        raise _UnsureError
    return variables


def _read(path: Path, places: set[Path], texts: dict[Path, str]) -> None:
    """Read a Compose file and all that it names into ``texts``, and add the folders that count for them."""
    if path in texts:
        return
    source = read_source(path)
    if source.problem:
        raise _UnsureError
    texts[path] = source.text
    places.add(path.parent)
    for kind, value in _naming(source.root, set()):
        if kind in _OTHER_FILES:
            raise _UnsureError
        names, folders = _names_in(kind, value)
        # Which folder a name starts from depends on who asks: a file in any of them may be the one.
        around = {path.parent, *places}
        places.update((base / folder).resolve() for base in around for folder in folders)
        for name in names:
            files = {file for base in around if (file := (base / name).resolve()).is_file()}
            if not files:
                raise _UnsureError
            for file in files:
                _read(file, places, texts)


def _naming(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[str, yaml.Node]]:
    """Yield (key, value) of every mapping entry under ``node`` that names files."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in (*_COMPOSE_FILES, *_OTHER_FILES):
                yield key.value, value
            yield from _naming(key, seen)
            yield from _naming(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _naming(item, seen)


def _names_in(kind: str, node: yaml.Node) -> tuple[list[str], list[str]]:
    """Return the files and the project folders that the value of an ``include`` or ``extends`` names."""
    if kind == "extends":
        if isinstance(node, yaml.ScalarNode):
            return [], []  # a service of the same file
        return _texts(_value(node, "file")), []
    files: list[str] = []
    folders: list[str] = []
    for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        if isinstance(entry, yaml.MappingNode):
            files += _texts(_value(entry, "path"))
            folders += _texts(_value(entry, "project_directory"))
        else:
            files += _texts(entry)
    return files, folders


def _value(node: yaml.Node, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        raise _UnsureError
    return next((value for name, value in node.value if name.value == key), None)


def _texts(node: yaml.Node | None) -> list[str]:
    """Return a string or a list of them. Raises _UnsureError for anything else, and for what Compose interpolates."""
    if node is None:
        return []
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    if not all(isinstance(item, yaml.ScalarNode) and "$" not in item.value for item in items):
        raise _UnsureError
    return [item.value for item in items]


# -- entries ---------------------------------------------------------------------------------------------------------


def folder_of(environ: Mapping[str, str]) -> Path | None:
    """Return the cache folder, made if need be; None when there can be none."""
    folder = cache_folder(environ)
    if folder is None:
        return None
    try:
        return private_folder(folder)
    except HarnessError:
        return None


def recall(key: str, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """Return what was kept under ``key``, None when nothing was, or not as it was written."""
    folder = folder_of(environ) if key else None
    if folder is None:
        return None
    path = folder / f"{key}{SUFFIX}"
    try:
        fd = open_regular(path, os.O_RDONLY)
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
            facts = os.fstat(fd)
            if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or facts.st_size > LARGEST:
                return None
            digest, _, content = file.read(LARGEST).partition(b"\n")
            if digest != _digest(key, content):
                return None
            with contextlib.suppress(OSError):
                os.utime(fd)  # the least used goes first
        return json.loads(content)
    except (OSError, ValueError):
        return None


def keep(key: str, value: object, environ: Mapping[str, str]) -> None:
    """Keep ``value`` under ``key``, if it can be: nobody depends on it."""
    folder = folder_of(environ) if key else None
    if folder is None:
        return
    content = json.dumps(value).encode()
    if len(content) > LARGEST // 2 or json.loads(content) != value:
        return  # such as keys that are no strings
    scratch = folder / f".{key}.{os.urandom(4).hex()}{SUFFIX}"
    with contextlib.suppress(OSError):
        try:
            fd = open_regular(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(_digest(key, content) + b"\n" + content)
            scratch.replace(folder / f"{key}{SUFFIX}")
        finally:
            scratch.unlink(missing_ok=True)
        _bound(folder)


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).hexdigest().encode()


def _bound(folder: Path) -> None:
    """Drop the least used entries when they are too many or too large, with what writers that were killed left."""
    entries: list[tuple[float, str, int]] = []
    with os.scandir(folder) as listed:
        for entry in listed:
            if not entry.name.endswith(SUFFIX):
                continue
            with contextlib.suppress(OSError):
                facts = entry.stat(follow_symlinks=False)
                entries.append((facts.st_mtime, entry.path, facts.st_size))
    size = 0
    for number, (_, path, bytes_) in enumerate(sorted(entries, reverse=True)):
        size += bytes_
        if number >= MOST or size > TOTAL:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a string in
