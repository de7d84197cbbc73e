"""The only reader of the process environment and of pyproject.toml."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPOSE_FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


@dataclass(frozen=True)
class Sources:
    """Everything from outside that decides what a run does, read once.

    Attributes:
        environ: the process environment.
        root: the project's folder: the nearest one upwards with ``[tool.harness]`` or a Compose file, else this one.
        table: ``[tool.harness]`` of its pyproject.toml, empty without one.
        here: the folder that all this was read for, None for the project's.
    """

    environ: Mapping[str, str]
    root: Path
    table: Mapping[str, Any]
    here: Path | None = None

    @property
    def pyproject(self) -> Path:
        """The file that ``table`` came from."""
        return self.root / "pyproject.toml"

    @property
    def state(self) -> Path:
        """Folder of ledgers and locks: ``$XDG_RUNTIME_DIR/harness``, else ``<TMPDIR>/harness-<uid>``."""
        runtime = self.environ.get("XDG_RUNTIME_DIR")
        if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
            return Path(runtime) / "harness"
        return Path(tempfile.gettempdir()) / f"harness-{os.getuid()}"

    @property
    def keys(self) -> tuple[Path, ...]:
        """Where the key of this user may be, the best place first: there it survives the loss of the state folder.

        ``$XDG_STATE_HOME/harness/key``, the same below ``$HOME/.local/state`` and the home of the password file, and at
        last the state folder. Where several exist, each has made something.
        """
        folders = [self.environ.get("XDG_STATE_HOME", "")]
        homes = [self.environ.get("HOME", "")]
        with contextlib.suppress(KeyError):  # a user without a name
            homes.append(pwd.getpwuid(os.getuid()).pw_dir)
        folders += [f"{home}/.local/state" for home in homes if home]
        places = [Path(folder) / "harness" / "key" for folder in folders if Path(folder).is_absolute()]
        return tuple(dict.fromkeys([*places, self.state / "key"]))


def _table_of(pyproject: Path) -> dict[str, Any] | None:
    try:
        document = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{pyproject} cannot be read: {error}") from error
    tool = document.get("tool", {})
    table = tool.get("harness") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{pyproject}: [tool.harness] is a {type(table).__name__}, a table was needed")
    return table


def read_sources(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Sources:
    """Read the environment and the project that ``start`` (default: the current folder) lies in.

    Raises:
        ConfigError: a pyproject.toml on the way cannot be read.
    """
    here = (start or Path.cwd()).resolve()
    environ = dict(os.environ if environ is None else environ)
    for folder in (here, *here.parents):
        table = _table_of(folder / "pyproject.toml")
        if table is not None:
            return Sources(environ, folder, table, here)
        if any((folder / name).is_file() for name in COMPOSE_FILES):
            return Sources(environ, folder, {}, here)
    return Sources(environ, here, {}, here)


_VARIABLE = re.compile(r"\$(?:(?P<name>\w+)|\{(?P<braced>\w+)(?:(?P<how>:?-)(?P<default>[^}]*))?\})")
_FROM_ENV_FILE = ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME")


def with_env_file(sources: Sources) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment with those settings of Compose that the project's ``.env`` adds, and their origins.

    All else in that file is for interpolation, which is Compose's own work.
    """
    environ = dict(sources.environ)
    origins: dict[str, str] = {}
    path = sources.root / ".env"
    for name, value in read_env_file(path, sources.environ).items():
        if name in _FROM_ENV_FILE and name not in sources.environ:
            environ[name] = value
            origins[name] = f"{name} in {path}"
    return environ, origins


def read_env_file(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a ``.env`` file, those of ``environ`` put in where they are used; {} for none.

    A value that goes over several lines is left to Compose, which says so where a file uses it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            plain = value.strip()
            text = plain.strip("\"'")
            found[name.strip()] = text if plain.startswith("'") else _interpolated(text, environ)
    return found


def _interpolated(text: str, environ: Mapping[str, str]) -> str:
    """Return a value with its variables replaced, by ``$NAME``, ``${NAME}`` and with a default, as Compose does."""

    def value(match: re.Match[str]) -> str:
        found = environ.get(match["name"] or match["braced"])
        if found is None or (not found and match["how"] == ":-"):
            return match["default"] or ""
        return found

    return _VARIABLE.sub(value, text)
