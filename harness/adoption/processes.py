"""A service that is built here, as a local process: from its Dockerfile, where that is plain."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.images.dockerfiles import Program

_OF_A_SHELL = re.compile(r"[;&|<>`$(){}*?~]|\bexec\b")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_READ = re.compile(r"""(?:environ(?:\.get)?\s*[\[(]\s*|getenv\(\s*|process\.env(?:\.|\[\s*))["']?(\w+)""")
_PORT_NAMES = ("PORT", "HTTP_PORT", "APP_PORT", "SERVER_PORT", "WEB_PORT")
_ADDRESS_NAMES = ("HOST", "BIND", "BIND_HOST", "HTTP_HOST", "APP_HOST", "SERVER_HOST", "LISTEN_HOST", "LISTEN_ADDRESS")
_OF_THE_IMAGE = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "PYTHONHOME")
_WILDCARDS = ("0.0.0.0", "[::]", "::")  # noqa: S104 - what is looked for, and replaced


class UnknownError(Exception):
    """How a service runs as a local process is not known; the text says why."""


@dataclass(frozen=True)
class Built:
    """A service that is built here.

    Attributes:
        program: what its Dockerfile says.
        context: the build's folder, relative to the Compose file.
        entrypoint: what the Compose file says instead, None for nothing.
        command: as said.
        folder: ``working_dir`` of the Compose file, "" for none.
        mounts: container path -> folder, relative to the Compose file, of folders that are mounted.
        ports: the numbers of its published ports inside, each with the one that it is published as.
    """

    program: Program
    context: str
    entrypoint: tuple[str, ...] | None
    command: tuple[str, ...] | None
    folder: str
    mounts: Mapping[str, str]
    ports: Mapping[int, int]


def process_of(
    built: Built, read: Callable[[str], str], has_module: Callable[[str], bool], has_program: Callable[[str], bool]
) -> dict[str, Any]:
    """Return ``x-harness.embedded`` of a service that is built here.

    Args:
        built: the service.
        read: gives the text of a file, relative to the Compose file, "" for none.
        has_module: whether the interpreter that runs the harness has a module.
        has_program: whether a program is in PATH.

    Raises:
        UnknownError: it is not plain, or its program is not at hand.
    """
    folder = posixpath.join(built.program.folder, built.folder) if built.folder else built.program.folder
    place = _source_of(folder, built)
    words = _of_npm(_command(built), lambda name: read(posixpath.join(place, name)))
    text = "\n".join(read(posixpath.join(place, word)) for word in words[1:] if "." in word)
    environment = _environment(built, words, text)
    reached = [_localised(word, built.ports) for word in _at_hand(words, has_module, has_program)]
    _check_port(built, reached, environment)
    found: dict[str, Any] = {"command": reached}
    if place not in ("", "."):
        found["cwd"] = place
    if environment:
        found["environment"] = environment
    return found


def _command(built: Built) -> list[str]:
    """Return the words that a container runs."""
    image = built.program
    entrypoint = built.entrypoint if built.entrypoint is not None else image.entrypoint
    command = built.command if built.command is not None else None if built.entrypoint is not None else image.command
    words = [*_plain(entrypoint), *_plain(command)]
    if len(words) > 2 and words[0].rpartition("/")[2] in ("sh", "bash") and words[1] in ("-c", "-lc"):  # noqa: PLR2004 - sh -c LINE
        words = _plain(words[2])
    if not words:
        raise UnknownError("its Dockerfile says no CMD or ENTRYPOINT")
    return words


def _plain(words: Sequence[str] | str | None) -> list[str]:
    if words is None:
        return []
    if not isinstance(words, str):
        return list(words)
    line = words.strip().removeprefix("exec ")
    if _OF_A_SHELL.search(line):
        raise UnknownError(f"its command is a line for a shell: {line}")
    return shlex.split(line)


def _source_of(folder: str, built: Built) -> str:
    """Return the folder, relative to the Compose file, whose files an image has at ``folder``."""
    for target, source in built.mounts.items():
        if folder == target or folder.startswith(f"{target}/"):
            return posixpath.normpath(posixpath.join(source, posixpath.relpath(folder, target)))
    for sources, target in reversed(built.program.copies):
        below = folder == target or folder.startswith(target.rstrip("/") + "/")
        if below and len(sources) == 1 and not posixpath.splitext(sources[0])[1]:
            within = posixpath.relpath(folder, target)
            return posixpath.normpath(posixpath.join(built.context, sources[0].lstrip("/"), within))
    if any(target == folder for _, target in built.program.copies):
        return posixpath.normpath(built.context)  # files by name
    raise UnknownError(f"no folder here is what its image has at {folder}")


def _of_npm(words: list[str], read: Callable[[str], str]) -> list[str]:
    """Return what ``npm start`` and its like run, by package.json; other words as they are."""
    if words[0] not in ("npm", "yarn", "pnpm"):
        return words
    name = words[-1] if words[1:2] in (["run"], ["start"]) or words[0] != "npm" else ""
    try:
        line = json.loads(read("package.json") or "{}").get("scripts", {}).get(name, "")
    except (ValueError, AttributeError):
        line = ""
    found = _plain(line)
    if not found:
        raise UnknownError(f"{shlex.join(words)!r} is no script of its package.json")
    return found


def _at_hand(words: list[str], has_module: Callable[[str], bool], has_program: Callable[[str], bool]) -> list[str]:
    """Return a command with a program of this machine: ``python`` is the interpreter that runs the harness."""
    first = words[0].rpartition("/")[2]
    if _PYTHON.fullmatch(first):
        return ["python", *words[1:]]
    if has_module(first):
        return ["python", "-m", first, *words[1:]]
    if has_program(first):
        return [first, *words[1:]]
    raise UnknownError(
        f"its program {first!r} is neither in PATH nor a module of the interpreter that runs the harness: install it, "
        "remove the overlay if it is written, and adopt anew"
    )


def _localised(word: str, ports: Mapping[int, int]) -> str:
    """Return a word with the service's own address and ports in place of a container's."""
    for wildcard in _WILDCARDS:
        if word == wildcard or word.endswith(f"={wildcard}"):
            return word.replace(wildcard, "{address}")
        if wildcard + ":" in word:
            word = word.replace(wildcard + ":", "{address}:")
            break
    for right, left in ports.items():
        word = re.sub(rf"(?:(?<=[:=])|^){right}$", f"{{port:{left}}}", word)
    return re.sub(r"(?:(?<==)|^):(?=\{port)", "{address}:", word)


def _environment(built: Built, words: list[str], text: str) -> dict[str, str]:
    """Return the variables that a local process needs beside its service's: those of its image, and where to listen."""
    image = {
        name: value
        for name, value in built.program.environment.items()
        if name not in _OF_THE_IMAGE and not value.startswith("/") and not name.startswith(("PIP_", "UV_", "POETRY_"))
    }
    read = set(_READ.findall(text))
    port = f"{{port:{next(iter(built.ports.values()))}}}" if built.ports else ""
    image |= {name: port for name in _PORT_NAMES if port and name in read}
    image |= {name: "{address}" for name in _ADDRESS_NAMES if built.ports and name in read}
    if words[0] == "flask" or words[1:3] == ["-m", "flask"]:
        said = " ".join(words)
        image |= {"FLASK_RUN_HOST": "{address}"} if "--host" not in said and "-h" not in words else {}
        image |= {"FLASK_RUN_PORT": port} if port and "--port" not in said and "-p" not in words else {}
    return image


def _check_port(built: Built, words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Do nothing when a process listens where it is expected. Raises UnknownError."""
    said = " ".join((*words, *environment.values()))
    moved = [f"{right} is published as {left}" for right, left in built.ports.items() if right != left]
    if moved and "{port:" not in said:
        raise UnknownError(f"port {moved[0]}, and its command does not say where it listens")
