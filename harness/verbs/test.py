"""The suites of systems, each in a pytest of its own, where the plugin does the rest. Nothing heavy is imported."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from harness import procs
from harness.errors import ConfigError
from harness.runs.orphans import end_left_by_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.config import Settings
    from harness.config.settings import System

ALL = "all"
_WORKERS = re.compile(r"-n.*|--(numprocesses|dist|maxprocesses)(=.*)?")


def uses_workers(words: Sequence[str]) -> bool:
    """Return whether workers are asked for. Raises ConfigError when they cannot be had."""
    asked = next((word for word in words if _WORKERS.fullmatch(word)), "")
    if asked and find_spec("xdist") is None:
        raise ConfigError(
            f"{asked} needs pytest-xdist, which is not installed", hint=f"{sys.executable} -m pip install pytest-xdist"
        )
    return bool(asked)


def run_suites(
    settings: Settings,
    say: Callable[[str], None],
    options: Mapping[str, str],
    words: Sequence[str],
    environ: Mapping[str, str],
) -> int:
    """Run pytest for a system, or for each in turn; return its exit code, or the first that is not 0.

    Args:
        settings: of the project.
        say: takes lines for the user.
        options: options for the plugin; ``system`` may be ``all``.
        words: further words for pytest.
        environ: its environment.

    Raises:
        ConfigError: every system was asked for, and there is none; or a word needs a plugin that is not installed.
    """
    uses_workers(words)
    every = options.get("system") == ALL

    def run(system: System | None) -> int:
        given = {**options, **({"system": system.name} if system and every else {})}
        argv = [sys.executable, "-m", "pytest"]
        argv += [f"--harness-{name.replace('_', '-')}={value}" for name, value in given.items() if value]
        # From the project's folder: pytest takes a "[" in a path for the beginning of a parameter.
        argv += [os.path.relpath(system.tests, settings.root)] if system else []
        me = procs.as_parent()
        code = procs.run_attached([*argv, *words], cwd=settings.root, env={**environ, **me}, interrupted=2)
        residue = end_left_by_command(me, code, say)
        return code or residue

    return _run_each(list(settings.systems) if every else [settings.system], run, say)


def run_suites_inside(settings: Settings, say: Callable[[str], None], words: Sequence[str], *, every: bool) -> int:
    """Run the suite of a system, or of each that declares it, in a container; return the code as ``run_suites`` does.

    Args:
        settings: of the project, with the chosen system.
        say: takes lines for the user.
        words: further words for the command.
        every: whether each system is meant.

    Raises:
        ConfigError: no service is declared in which it runs, or as ``run_inside`` has it, with all else.
    """
    from harness.runs.inside import command_of, run_inside  # noqa: PLC0415 - not where pytest does all of it

    def run(system: System | None) -> int:
        chosen = replace(settings, system=system, inside=system.inside if system else "")
        return run_inside(chosen, say, command_of(chosen, words))

    able = [system for system in settings.systems if system.inside] if every else []
    for system in settings.systems if able else ():
        if system not in able:
            say(f"system {system.name} declares no service in which its suite runs (inside): left out")
    return _run_each(able or [settings.system], run, say)


def _run_each(systems: Sequence[System | None], run: Callable[[System | None], int], say: Callable[[str], None]) -> int:
    """Run the suite of each system; return the first exit code that is not 0. Raises ConfigError: there is none."""
    if not systems:
        raise ConfigError("There is no system", hint="declare [tool.harness.systems.<system>] in pyproject.toml")
    codes: list[int] = []
    for system in systems:
        codes.append(run(system))
        if len(systems) > 1 and system:
            say(f"system {system.name}: exit code {codes[-1]}")
        if codes[-1] > 128:  # noqa: PLR2004 - a signal: no further one is wanted
            break
    return next((code for code in codes if code), 0)
