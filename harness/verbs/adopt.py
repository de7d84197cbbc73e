"""A project as it is, with what the harness needs to know of it written beside its own Compose file."""

from __future__ import annotations

import configparser
import difflib
import os
import shutil
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adoption import Adoption, Checkout, Text, adopt
from harness.adoption.adopting import overlay_name
from harness.adoption.kinds import lacking
from harness.artifacts import write_atomically
from harness.config.sources import COMPOSE_FILES
from harness.errors import ConfigError
from harness.stack import read_tree
from harness.stack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.config import Settings
    from harness.stack import Stack

_READ = {".cfg", ".cjs", ".conf", ".go", ".ini", ".java", ".js", ".json", ".jsx", ".kt", ".mjs", ".php", ".properties"}
_READ |= {".py", ".rb", ".rs", ".toml", ".ts", ".tsx", ".yaml", ".yml"}
_OTHERS = {"node_modules", "venv", "env", "dist", "build", "target", "vendor", "logs", "site-packages", "__pycache__"}
_NO_SOURCE = {"package-lock.json", "Pipfile.lock", "poetry.lock", "uv.lock", "composer.lock"}
_MOST_FILES, _MOST_BYTES = 2000, 200_000
_TESTS = ("tests", "test", "integration_tests", "integration-tests")


@dataclass(frozen=True)
class Adopted:
    """What was adopted, or would be.

    Attributes:
        adoption: what it is.
        diff: of all files that change, as text.
        lacking: those of its extras that are not installed.
    """

    adoption: Adoption
    diff: str
    lacking: tuple[str, ...]

    def lines(self, *, written: bool) -> list[str]:
        """Return what the user is told: files or the diff, then notes, then how to go on."""
        adoption = self.adoption
        lines = [text.path for text in adoption.texts] if written else self.diff.splitlines()
        lines += [f"note: {note}" for note in adoption.told]
        lines += [f"not known: {note}" for note in adoption.unknown]
        if self.lacking:
            lines.append(f"next: pip install 'integration-harness[{','.join(self.lacking)}]'")
        lines.append(f"next: {adoption.command if written else 'harness adopt --write'}")
        return lines


def adopt_project(settings: Settings, compose: str = "", *, write: bool) -> Adopted:
    """Find out what a project lacks for its Compose file to be run; with ``write``, write it.

    Args:
        settings: of the project.
        compose: path of the file, "" for the one of a usual name.
        write: whether files are written.

    Raises:
        ConfigError: there is no such file, Compose refuses it, or it is adopted already; nothing was written.
    """
    path = _find(settings, compose)
    name = path.relative_to(settings.root).as_posix()
    _refuse_adopted(path, settings)
    files = [path, *(over for over in _overrides(path) if over.is_file())]
    stack = read_tree(files, settings.environ, profiles=settings.profiles).root
    adoption = adopt(_relative(stack, settings.root), _checkout(settings, name))
    if write:
        _write(adoption, settings.root)
    missing = lacking(adoption.extras, lambda module: find_spec(module) is not None)  # which loads nothing of it
    return Adopted(adoption, "".join(_diff(text) for text in adoption.texts), missing)


def _find(settings: Settings, compose: str) -> Path:
    if compose:
        path = Path(compose).resolve()
        if not path.is_file():
            raise ConfigError(f"Compose file {compose} does not exist")
        if not path.is_relative_to(settings.root):
            raise ConfigError(f"Compose file {path} is not in the project {settings.root}; one that is was needed")
        return path
    here = next((settings.root / name for name in COMPOSE_FILES if (settings.root / name).is_file()), None)
    if here is None:
        others = sorted(path.relative_to(settings.root).as_posix() for path in settings.root.glob("*/*compose*.y*ml"))
        raise ConfigError(
            f"There is no Compose file in {settings.root}; one of {', '.join(COMPOSE_FILES)} was looked for",
            hint=f"harness adopt --compose {others[0] if others else 'FILE'}",
        )
    return here


def _overrides(path: Path) -> list[Path]:
    """Return the files that Compose lays over one of a usual name by itself."""
    return [path.with_name(f"{path.stem}.override{suffix}") for suffix in (".yml", ".yaml")][:2]


def _refuse_adopted(path: Path, settings: Settings) -> None:
    """Do nothing when a file is a plain one. Raises ConfigError."""
    source = read_source(path)
    places = [(), *(("services", name) for name in source.keys("services"))]
    for place in places:
        if "x-harness" in source.keys(*place):
            raise ConfigError(
                f"{source.at(*place, 'x-harness')}: the file has x-harness already, so there is nothing to adopt",
                hint="`harness config` shows the stack, docs/stacks.md every key of x-harness",
            )
    over = settings.overlays.get(
        path.resolve(), settings.root / overlay_name(path.relative_to(settings.root).as_posix())
    )
    if over.exists():
        raise ConfigError(
            f"{over} is there already: {path.name} is adopted", hint="edit it, or remove it and adopt anew"
        )


