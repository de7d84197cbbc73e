"""The files that a command line is started from: scripts, programs, and what Python imports beside them."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MODULE = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::[A-Za-z_][\w.]*(?:\(\))?)?")
_PYTHON = re.compile(r"(?:python|pypy)[\d.]*|flask|gunicorn|uvicorn|hypercorn|celery|daphne|waitress-serve|granian")
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<dots>\.*)(?P<package>[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]+)"
    r"|import[ \t]+(?P<modules>[^\n#;]+))",
    re.MULTILINE,
)
_LARGEST = 1 << 20  # bytes of a script that is read for what it imports


def files_of_command(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> list[Path]:
    """Return the files and folders that a command line names, and what a Python script imports from beside itself.

    Of a package it is the folder. What lies in other places, such as a library, is for the caller to leave out.

    Args:
        argv: the command.
        cwd: the folder that it runs in.
        env: its environment; ``PYTHONPATH`` is heeded.
    """
    found: dict[Path, None] = {}
    searched = [cwd, *(cwd / part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part)]
    is_python = bool(argv) and bool(_PYTHON.fullmatch(Path(argv[0]).name))
    takes_module = False
    for number, word in enumerate(argv):
        path = cwd / word.rpartition("=")[2]
        if word and _is_file(path) and (number or ("/" in word and not is_python)):
            found |= dict.fromkeys(_script(path) if path.suffix == ".py" else [path])
        elif number and is_python and (takes_module or ":" in word or word.isidentifier()):
            found |= dict.fromkeys(_module(word, searched, own=takes_module and argv[0] == sys.executable))
        elif number and _is_folder(path) and path != cwd and word not in (".", "/"):
            found[path] = None
        takes_module = word == "-m"
    return [Path(os.path.normpath(path)) for path in found]


def _is_file(path: Path) -> bool:
    """Return whether this is a file; what is no name for one, such as the text of a script, is none."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises for a name that is too long


def _is_folder(path: Path) -> bool:
    """Return whether this is a folder; what is no name for one is none."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def _module(word: str, searched: Sequence[Path], *, own: bool) -> Iterator[Path]:
    """Give what a word such as ``shop.web:app`` is as a module; with ``own`` also as one that this Python has."""
    match = _MODULE.fullmatch(word)
    if not match:
        return
    top = match["module"].partition(".")[0]
    for folder in searched:
        if (folder / top).is_dir():
            yield folder / top
            return
        if (folder / f"{top}.py").is_file():
            yield from _script(folder / f"{top}.py")
            return
    if own and top not in sys.stdlib_module_names:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return
        if spec and spec.submodule_search_locations:
            yield from map(Path, spec.submodule_search_locations)
        elif spec and spec.origin:
            yield Path(spec.origin)


def _script(script: Path) -> Iterator[Path]:
    """Give a script, and the modules and packages in its folder that it imports, and so on."""
    folder, todo, seen = script.parent, [script], set()
    while todo:
        file = todo.pop()
        if file in seen:
            continue
        seen.add(file)
        yield file
        for name in _imported(file):
            if (folder / name).is_dir() and name not in sys.stdlib_module_names:
                yield folder / name
            elif (folder / f"{name}.py").is_file():
                todo.append(folder / f"{name}.py")


def _imported(file: Path) -> Iterator[str]:
    """Give the top names of the modules that a file may import."""
    try:
        if file.stat().st_size > _LARGEST:
            return
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for match in _IMPORT.finditer(text):
        listed = match["modules"] or match["names"].strip("()")
        names = [part.split()[0] for part in listed.split(",") if part.split()]
        if match["modules"]:
            yield from (name.partition(".")[0] for name in names)
        elif match["package"]:
            yield match["package"].partition(".")[0]
        else:
            yield from names
