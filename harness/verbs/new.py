"""What is written into a project: a new stack from a template, which passes at once; the file of a CI service."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.artifacts import write_atomically
from harness.config.sources import COMPOSE_FILES
from harness.engine.layout import Local, process_of
from harness.errors import ConfigError, nearest
from harness.images import idle_of
from harness.recipes import CIS, Recipe, Suite, mode_of, more_of, path_of, text_of
from harness.stack import read_tree

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.config.settings import System
    from harness.stack import Tree

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


# -- the file of a CI service ------------------------------------------------------------------------------------------

_NOXFILE = """# /// script
# dependencies = ["nox[uv]", "integration-harness"]
# ///
\"\"\"The project's Nox sessions. `nox --list` shows them; Nox installs by itself what is named above.\"\"\"

from harness.nox_sessions import images, integration

__all__ = ["images", "integration"]
"""
_SYSTEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_PYTHON = "3.12"


def new_recipe(settings: Settings, ci: str, *, force: bool = False) -> Made:
    """Write the file of a CI service, and a noxfile.py where the project has none.

    Args:
        settings: of the project; its engine is that of the jobs.
        ci: the service: github, gitlab or circleci.
        force: whether a file that is another one is overwritten.

    Raises:
        ConfigError: a file that is there says something else; a suite cannot run there; nothing was written.
    """
    texts = {path: text for path, text in recipe_texts(settings, ci).items() if _written(path) != text}
    if not force and (others := [path for path in texts if path.exists()]):
        raise ConfigError.of(
            [f"{path} is there already and says something else" for path in others],
            hint=f"`harness new --ci {ci} --check` shows the difference; --force writes it anew",
        )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error
    return Made(tuple(texts), () if texts else (f"{path_of(ci)} is what would be written",))


def recipe_difference(settings: Settings, ci: str) -> str:
    """Return how the files of a CI service differ from what would be written, "" when they do not.

    Raises:
        ConfigError: as ``new_recipe`` does.
    """
    lines: list[str] = []
    for path, text in recipe_texts(settings, ci).items():
        name = path.relative_to(settings.root).as_posix()
        before = f"a/{name}" if path.exists() else "/dev/null"
        lines += difflib.unified_diff(_written(path).splitlines(), text.splitlines(), before, f"b/{name}", lineterm="")
    return "\n".join(lines)


def recipe_texts(settings: Settings, ci: str) -> dict[Path, str]:
    """Return the files of a CI service, with a noxfile.py where the project has none.

    Raises:
        ConfigError: as ``new_recipe`` does, whatever is there.
    """
    if ci not in CIS:
        raise ConfigError(f"CI service {ci!r} is not known; there are: {', '.join(CIS)}{nearest(ci, CIS)}")
    noxfile = settings.root / "noxfile.py"
    texts = {} if noxfile.exists() else {noxfile: _NOXFILE}
    if noxfile.exists() and not re.search(r"\bintegration\b", _written(noxfile)):
        raise ConfigError(
            f"{noxfile} has no session integration, which is what jobs run",
            hint="write into it: from harness.nox_sessions import images, integration",
        )
    names = [system.name for system in settings.systems]
    if unfit := [name for name in names if not _SYSTEM.fullmatch(name)]:
        raise ConfigError(f"System {unfit[0]!r} has a name that no job can be given; letters, digits, _ and - only")
    suites = [_suite(settings, system) for system in settings.systems] or [_suite(settings, None)]
    problems, modes, left_out = [], [], []
    for suite in suites:
        try:
            modes.append((suite, mode_of(ci, suite, settings.engine)))
        except ConfigError as error:
            problems.append(error)
            if suite.needs and not suite.embedded:
                left_out.append(suite)
    if len(problems) > len(left_out) or not modes:
        raise ConfigError.of([str(error.problems[0]) for error in problems], hint=problems[0].hint)
    urls = settings.notices.urls
    recipe = Recipe(
        tuple(modes),
        python=_python(settings),
        logs=_logs(settings),
        schedule=bool(urls),
        secrets=tuple(name for name in urls if "/" not in name),
        left_out=tuple(left_out),
    )
    more = {settings.root / path: text for path, text in more_of(ci, recipe).items()}
    return {settings.root / path_of(ci): text_of(ci, recipe), **more, **texts}


def _written(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _suite(settings: Settings, system: System | None) -> Suite:
    """Return the suite of a system, or of a project that declares none. Raises ConfigError."""
    if system is None:
        names = [settings.default_stack()]
    else:
        names = list(dict.fromkeys(name for name in (system.default, *system.stacks) if name))
    trees = [_tree(settings, name) for name in names]
    inside = bool(system and system.inside)
    return Suite(
        system=system.name if system else "",
        inside=inside,
        embedded=_unlike_processes(trees[0]) if trees else "",
        builds=any(_builds(tree, inside=inside) for tree in trees),
        needs=system.needs if system else (),
    )


def _tree(settings: Settings, name: str) -> Tree:
    files, strict = settings.stack_files(name), settings.strict_variables
    return read_tree(files, settings.environ, profiles=settings.profiles, strict=strict, folder=settings.root)


def _unlike_processes(tree: Tree) -> str:
    """Return why a stack cannot be local processes, "" when it can."""
    for stack in tree.stacks:
        for service in stack.services:
            if process_of(service, "embedded", Local()) is None:
                return f"service {service.name!r} ({stack.files[0]}) has no x-harness.embedded"
    return ""


def _builds(tree: Tree, *, inside: bool) -> bool:
    services = [service for stack in tree.stacks for service in stack.services]
    if inside:
        services += [service for stack in tree.stacks for service in idle_of(tree, stack).values()]
    return any(service.compose.get("build") for service in services)


def _python(settings: Settings) -> str:
    """Return the version of Python that jobs have: a usual one, or the oldest that the project can be used with."""
    path = settings.root / "pyproject.toml"
    document = tomllib.loads(_written(path)) if path.exists() else {}
    needed = str(document.get("project", {}).get("requires-python", ""))
    lowest = re.search(r">=\s*3\.(\d+)", needed)
    return f"3.{max(int(lowest[1]), 12)}" if lowest else _PYTHON


def _logs(settings: Settings) -> str:
    chosen = settings.logs if settings.origins["logs"] == str(settings.root / "pyproject.toml") else Path("logs")
    return chosen.relative_to(settings.root).as_posix() if chosen.is_relative_to(settings.root) else "logs"
