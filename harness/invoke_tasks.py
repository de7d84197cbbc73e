"""The Invoke tasks, and the console script ``harness`` made of them. They translate and delegate."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import select
import sys
from typing import TYPE_CHECKING, Any

from invoke import Collection, Exit, ParseError, Program, task

from harness import verbs
from harness.errors import ConfigError, HarnessError, lay_out, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from harness.config import Settings

_ENGINE = {"engine": "auto (default), compose, embedded or attach"}
_WHICH = {
    **_ENGINE,
    "stack": "a stack's name, or a Compose file; again for files laid over it (default: the system's default stack)",
    "system": "a system of [tool.harness.systems] (default: default-system)",
    "profile": "profiles of the Compose file to activate, with commas between them",
}
_RUN = {
    **_WHICH,
    "local_build": "folder of a subject that was built by hand; it runs as a local process",
    "local": "NAME=COMMAND: run this service as a local process with that command line; may be repeated",
    "pull": "whether missing images are pulled: missing (default), never",
    "wait_timeout": "how long a stack may take to settle, such as 90s (default: what its file says)",
}
_BUILD = {
    "build": "build images even of what is up, and start it anew if they differ",
    "no_build": "build nothing; images of an earlier build are used",
}
_JSON = {"json": "print JSON; docs/tasks.md describes it"}
_KEEP = {"keep": "leave the environment up: never (default), on-failure, always"}
SCHEMA = 1
_PASSES_ON = {"test": "pytest", "run": "the command", "exec": "the command"}


def _say(line: str) -> None:
    _complain(f"harness: {line}")


def _complain(text: str) -> None:
    with _reader_may_leave(sys.stderr):
        print(text, file=sys.stderr)


def _open_streams() -> None:
    """Open what is closed of the standard streams, as nothing: else the next file or socket would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - it has no name
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - a number, for good


@contextlib.contextmanager
def _reader_may_leave(stream: TextIO) -> Iterator[None]:
    """Lose what is printed after the reader of a stream went away (``| head -1``): what was done stays done."""
    try:
        yield
    except BrokenPipeError:
        _lose(stream)
    finally:
        try:
            stream.flush()
        except BrokenPipeError:
            _lose(stream)


def _lose(stream: TextIO) -> None:
    """Let a stream write to nothing. Raises the BrokenPipeError in flight when its reader is still there."""
    waiting = select.poll()
    waiting.register(stream.fileno(), 0)
    if not waiting.poll(0):
        raise  # noqa: PLE0704 - it is handled by the caller; it came from something else that was written to
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def _settings(*, stack: Sequence[str] = (), local: Sequence[str] | None = None, **options: str) -> Settings:
    from harness.config import load_settings, read_sources  # noqa: PLC0415 - `--list` needs none of it

    _needs_values("--stack", stack)
    _needs_values("--local", local)
    sources = read_sources()
    chosen = os.pathsep.join(_stack_in(str(sources.root), word) for word in stack)
    return load_settings(sources, {"stack": chosen, **options}, local=local or ())


def _needs_values(flag: str, values: Sequence[str] | None) -> None:
    """Do nothing when each use of a flag that may come again has a value, which Invoke does not see to."""
    if not values:  # perhaps it was not given, or to another task of this command line
        words = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
        after = [following for word, following in zip(words, [*words[1:], "--"], strict=True) if word == flag]
        values = ["" if word.startswith("-") else word for word in after]
    _needed(all(values), f"A value of {flag}")


def _stack_in(root: str, word: str) -> str:
    """Return a stack as settings take it: a file by its path, from the project's folder where that has a colon."""
    if not (os.path.isfile(word) and ("/" in word or word.endswith((".yml", ".yaml")))):  # noqa: PTH113 - strings in, a string out
        return word
    path = os.path.abspath(word)  # noqa: PTH100 - as above
    return os.path.join(".", os.path.relpath(path, root)) if os.pathsep in path else path  # noqa: PTH118 - as above


