"""Variables of the environment that tests find: set before the first module of theirs is imported, put back at the end.

With ``[tool.harness.env]`` the default stack is brought up before anything is collected, by the controller where there
are workers: these inherit its variables, and join what it brought up.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from harness import config as configuration
from harness import procs, runs
from harness.errors import HarnessError, SkippedStack

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from harness.pytest_stacks import Stacks
    from harness.pytest_workers import Workers

MARK = "HARNESS_VARIABLES_OF"  # the controller that has set them, for its workers: pid and start time
STACK = "harness_variables"  # in what a controller tells its workers: the stack that they join
_LISTING = ("collectonly", "help", "version", "markers", "showfixtures", "show_fixtures_per_test", "setupplan")


def may_be_declared(config: pytest.Config) -> bool:
    """Return whether some pyproject.toml may declare variables. Nothing of ours is loaded for those that do not."""
    root = config.rootpath
    for folder in (root, *root.parents):
        with suppress(OSError):
            text = (folder / "pyproject.toml").read_bytes()
            if b"harness" in text and b"env" in text:
                return True
    return False


def of_controller() -> bool:
    """Return whether this process is a worker whose controller has decided what is set."""
    is_named = os.environ.get(MARK) == _process(os.getppid())
    return is_named and "PYTEST_XDIST_WORKER" in os.environ  # else a pytest that somebody runs below a controller


def _process(pid: int) -> str:
    return f"{pid}-{procs.start_time_of(pid)}"


def prepare(config: pytest.Config, stacks: Stacks, workers: Workers) -> None:
    """Set the variables of ``[tool.harness.env]``, with the default stack brought up for them.

    Where tests are only listed nothing is brought up, and they get stand-ins.

    Raises:
        HarnessError: a placeholder stands for nothing, or the stack did not come up.
    """
    with suppress(HarnessError):  # what is wrong there is told to those who ask for a stack
        if "env" not in configuration.read_sources(config.rootpath).table:
            return
    options = config.known_args_namespace
    if _has_workers(options):
        stacks.variables.give({MARK: _process(os.getpid())})
    templates, environ = stacks.settings.env or {}, dict(os.environ)
    if any(getattr(options, name, False) for name in _LISTING):
        values = runs.variables.stand_ins(templates)
        stacks.variables.give({name: value for name, value in values.items() if name not in environ})
        return
    if templates and not templates.keys() - environ.keys():
        stacks.say(f"nothing is brought up for {runs.variables.WHERE}: all of its variables are set already")
        return
    if _has_workers(options):
        stacks.share, workers.told = workers.begin_share(), {STACK: stacks.settings.default_stack()}
    with suppress(SkippedStack):  # each test that asks for it is told
        _bring(stacks, templates, environ)


def _has_workers(options: object) -> bool:
    """Return whether pytest-xdist will start workers, before it has made up its mind itself."""
    asked = [getattr(options, name, None) for name in ("numprocesses", "distload", "tx")]
    return any(asked) or getattr(options, "dist", "no") != "no"


def _bring(stacks: Stacks, templates: Mapping[str, str], environ: Mapping[str, str]) -> None:
    name = stacks.settings.default_stack()
    runs.variables.check(stacks.run.choice, name)
    stacks.say(f"stack {name!r} is brought up before tests are collected, for {runs.variables.WHERE}")
    stack = stacks.always(name)
    values = stack.variables(templates)
    if kept := runs.variables.taken(values, environ):
        stacks.say(runs.variables.told(kept))
    stacks.variables.give({name: value for name, value in values.items() if name not in environ})
