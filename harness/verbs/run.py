"""Any command with a stack around it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import procs
from harness.engine.proxies import exceptions
from harness.errors import BROKEN_STACK, TEST_RESIDUE, BrokenStack, ConfigError
from harness.runs.choice import choose
from harness.runs.inside import run_inside, service_of
from harness.runs.orphans import end_left_by_command
from harness.runs.run import Run, running
from harness.runs.variables import check, of_endpoints, taken, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.config import Settings
    from harness.runs.stack import Stack


def inside(settings: Settings) -> Settings:
    """Return settings with which a command runs in the container that the system has for that. Raises ConfigError."""
    return replace(settings, inside=service_of(settings))


def run_command(settings: Settings, say: Callable[[str], None], argv: Sequence[str]) -> int:
    """Start what is missing of the chosen stack, run a command with its endpoints in its environment; then clear up.

    What was up before stays up. Signals are passed on to the command's process group. With ``inside`` the command runs
    in a container that joins the stack's network, as ``run_inside`` has it.

    Returns:
        The command's own code (128 + n for signal n); where it ended well, 12 when a service had died under it, and 13
        when it left processes, which are ended.

    Raises:
        ConfigError: something written is wrong, or there is no such command; nothing was created.
        BrokenStack: the stack did not settle; the command was not run.
        LeftoverError: the command ended well, and something of ours could not be removed.
    """
    if not argv:
        raise ConfigError("No command was given; words after -- were needed", hint="harness run -- COMMAND WORD ...")
    if settings.inside:
        return run_inside(settings, say, argv)
    if not shutil.which(argv[0], path=settings.environ.get("PATH")):
        raise ConfigError(f"Command {argv[0]!r} was not found in PATH, or cannot be executed")
    run = Run(choose(settings), say)
    code = 0
    try:
        with running(run):
            check(run.choice, settings.default_stack())
            stack = run.bring(settings.default_stack())
            me = procs.as_parent()
            environ = {**_environ(settings, stack, say), **me}
            code = procs.run_attached(argv, env=environ, whole_group=True)
            residue = end_left_by_command(me, code, say)
            try:
                stack.check()
            except BrokenStack as error:
                say(str(error))
                code = code or BROKEN_STACK
            code = code or residue
            assert run.environment is not None  # there is a stack in it
            run.environment.report.note("exit_code", code)
            if (code == 0 and run.settings.keep == "always") or (code and run.settings.keep != "never"):
                run.environment.keep(settings.ttl)
                say(f"{run.environment.env} is left up (keep: {run.settings.keep})")
    except Exception as error:
        if code in (0, TEST_RESIDUE):
            raise
        say(str(error))  # the command's own code is what counts
    return code


def _environ(settings: Settings, stack: Stack, say: Callable[[str], None]) -> dict[str, str]:
    """Return the environment of the command; what its caller has set goes before the project's variables."""
    own, endpoints = stack.variables(settings.env or {}), stack.endpoints()
    if kept := taken(own, settings.environ):
        say(told(kept))
    environ = {**own, **settings.environ, **of_endpoints(endpoints), "HARNESS_RUN_DIR": str(stack.run_dir)}
    return environ | exceptions(environ, (address.rpartition(":")[0] for address in endpoints.values()))