def _building(*, build: bool, no_build: bool) -> str:
    if build and no_build:
        raise ConfigError("--build and --no-build exclude each other; give one of them")
    return "always" if build else "never" if no_build else ""


def _guarded(body: Callable[..., Any]) -> Callable[..., Any]:
    """Turn our errors into their text and exit code, a reader that went away into silence."""

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the task has it
        _open_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path may have letters that this terminal has not
                stream.reconfigure(errors="backslashreplace")
        from harness.interrupts import interruptible  # noqa: PLC0415 - `--list` needs none of it

        try:
            with interruptible(_say), _reader_may_leave(sys.stdout):
                body(*args, **kwargs)
        except HarnessError as error:
            if os.environ.get("HARNESS_TRACEBACK") == "1":
                raise
            _complain(str(error))
            raise Exit(code=error.exit_code) from error

    return guarded


def _task(
    *,
    help: dict[str, str],  # noqa: A002 - Invoke's word
    iterable: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a task of a function; its docstring is what `--help` shows."""

    def make(body: Callable[..., None]) -> Callable[..., None]:
        made: Callable[..., None] = task(help=help, iterable=list(iterable), auto_shortflags=False)(_guarded(body))
        return made

    return make


def _remainder() -> list[str]:
    """Return the words after ``--`` as they were given; Invoke joins them and loses their quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _print_json(kind: str, **content: object) -> None:
    import json as json_  # noqa: PLC0415

    print(json_.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


# -- bring up, test, take down ---------------------------------------------------------------------------------------


@_task(
    help={
        **_RUN,
        **_BUILD,
        "ttl": "how long it may stay unused, such as 30m (default 12h)",
        "fresh": "remove what is up first, with its data, and plant all seeds again",
        "explain": "say what differs from what is up and what would happen; change nothing",
        **_JSON,
    },
    iterable=("stack", "local"),
)
def up(  # noqa: PLR0913, PLR0917 - as many as there are flags
    _: Any,  # noqa: ANN401
    stack: list[str],
    engine: str = "",
    system: str = "",
    ttl: str = "",
    local_build: str = "",
    local: Sequence[str] | None = None,
    profile: str = "",
    pull: str = "",
    wait_timeout: str = "",
    build: bool = False,
    no_build: bool = False,
    fresh: bool = False,
    explain: bool = False,
    json: bool = False,
) -> None:
    """Start a stack, settle and seed it, and leave it up. Once more: what is up and unchanged is left alone.

    Example: harness up --stack kafka
    """
    settings = _settings(
        stack=stack,
        engine=engine,
        system=system,
        local_build=local_build,
        local=local,
        profile=profile,
        pull=pull,
        wait_timeout=wait_timeout,
        ttl=ttl,
        build=_building(build=build, no_build=no_build),
    )
    if explain:
        _explain(settings, fresh=fresh, json=json)
        return
    found = verbs.up_down.up(settings, _say, fresh=fresh)
    if json:
        _print_json("endpoints", endpoints=found)
    else:
        for name, address in found.items():
            print(f"{name} {address}")


def _explain(settings: Settings, *, fresh: bool, json: bool) -> None:
    engine, stacks = verbs.explain.explain(settings, fresh=fresh)
    if json:
        _print_json("explain", engine=engine, stacks=[{**vars(one), "reasons": list(one.reasons)} for one in stacks])
        return
    print(f"engine {engine}")
    for one in stacks:
        print(f"stack {one.stack}: {one.act}")
        for reason in one.reasons:
            print(f"  {reason}")


@_task(
    help={
        **_RUN,
        **_KEEP,
        "system": "a system, or all: each in turn",
        "wait_to_attach_debugger": "hold the subject at its first instruction until a debugger has attached",
    },
    iterable=("stack", "local"),
)
def test(  # noqa: PLR0913, PLR0917
    _: Any,  # noqa: ANN401
    stack: list[str],
    engine: str = "",
    system: str = "",
    keep: str = "",
    local_build: str = "",
    local: Sequence[str] | None = None,
    profile: str = "",
    pull: str = "",
    wait_timeout: str = "",
    wait_to_attach_debugger: bool = False,
) -> None:
    """Run the suite: start what is missing, leave up what was up. Words after -- go to pytest.

    Example: harness test -- -k alarms -x
    """
    options = {"engine": engine, "keep": keep, "local_build": local_build, "profile": profile}
    rest = {"pull": pull, "wait_timeout": wait_timeout}
    one = "" if system == verbs.test.ALL else system
    settings = _settings(stack=stack, local=local, system=one, **options, **rest)
    # The plugin has no options for these.
    environ = {**os.environ, **{f"HARNESS_{name.upper()}": value for name, value in rest.items() if value}}
    given = {**options, "system": system, "stack": settings.stack if stack else ""}
    more = [f"--harness-local={one}" for one in local or ()]
    more += ["--harness-wait-to-attach-debugger"] if wait_to_attach_debugger else []
    if code := verbs.test.run_suites(settings, _say, given, [*more, *_remainder()], environ):
        raise Exit(code=code)


@_task(help={**_RUN, **_KEEP}, iterable=("stack", "local"))
def run(  # noqa: PLR0913, PLR0917
    _: Any,  # noqa: ANN401
    stack: list[str],
    engine: str = "",
    system: str = "",
    keep: str = "",
    local_build: str = "",
    local: Sequence[str] | None = None,
    profile: str = "",
    pull: str = "",
    wait_timeout: str = "",
) -> None:
    """Run the command after -- with a stack around it; each endpoint is HARNESS_ENDPOINT_<SERVICE>_<PORT>=host:port.

    Example: harness run --stack kafka -- ./suite.sh --verbose
    """
    options = {"engine": engine, "system": system, "keep": keep, "local_build": local_build, "profile": profile}
    settings = _settings(stack=stack, local=local, **options, pull=pull, wait_timeout=wait_timeout)
    if code := verbs.run.run_command(settings, _say, _remainder()):
        raise Exit(code=code)


@_task(
    help={
        **_ENGINE,
        "stack": "only this stack, and what only it used",
        "all": "all that is kept of this user on this machine, listed first",
    }
)
def down(_: Any, stack: str = "", engine: str = "", all: bool = False) -> None:  # noqa: ANN401, A002
    """Stop and remove what `up` left in this checkout, and verify that it is gone.

    Example: harness down
    """
    if all and stack:
        raise ConfigError("--all and --stack exclude each other; give one of them")
    if all:
        verbs.up_down.down_all(_settings(engine=engine), _say)
    else:
        verbs.up_down.down(_settings(engine=engine), _say, stack=stack)


# -- look ------------------------------------------------------------------------------------------------------------


@_task(help={**_ENGINE, **_JSON})
def ps(_: Any, engine: str = "", json: bool = False) -> None:  # noqa: ANN401
    """List the services that are up in this checkout.

    Example: harness ps
    """
    from harness.procs import describe_exit  # noqa: PLC0415
    from harness.runs import known  # noqa: PLC0415

    settings = _settings(engine=engine)
    holder = known.changer(settings)
    if json:
        changed = {"by": holder.pid, "purpose": holder.purpose, "seconds": round(holder.age, 1)} if holder else None
        _print_json("ps", services=[vars(line) for line in known.listed_or_none(settings)], being_changed=changed)
        return
    rows: list[tuple[str, ...]] = [("ENGINE", "STACK", "SERVICE", "STATE", "PID", "ENDPOINTS")]
    if holder:
        print(f"being {holder.purpose or 'changed'} by {holder}")
    lines = known.listed_or_none(settings) if holder else known.listed(settings)
    if holder and not lines:
        return
    for one in lines:
        state = one.state if one.exit_code is None else f"{one.state}, {describe_exit(one.exit_code)}"
        state += f" ({one.health})" if one.health else ""
        rows.append((one.engine, one.stack, one.service, state, str(one.pid), " ".join(one.endpoints.values())))
    _print_table(rows)


@_task(
    help={
        **_ENGINE,
        "service": "only this one",
        "follow": "go on with what comes, until nothing is up or Ctrl-C",
        "since": "only what was written in this time, such as 5m",
    }
)
def logs(_: Any, service: str = "", engine: str = "", follow: bool = False, since: str = "") -> None:  # noqa: ANN401
    """Print the logs of the services that are up in this checkout.

    Example: harness logs --service kafka --follow --since 30s
    """
    from harness.durations import parse_duration  # noqa: PLC0415

    try:
        seconds = parse_duration(since) if since else None
    except ValueError as error:
        raise ConfigError(f"--since {since!r}: {error}") from error
    for line in verbs.logs.logs(_settings(engine=engine), service, since=seconds, follow=follow):
        print(line, flush=follow)


@_task(help={**_ENGINE, "env": "as shell variables HARNESS_ENDPOINT_<SERVICE>_<PORT>=host:port", **_JSON})
def endpoints(_: Any, engine: str = "", env: bool = False, json: bool = False) -> None:  # noqa: ANN401
    """Print where the published ports of this checkout's services are: NAME:PORT host:port.

    Example: export $(harness endpoints --env)
    """
    from harness.runs import known  # noqa: PLC0415

    settings = _settings(engine=engine)
    lines = known.listed_or_none(settings) if json else known.listed(settings)
    used = [one for one in lines if one.environment == lines[0].environment]  # the one that `test` and `run` use
    if len(used) < len(lines):
        _say(f"these are of engine {used[0].engine}, which `test` uses too; --engine chooses another that is up")
    found = {name: address for one in used for name, address in one.endpoints.items()}
    if env:
        found = verbs.run.variables(found)
    if json:
        _print_json("endpoints", endpoints=found)
        return
    for name, address in found.items():
        print(f"{name}={address}" if env else f"{name} {address}")


@_task(
    help={
        **_WHICH,
        "rendered": "what it becomes on the engine: plan, files of processes, override of containers",
        "schema": "print a JSON schema instead, for editors: x-harness or tool-harness",
        "local_build": _RUN["local_build"],
        **_JSON,
    },
    iterable=("stack",),
)
def config(  # noqa: PLR0913, PLR0917
    _: Any,  # noqa: ANN401
    stack: list[str],
    engine: str = "",
    system: str = "",
    profile: str = "",
    local_build: str = "",
    rendered: bool = False,
    schema: str = "",
    json: bool = False,
) -> None:
    """Show a stack as Compose merges its files, without values of variables; or what it becomes.

    Example: harness config --stack kafka --rendered
    """
    if schema:
        print(verbs.schema.schema(schema), end="")
        return
    settings = _settings(stack=stack, engine=engine, system=system, profile=profile, local_build=local_build)
    stacks = verbs.explain.rendered(settings) if rendered else verbs.explain.written(settings)
    if json:
        _print_json("rendered" if rendered else "config", stacks=stacks)
        return
    for one in stacks:
        print(verbs.explain.in_words(one))


@_task(help={"run": "its id or a part of it (default: the newest)", **_JSON})
def report(_: Any, run: str = "", json: bool = False) -> None:  # noqa: ANN401
    """Show a run: outcomes, why tests were broken or failed, how long what took, logs.

    Example: harness report
    """
    shown = verbs.report.show_run(_settings(), run)
    if json:
        _print_json("report", **shown.as_dict())
    else:
        print(shown)


@_task(help={**_ENGINE, **_JSON})
def doctor(_: Any, engine: str = "", json: bool = False) -> None:  # noqa: ANN401
    """Say what works on this machine and what to do about what does not; ends with 10 when something does not.

    Example: harness doctor
    """
    found = verbs.doctor.examine(_settings(engine=engine))
    with _reader_may_leave(sys.stdout):
        if json:
            _print_json("doctor", findings=[one.as_dict() for one in found])
        else:
            for one in found:
                print(f"{one.state:<8}{one.what}: {one.seen}")
                if one.next and one.state != "ok":
                    print(f"{'':<8}  next: {one.next}")
    if any(one.state == "failure" for one in found):
        raise Exit(code=10)


# -- touch -----------------------------------------------------------------------------------------------------------


@_task(help={"service": "which one, as NAME or STACK/NAME", **_ENGINE})
def exec(_: Any, service: str = "", engine: str = "") -> None:  # noqa: ANN401, A001
    """Run the command after -- in a service that is up, and end with its exit code.

    Example: harness exec --service kafka -- ls /tmp
    """
    settings, argv = _settings(engine=engine), _remainder()
    _needed(service, "--service NAME")
    _needed(argv, "-- COMMAND")
    if code := verbs.act.execute(settings, service, argv):
        raise Exit(code=code)


@_task(help={"service": "which one, as NAME or STACK/NAME", **_ENGINE})
def restart(_: Any, service: str = "", engine: str = "") -> None:  # noqa: ANN401
    """Stop and start a service that is up, and wait until it is ready again.

    Example: harness restart --service kafka
    """
    settings = _settings(engine=engine)
    _needed(service, "--service NAME")
    seconds = verbs.act.restart(settings, _say, service)
    _say(f"service {service!r} was restarted and is ready ({seconds:.1f} s)")


@_task(help={"stack": "only this one's", "fresh": "plant again what was planted; `up --fresh` also empties", **_ENGINE})
def seed(_: Any, stack: str = "", engine: str = "", fresh: bool = False) -> None:  # noqa: ANN401
    """Plant the seeds of what is up that were not planted yet.

    Example: harness seed
    """
    planted = verbs.act.seed(_settings(engine=engine), _say, fresh=fresh, stack=stack)
    for name in planted:
        print(name)
    if not planted:
        _say("every seed was planted before")


def _needed(given: object, what: str) -> None:
    if not given:
        raise ConfigError(f"{what} was not given, and is needed")


@_task(help={**_WHICH, "subject": "only this subject or service"}, iterable=("stack",))
def build(
    _: Any,  # noqa: ANN401
    stack: list[str],
    engine: str = "",
    system: str = "",
    profile: str = "",
    subject: str = "",
) -> None:
    """Build the images of a stack, and start nothing.

    Example: harness build --subject forwarder
    """
    settings = _settings(stack=stack, engine=engine, system=system, profile=profile)
    for service, image in verbs.build.build(settings, _say, subject=subject).items():
        print(f"{service} {image}")


_IMAGES = "also the images that were built for checkouts that are gone"
_FORGET = "id of a dead environment whose engine is gone for good: clear the rest, and look there no more"
_HUNG = "end keepers that do not answer, and remove what they kept"


@_task(help={"dry_run": "list only", "hung": _HUNG, "forget": _FORGET, "images": _IMAGES, **_ENGINE, **_JSON})
def gc(
    _: Any,  # noqa: ANN401
    engine: str = "",
    dry_run: bool = False,
    hung: bool = False,
    json: bool = False,
    forget: str = "",
    images: bool = False,
) -> None:
    """Remove what dead runs left: only what is provably ours, listed first.

    Example: harness gc --dry-run
    """
    settings = _settings(engine=engine)
    if json and not dry_run:
        raise ConfigError("--json goes with --dry-run")
    if forget and dry_run:
        raise ConfigError("--forget does not go with --dry-run")
    if forget:
        print(verbs.gc.forget(settings, forget))
        return
    if not dry_run:
        for line in verbs.gc.gc(settings, _say, hung=hung).lines() or ["nothing is left of dead runs"]:
            print(line)
        for image, why in verbs.gc.images(settings, remove=True).items() if images else ():
            print(f"{image}: {why or 'removed'}")
        return
    found = verbs.gc.look(settings)
    old = list(verbs.gc.images(settings, remove=False)) if images else []
    if json:
        dead = [{**vars(one), "things": list(one.things)} for one in found.dead]
        stuck = [
            {"env": one.record.env, "checkout": one.record.checkout, "pid": one.record.keeper.pid} for one in found.hung
        ]
        _print_json("gc", dead=dead, hung=stuck, notes=list(found.notes), images=old)
        return
    for line in [*found.lines(), *old] or ("nothing is left of dead runs",):
        print(line)


@_task(help={"stack": "its name", "image": "what its service runs as a container; python3 is needed in it"})
def new(_: Any, stack: str = "", image: str = "") -> None:  # noqa: ANN401
    """Write a new stack: Compose file, configuration, fixture and test, which pass at once.

    Example: harness new --stack web
    """
    settings = _settings()
    _needed(stack, "--stack NAME")
    made = verbs.new.new_stack(settings, stack, image=image)
    for path in made.files:
        print(os.path.relpath(path))
    for note in made.notes:
        print(note)
    _say(f"try it: harness test --stack {stack} -- integration_tests/{stack}")


@_task(help={"suite": "Debian's name of a release (default bookworm)"})
def base(_: Any, suite: str = "bookworm") -> None:  # noqa: ANN401
    """Make a base image from Debian packages, for builds on machines that reach no image registry.

    Example: invoke images.base
    """
    from harness.daemon import connect, find_daemon  # noqa: PLC0415
    from harness.images import make_base  # noqa: PLC0415

    environ = _settings().environ
    print(make_base(connect(find_daemon(environ)), _say, environ=environ, suite=suite))


namespace = Collection(
    *(up, test, run, down, ps, logs, endpoints, config, report, doctor),
    *(exec, restart, seed, build, gc, new),
    images=Collection(base),
)
"""What a project's tasks.py imports: ``from harness.invoke_tasks import namespace``."""


_NO_VALUE = re.compile(r"^Flag <Argument: (\w+).*> needed value and was not given one!$")


class _Program(Program):  # type: ignore[misc] # it has no types
    """Invoke's program, which ends with 10 when words on the command line cannot be understood."""

    def parse_core(self, argv: list[str] | None) -> None:
        with self.usage():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        with self.usage():
            super().parse_tasks()
            tasks = [str(context.name) for context in self.tasks]
            if self.core.remainder and tasks and not set(tasks) & set(_PASSES_ON):
                raise ParseError(f"Words after -- are for {', '.join(_PASSES_ON)}; {tasks[-1]} takes none")

    def print_version(self) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - takes a fifth of the start of a command

        print(f"{self.name} {version('integration-harness')}")

    @contextlib.contextmanager
    def usage(self) -> Iterator[None]:
        """End with 10 when words cannot be understood, saying what may have been meant."""
        try:
            yield
        except ParseError as error:
            hint = "`harness --list` and `harness --help TASK` show what there is"
            said = _NO_VALUE.sub(lambda flag: f"A value of --{flag[1].replace('_', '-')} was not given", str(error))
            _complain("\n".join([*lay_out(f"{said}{self._meant(error)}"), f"next: {hint}"]))
            raise Exit(code=10) from error

    def _meant(self, error: ParseError) -> str:
        """Return what a word that is not known may mean, "" when nothing is near."""
        unknown = re.fullmatch(r"No idea what '(.*)' is!", str(error), re.DOTALL)
        if not unknown:
            return ""
        word, name = unknown[1], str(getattr(error.context, "name", "") or "")
        flags = {str(context.name): set(context.flags) for context in self.collection.to_contexts()}
        if takers := [task for task in flags if word in flags[task]]:
            place = "" if name else "goes after the task's name, and "
            return f" It {place}is a flag of {', '.join(takers)}"
        own = flags.get(name) or self.initial_context.flags  # of the program itself, before any task
        near = nearest(word, own if word.startswith("-") else flags)
        if near:
            return near.replace("; did", " Did")
        name = name or next((task for task in sys.argv if task in _PASSES_ON), "")
        return f" Words for {_PASSES_ON[name]} go after --: harness {name} -- {word}" if name in _PASSES_ON else ""


def main() -> None:
    """Run a task from any folder: the console script ``harness``."""
    _open_streams()
    with _reader_may_leave(sys.stdout):
        _Program(name="harness", namespace=namespace).run()