def _relative(stack: Stack, root: Path) -> Stack:
    """Return a stack whose contexts of builds and folders of mounts are relative to the project's folder."""

    def near(path: str) -> str:
        inside = os.path.isabs(path) and Path(path).is_relative_to(root)  # noqa: PTH117 - a string in, a string out
        return Path(path).relative_to(root).as_posix() if inside else path

    def moved(table: dict[str, Any]) -> dict[str, Any]:
        build = table.get("build")
        return {**table, "build": {**build, "context": near(str(build.get("context", ".")))}} if build else table

    services = tuple(
        service.model_copy(
            update={
                "compose": moved(service.compose),
                "mounts": tuple(
                    mount.model_copy(update={"source": near(mount.source)}) if mount.kind == "bind" else mount
                    for mount in service.mounts
                ),
            }
        )
        for service in stack.services
    )
    return stack.model_copy(update={"services": services})


# -- the project -------------------------------------------------------------------------------------------------------


def _checkout(settings: Settings, compose: str) -> Checkout:
    root = settings.root
    texts = {path: text for path in _sources(root) if (text := _text(root / path))}
    folder = os.path.dirname(compose)  # noqa: PTH120 - a relative one, as a string
    texts = {path: text for path, text in texts.items() if not _is_of_compose(path, text, folder)}
    table = _table(root)
    return Checkout(
        compose=compose,
        table=table,
        texts=texts,
        tests=_tests(root, texts),
        read=lambda name: _text(root / name),
        listed=lambda name: _names(root / name),
        has_module=_has_module,
        has_program=lambda name: shutil.which(name, path=settings.environ.get("PATH")) is not None,
    )


def _is_of_compose(path: str, text: str, folder: str) -> bool:
    """Return whether a file is one of Compose's, whose ports are what is looked for in the others."""
    return path.endswith((".yml", ".yaml")) and (os.path.dirname(path) == folder or "services:" in text)  # noqa: PTH120


def _sources(root: Path) -> Iterator[str]:
    """Give the paths of files that may say where services are, the outermost first."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _OTHERS)
        for name in sorted(names):
            is_source = os.path.splitext(name)[1] in _READ and not name.startswith(".")  # noqa: PTH122
            if (is_source and name not in _NO_SOURCE) or name in (".env", ".env.test"):
                count += 1
                yield os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118 - strings all the way
        if count > _MOST_FILES:
            return


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= _MOST_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _table(root: Path) -> dict[str, Any]:
    text = _text(root / "pyproject.toml")
    document: dict[str, Any] = tomllib.loads(text).get("tool", {}) if text else {}
    return dict(document.get("harness", {}))


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None and find_spec(f"{name}.__main__") is not None
    except (ImportError, ValueError):
        return False


def _tests(root: Path, texts: dict[str, str]) -> str:
    """Return the folder of the tests that pytest runs, "" for none."""
    if path := _configured(root):
        return path
    modules = [path for path in texts if _is_test(path) and ("pytest" in texts[path] or "\ndef test" in texts[path])]
    for folder in _TESTS:
        if any(path.startswith(f"{folder}/") for path in modules):
            return folder
    return os.path.dirname(modules[0]) or "." if modules else ""  # noqa: PTH120 - a relative one, as a string


def _is_test(path: str) -> bool:
    name = os.path.basename(path)  # noqa: PTH119
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def _configured(root: Path) -> str:
    """Return the first folder of tests that pytest is configured with, "" for none."""
    text = _text(root / "pyproject.toml")
    paths = (
        tomllib.loads(text).get("tool", {}).get("pytest", {}).get("ini_options", {}).get("testpaths") if text else None
    )
    for name, section in (("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(_text(root / name))
        except configparser.Error:
            continue
        paths = paths or parser.get(section, "testpaths", fallback="")
    first = (paths.split() if isinstance(paths, str) else list(paths or ()))[:1]
    return str(first[0]).rstrip("/") if first and (root / str(first[0])).is_dir() else ""


# -- what comes of it --------------------------------------------------------------------------------------------------


def _diff(text: Text) -> str:
    before = "/dev/null" if not text.before else f"a/{text.path}"
    lines = difflib.unified_diff(
        text.before.splitlines(keepends=True), text.after.splitlines(keepends=True), before, f"b/{text.path}", n=2
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _write(adoption: Adoption, root: Path) -> None:
    for text in adoption.texts:
        path = root / text.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            write_atomically(path, text.after)
            path.chmod(mode)
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be written: {error.strerror}") from error
