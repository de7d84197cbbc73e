"""The Invoke tasks, and the console script ``harness`` made of them. They translate and delegate."""

from __future__ import annotations

import functools
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from invoke import Collection, Exit, Program, task

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.config import Settings

_HELP = {
    "stack": "a stack's name, or a Compose file (default: the default stack of the system)",
    "engine": "auto (default), compose, embedded or attach",
    "system": "a system of [tool.harness.systems] (default: default-system)",
    "profile": "profiles of the Compose file to activate, with commas between them",
    "local": "NAME=COMMAND: run this service as a local process with that command line; may be repeated",
    "local_build": "folder of a subject that was built by hand; it runs as a local process",
}


def _say(line: str) -> None:
    print(f"harness: {line}", file=sys.stderr, flush=True)


def _settings(local: Sequence[str] = (), **options: str | None) -> Settings:
    from harness.config import load_settings, read_sources  # noqa: PLC0415 - `--list` needs none of it

    return load_settings(read_sources(), options, local=local)


def _guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn our errors into their text and exit code."""

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the task has it
        from harness.interrupts import interruptible  # noqa: PLC0415 - `--list` needs none of it

        try:
            with interruptible(_say):
                return body(*args, **kwargs)
        except HarnessError as error:
            raise Exit(str(error), code=error.exit_code) from error

    return guarded


def _task(
    *,
    help: dict[str, str],  # noqa: A002 - Invoke's word
    iterable: Sequence[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task of a function; its docstring is what `--help` shows."""

    def make(body: Callable[..., None]) -> Callable[..., None]:
        made: Callable[..., None] = task(help=help, iterable=iterable)(_guarded(body))
        return made

    return make


def _remainder() -> list[str]:
    """Return the words after ``--`` as they were given; Invoke joins them and loses their quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


@_task(help={**_HELP, "ttl": "how long it may stay unused, such as 30m (default 12h)"}, iterable=["local"])
def up(  # noqa: PLR0913, PLR0917 - flags
    _: Any,  # noqa: ANN401
    stack: str = "",
    engine: str = "",
    system: str = "",
    ttl: str = "12h",
    local_build: str = "",
    local: Sequence[str] | None = None,
    profile: str = "",
) -> None:
    """Start a stack, settle and seed it, and leave it up. Once more: what is up and unchanged is left alone.

    Example: invoke up --stack kafka
    """
    from harness.errors import ConfigError  # noqa: PLC0415
    from harness.runs import kept  # noqa: PLC0415
    from harness.stack import parse_duration  # noqa: PLC0415

    try:
        seconds = parse_duration(ttl)
    except ValueError as error:
        raise ConfigError(f"--ttl {ttl!r}: {error}") from error
    settings = _settings(
        local or (), stack=stack, engine=engine, system=system, local_build=local_build, profile=profile
    )
    for name, address in kept.up(settings, _say, ttl=seconds).items():
        print(f"{name} {address}")


@_task(
    help={
        **_HELP,
        "keep": "leave the environment up: never (default), on-failure, always",
        "wait_to_attach_debugger": "hold the subject at its first instruction until a debugger has attached",
    },
    iterable=["local"],
)
def test(  # noqa: PLR0913, PLR0917 - flags
    _: Any,  # noqa: ANN401
    stack: str = "",
    engine: str = "",
    system: str = "",
    keep: str = "",
    local_build: str = "",
    local: Sequence[str] | None = None,
    profile: str = "",
    wait_to_attach_debugger: bool = False,
) -> None:
    """Run the suite: start what is missing, leave up what was up. Words after -- go to pytest.

    Example: invoke test -- -k alarms -x
    """
    from harness import procs  # noqa: PLC0415

    options = {"stack": stack, "engine": engine, "system": system, "keep": keep, "local_build": local_build}
    settings = _settings(local or (), **options, profile=profile)
    argv = [sys.executable, "-m", "pytest"]
    argv += [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value]
    argv += [f"--profile={profile}"] if profile else []
    argv += [f"--local={one}" for one in local or ()]
    argv += ["--wait-to-attach-debugger"] if wait_to_attach_debugger else []
    argv += [str(settings.system.tests)] if settings.system else []
    code = procs.run_attached([*argv, *_remainder()], cwd=settings.root)
    if code:
        raise Exit(code=code)


@_task(help={"engine": _HELP["engine"]})
def down(_: Any, engine: str = "") -> None:  # noqa: ANN401
    """Stop and remove what `up` left in this checkout, and verify that it is gone."""
    from harness.runs import kept  # noqa: PLC0415

    kept.down(_settings(engine=engine), _say)


@_task(help={"engine": _HELP["engine"]})
def ps(_: Any, engine: str = "") -> None:  # noqa: ANN401
    """List the services that are up in this checkout."""
    from harness.procs import describe_exit  # noqa: PLC0415
    from harness.runs import kept  # noqa: PLC0415

    rows = [("STACK", "SERVICE", "STATE", "PID", "ENDPOINTS")]
    for one in kept.listed(_settings(engine=engine)):
        state = one.state if one.exit_code is None else f"{one.state}, {describe_exit(one.exit_code)}"
        rows.append((one.stack, one.service, state, str(one.pid), " ".join(one.endpoints.values())))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@_task(help={"service": "only this one", "engine": _HELP["engine"]})
def logs(_: Any, service: str = "", engine: str = "") -> None:  # noqa: ANN401
    """Print the logs of the services that are up in this checkout.

    Example: invoke logs --service kafka
    """
    from harness.runs import kept  # noqa: PLC0415

    for line in kept.logs(_settings(engine=engine), service):
        print(line)


@_task(help={"engine": _HELP["engine"]})
def endpoints(_: Any, engine: str = "") -> None:  # noqa: ANN401
    """Print where the published ports of this checkout's services are: NAME:PORT host:port."""
    from harness.runs import kept  # noqa: PLC0415

    for one in kept.listed(_settings(engine=engine)):
        for name, address in one.endpoints.items():
            print(f"{name} {address}")


@_task(help={"suite": "Debian's name of a release (default bookworm)"})
def base(_: Any, suite: str = "bookworm") -> None:  # noqa: ANN401
    """Make a base image from Debian packages, for builds on machines that reach no image registry.

    Example: invoke images.base
    """
    from harness.daemon import connect, find_daemon  # noqa: PLC0415
    from harness.images import make_base  # noqa: PLC0415

    environ = _settings().environ
    print(make_base(connect(find_daemon(environ)), _say, environ=environ, suite=suite))


namespace = Collection(up, test, down, ps, logs, endpoints, images=Collection(base))
"""What a project's tasks.py imports: ``from harness.invoke_tasks import namespace``."""


def main() -> None:
    """Run a task from any folder: the console script ``harness``."""
    Program(name="harness", version=version("integration-harness"), namespace=namespace).run()
