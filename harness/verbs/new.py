"""A new stack from a template: Compose file, configuration, fixture and test, which pass at once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import write_atomically
from harness.config.sources import COMPOSE_FILES
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.config import Settings

IMAGE = "python:3-alpine"
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_TEMPLATES = Path(__file__).parents[1] / "templates" / "stack"
_IMAGE = re.compile(r"[^\s\"'{}$#]+")


@dataclass(frozen=True)
class Made:
    """What was written, and how to go on."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def new_stack(settings: Settings, name: str, *, image: str = "") -> Made:
    """Write the files of a new stack into the project, and declare it as a system where nothing does.

    Args:
        settings: of the project; its folder may be empty.
        name: of the stack.
        image: what its service runs as a container, with ``python3`` in it.

    Raises:
        ConfigError: the name is none, or a file is there already; nothing was written.
    """
    if not _NAME.fullmatch(name) or len(name) > 40:  # noqa: PLR2004 - it is part of names on an engine
        raise ConfigError(
            f"Stack name {name!r} is none; small letters, digits and single - or _ were needed, a letter first"
        )
    image = image or IMAGE
    if not _IMAGE.fullmatch(image):
        raise ConfigError(f"Image {image!r} is no name of an image; such as {IMAGE}")
    stacks = settings.stack_folder
    tests = settings.root / "integration_tests" / name
    up = _way(stacks, settings.root)
    texts = {
        stacks / f"{name}.yaml": "stack.yaml",
        settings.root / "config-files" / name / "settings.json": "settings.json",
        tests / "conftest.py": "conftest.py",
        tests / f"test_{name.replace('-', '_')}.py": "test.py",
    }
    values = {"NAME": name, "FIXTURE": name.replace("-", "_"), "IMAGE": image, "UP": up}
    there = [str(path) for path in texts if path.exists()]
    if there:
        raise ConfigError.of([f"{path} is there already" for path in there], hint="choose another name")
    pyproject, notes = _declare(settings, name)
    try:
        for path, template in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (_TEMPLATES / f"{template}.in").read_text(encoding="utf-8")
            for key, value in values.items():
                text = text.replace(f"@{key}@", value)
            write_atomically(path, text)
        if pyproject:
            write_atomically(settings.root / "pyproject.toml", pyproject)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error
    files = (*texts, *([settings.root / "pyproject.toml"] if pyproject else []))
    return Made(files, tuple(notes))


def _way(folder: Path, root: Path) -> str:
    """Return how to go from the folder of stacks to the project's."""
    try:
        return "/".join([".."] * len(folder.relative_to(root).parts)) or "."
    except ValueError:
        return str(root)


def _declare(settings: Settings, name: str) -> tuple[str, list[str]]:
    """Return what pyproject.toml shall be ("" as it is) and what the user must do by hand."""
    path = settings.root / "pyproject.toml"
    tests = f"integration_tests/{name}"
    added = f'[tool.harness.systems.{name}]\ntests = "{tests}"\nstacks = ["{name}"]\ndefault = "{name}"\n'
    if settings.systems:
        if any(one.name == name for one in settings.systems):
            return "", []
        default = settings.system.name if settings.system and len(settings.systems) == 1 else ""
        if default and settings.origins["system"] == "default":
            # With a second system the first would no longer be the only one, which is what chooses it now.
            return "", [f"declare it in {path} to use --system {name}:", *added.splitlines()]
    elif any((settings.root / one).is_file() for one in COMPOSE_FILES):
        # A system would take the place of that file as what is started when nothing is named.
        return "", [f"use it with --stack {name}, or declare it in {path}:", *added.splitlines()]
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = f"{text.rstrip()}\n\n{added}" if text.strip() else added
    try:
        document = tomllib.loads(whole)
    except tomllib.TOMLDecodeError:
        return "", [f"declare it in {path}:", *added.splitlines()]
    del document
    return whole, []
