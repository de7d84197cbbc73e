"""The Invoke tasks, and the console script ``harness`` made of them. They translate and delegate."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json as json_
import os
import re
import select
import shlex
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from invoke import Collection, Exit, ParseError, Program, task

from harness import config as configuration
from harness import github, runs, verbs
from harness.config.options import OPTIONS, REPEATED, TAKERS, variable
from harness.errors import ConfigError, HarnessError, lay_out, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

    from harness.config import Settings
    from harness.engine.compose.standing import Standing

_JSON = {"json": "print JSON; docs/tasks.md describes it"}
SCHEMA = 1
_PASSES_ON = {"test": "pytest", "watch": "pytest", "run": "the command", "exec": "the command"}


def _say(line: str) -> None:
    _complain(f"harness: {line}")


def _complain(text: str) -> None:
    # Where it cannot be written, as on a disk that is full, there is nobody to tell; what was done stays done.
    with contextlib.suppress(OSError), _reader_may_leave(sys.stderr):
        print(github.guarded(text, os.environ), file=sys.stderr)


def _annotate(task: str, error: HarnessError) -> None:
    """Have GitHub Actions show an error that ends a task."""
    if github.is_on(os.environ):
        with _reader_may_leave(sys.stderr):
            name = task.replace("interop_", "interop.", 1).replace("_", "-")
            print(github.Annotation(f"harness {name}", error.summary), file=sys.stderr)


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


class _Asked(NamedTuple):
    """What a command line asks of the settings.

    Attributes:
        options: name -> value of the options that a task takes, "" for those that were not given.
        stack: values of ``--stack``.
        local: values of ``--local``.
    """

    options: Mapping[str, str]
    stack: Sequence[str] = ()
    local: Sequence[str] = ()

    def settings(self, **instead: str) -> Settings:
        """Return the settings, with some options instead of those that were given. Raises ConfigError."""
        return self._settings(instead)

    def settings_to_adopt(self) -> Settings:
        """Return the settings of a project whose overlays may be yet to be written. Raises ConfigError."""
        return self._settings({}, unwritten=True)

    def _settings(self, instead: Mapping[str, str], *, unwritten: bool = False) -> Settings:
        _needs_values("--stack", self.stack)
        _needs_values("--local", self.local)
        sources = configuration.read_sources()
        chosen = os.pathsep.join(_stack_in(str(sources.root), word) for word in self.stack)
        options = {"stack": chosen, **self.options, **instead}
        return configuration.load_settings(sources, options, local=self.local, unwritten=unwritten)


def _needs_values(flag: str, values: Sequence[str]) -> None:
    """Do nothing when each use of a flag that may come again has a value, which Invoke does not see to."""
    if not values:  # perhaps it was not given, or to another task of this command line
        words = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
        after = [following for word, following in zip(words, [*words[1:], "--"], strict=True) if word == flag]
        values = ["" if word.startswith("-") else word for word in after] + ["" for word in words if word == f"{flag}="]
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


def _switch(name: str, *, on: bool) -> dict[str, str]:
    """Return what a flag without value adds to the options."""
    return {name: "yes"} if on else {}


def _guarded(body: Callable[..., None], taken: Sequence[str]) -> Callable[..., None]:
    """Turn our errors into their text and exit code, a reader that went away into silence."""

    @functools.wraps(body)
    def guarded(_: object, **flags: Any) -> None:  # noqa: ANN401 - as the task has it
        _open_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path may have letters that this terminal has not
                stream.reconfigure(errors="backslashreplace")
        from harness.interrupts import interruptible  # noqa: PLC0415 - `--list` needs none of it

        repeated = {name: flags.pop(name, None) or () for name in taken if name in REPEATED}
        asked = _Asked({name: flags.pop(name, "") for name in taken if name not in REPEATED}, **repeated)
        try:
            with interruptible(_say), _reader_may_leave(sys.stdout):
                body(asked, **flags)
        except HarnessError as error:
            if os.environ.get("HARNESS_TRACEBACK") == "1":
                raise
            _complain(str(error))
            _annotate(body.__name__, error)
            raise Exit(code=error.exit_code) from error

    return guarded


def _task(*many: str, **help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: A002 - Invoke's word
    """Make a task of a function ``(asked, *, flag, ...)``; its docstring is what ``--help`` shows.

    Its flags are the function's own, whose help is given here, and the options that the table has for its name.
    ``many`` are those of its own that may come again.
    """

    def make(body: Callable[..., None]) -> Callable[..., None]:
        taken = TAKERS.get(body.__name__, ())
        guarded = _guarded(body, taken)
        guarded.__dict__["__signature__"] = _signature(body, taken)  # which is what Invoke reads
        texts = {**{name: OPTIONS[name].help for name in taken}, **help}
        repeated = [*many, *(name for name in taken if name in REPEATED)]
        invoked: Callable[..., None] = task(help=texts, iterable=repeated, auto_shortflags=False)(guarded)
        return invoked

    return make


def _signature(body: Callable[..., None], taken: Sequence[str]) -> inspect.Signature:
    # By hand: ``inspect.signature`` takes longer for all tasks than the rest of a list of them.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    defaults = {name: None if name in REPEATED else "" for name in taken} | (body.__kwdefaults__ or {})
    flags = [inspect.Parameter(name, kind, default=default) for name, default in defaults.items()]
    return inspect.Signature([inspect.Parameter("asked", kind), *flags], __validate_parameters__=False)


def _remainder() -> list[str]:
    """Return the words after ``--`` as they were given; Invoke joins them and loses their quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _print_json(kind: str, **content: object) -> None:
    print(json_.dumps({"schema": SCHEMA, "kind": kind, **content}, indent=2))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


# -- bring up, test, take down ---------------------------------------------------------------------------------------


@_task(
    build="build images even of what is up, and start it anew if they differ",
    no_build="build nothing; images of an earlier build are used",
    fresh="remove what is up first, with its data, and plant all seeds again",
    keep_failed="leave what did not settle as it is, for a look; `down` removes it",
    explain="say what differs from what is up and what would happen; change nothing",
    locked=OPTIONS["locked"].help,
    **_JSON,
)
def up(  # noqa: PLR0913 - a flag each
    asked: _Asked,
    *,
    build: bool = False,
    no_build: bool = False,
    fresh: bool = False,
    keep_failed: bool = False,
    explain: bool = False,
    locked: bool = False,
    json: bool = False,
) -> None:
    """Start a stack, settle and seed it, and leave it up. Once more: what is up and unchanged is left alone.

    Example: harness up --stack kafka
    """
    settings = asked.settings(build=_building(build=build, no_build=no_build), **_switch("locked", on=locked))
    if explain:
        _explain(settings, fresh=fresh, json=json)
        return
    places = verbs.up_down.up(settings, _say, fresh=fresh, keep_failed=keep_failed)
    if json:
        _print_json("endpoints", endpoints=places)
    else:
        for name, address in places.items():
            print(f"{name} {address}")


def _explain(settings: Settings, *, fresh: bool, json: bool) -> None:
    engine, stacks = verbs.explain.explain(settings, fresh=fresh)
    if json:
        values = [{**vars(stack), "reasons": list(stack.reasons), "notes": list(stack.notes)} for stack in stacks]
        _print_json("explain", engine=engine, stacks=values)
        return
    print(f"engine {engine}")
    for stack in stacks:
        print(f"stack {stack.stack}: {stack.act}")
        for reason in stack.reasons:
            print(f"  {reason}")
        for note in stack.notes:
            print(f"  note: {note}")


@_task(
    system="a system, or all: each in turn",
    restart_changed=OPTIONS["restart_changed"].help,
    locked=OPTIONS["locked"].help,
    wait_to_attach_debugger=OPTIONS["wait_to_attach_debugger"].help,
    inside="run it in a container that joins the stack's network, as `inside` of its system says",
)
def test(
    asked: _Asked,
    *,
    restart_changed: bool = False,
    locked: bool = False,
    wait_to_attach_debugger: bool = False,
    inside: bool = False,
) -> None:
    """Run the suite: start what is missing, leave up what was up. Words after -- go to pytest.

    Example: harness test -- -k alarms -x
    """
    each = asked.options.get("system") == verbs.test.ALL
    instead = {"system": ""} if each else {}
    settings = asked.settings(
        **instead, **_switch("restart_changed", on=restart_changed), **_switch("locked", on=locked)
    )
    if inside:
        if wait_to_attach_debugger:
            raise ConfigError("--inside and --wait-to-attach-debugger exclude each other: subjects are containers then")
        if code := verbs.test.run_suites_inside(settings, _say, _remainder(), every=each):
            raise Exit(code=code)
        return
    _refuse_inside_timeout(asked)
    words = ["--harness-wait-to-attach-debugger"] if wait_to_attach_debugger else []
    words += ["--harness-restart-changed"] if restart_changed else []
    words += ["--harness-locked"] if locked else []
    if code := _run_suites(asked, settings, [*words, *_remainder()]):
        raise Exit(code=code)


def _refuse_inside_timeout(asked: _Asked) -> None:
    if asked.options.get("inside_timeout"):
        raise ConfigError("--inside-timeout is for what runs with --inside")


def _run_suites(asked: _Asked, settings: Settings, words: Sequence[str]) -> int:
    options = {name: value for name, value in asked.options.items() if name in TAKERS["pytest"]}
    options["stack"] = settings.stack if asked.stack else ""
    # The plugin has no options for the others.
    others = {variable(name): value for name, value in asked.options.items() if value and name not in options}
    local = [f"--harness-local={line}" for line in asked.local]
    if verbs.test.uses_workers(words) and settings.restart_changed:
        verbs.up_down.replace_changed(settings, _say)
    return verbs.test.run_suites(settings, _say, options, [*local, *words], {**os.environ, **others})


class _Hands(NamedTuple):
    """What ``watch`` has done by other commands."""

    asked: _Asked
    settings: Settings

    def up(self) -> object:
        return verbs.up_down.up(self.settings, _say)

    def down(self) -> None:
        verbs.up_down.down(self.settings, _say)

    def test(self, words: Sequence[str]) -> int:
        return _run_suites(self.asked, self.settings, words)


@_task()
def watch(asked: _Asked) -> None:
    """Keep a stack up, run the suite, and again after each change, failed tests first. Words after -- go to pytest.

    Services whose sources changed are replaced before. Ctrl-C ends it; what was not up before is taken down.

    Example: harness watch -- -x -k alarms
    """
    settings = asked.settings()
    if code := verbs.watch.watch(settings, _say, _Hands(asked, settings), _remainder()):
        raise Exit(code=code)


@_task(
    restart_changed=OPTIONS["restart_changed"].help,
    locked=OPTIONS["locked"].help,
    inside="run it in a container that joins the stack's network, as `inside` of the system says",
)
def run(asked: _Asked, *, restart_changed: bool = False, locked: bool = False, inside: bool = False) -> None:
    """Run the command after -- with a stack around it; each endpoint is HARNESS_ENDPOINT_<SERVICE>_<PORT>=host:port.

    Example: harness run --stack kafka -- ./suite.sh --verbose
    """
    settings = asked.settings(**_switch("restart_changed", on=restart_changed), **_switch("locked", on=locked))
    if inside:
        settings = verbs.run.inside(settings)
    else:
        _refuse_inside_timeout(asked)
    if code := verbs.run.run_command(settings, _say, _remainder()):
        raise Exit(code=code)


@_task(
    stack="only this stack, and what only it used", all="all that is kept of this user on this machine, listed first"
)
def down(asked: _Asked, *, stack: str = "", all: bool = False) -> None:  # noqa: A002
    """Stop and remove what `up` left in this checkout, and verify that it is gone.

    Example: harness down
    """
    if all and stack:
        raise ConfigError("--all and --stack exclude each other; give one of them")
    if all:
        verbs.up_down.down_all(asked.settings(), _say)
    else:
        verbs.up_down.down(asked.settings(), _say, stack=stack)


# -- look ------------------------------------------------------------------------------------------------------------


@_task(**_JSON)
def ps(asked: _Asked, *, json: bool = False) -> None:
    """List the services that are up in this checkout.

    Example: harness ps
    """
    settings = asked.settings()
    holder = runs.known.changer(settings)
    if json:
        changed = {"by": holder.pid, "purpose": holder.purpose, "seconds": round(holder.age, 1)} if holder else None
        _print_json("ps", services=[vars(line) for line in runs.known.listed_or_none(settings)], being_changed=changed)
        return
    rows: list[tuple[str, ...]] = [("ENGINE", "STACK", "SERVICE", "STATE", "PID", "ENDPOINTS")]
    if holder:
        print(f"being {holder.purpose or 'changed'} by {holder}")
    lines = runs.known.listed_or_none(settings) if holder else runs.known.listed(settings)
    if holder and not lines:
        return
    for line in lines:
        places = " ".join(line.endpoints.values())
        rows.append((line.engine, line.stack, line.service, line.state_in_words(), str(line.pid), places))
    _print_table(rows)
    for failed in dict.fromkeys(f"stack {line.stack} did not settle: {line.failed}" for line in lines if line.failed):
        print(failed)
    for line in lines:
        if line.changed:
            print(f"{line.service}: {line.changed}")
    for told in runs.known.changed_seeds(settings):
        print(told)


@_task(
    service="only this one",
    follow="go on with what comes, until nothing is up or Ctrl-C",
    since="only what was written in this time, such as 5m",
)
def logs(asked: _Asked, *, service: str = "", follow: bool = False, since: str = "") -> None:
    """Print the logs of the services that are up in this checkout.

    Example: harness logs --service kafka --follow --since 30s
    """
    seconds = verbs.logs.seconds_of(since)
    for line in verbs.logs.logs(asked.settings(), service, since=seconds, follow=follow):
        print(github.guarded(line, os.environ), flush=follow)


@_task(  # noqa: S604 - no shell is started
    env="as variables HARNESS_ENDPOINT_<SERVICE>_<PORT>=host:port, and those of [tool.harness.env]",
    shell='the same for a shell: eval "$(harness endpoints --shell)"',
    **_JSON,
)
def endpoints(asked: _Asked, *, env: bool = False, shell: bool = False, json: bool = False) -> None:
    """Print where the published ports of this checkout's services are: NAME:PORT host:port.

    Example: export $(harness endpoints --env)
    """
    settings = asked.settings()
    lines = runs.known.listed_or_none(settings) if json else runs.known.listed(settings)
    used = [line for line in lines if line.environment == lines[0].environment]  # the one that `test` and `run` use
    if len(used) < len(lines):
        _say(f"these are of engine {used[0].engine}, which `test` uses too; --engine chooses another that is up")
    places = {name: address for line in used for name, address in line.endpoints.items()}
    if (env or shell) and used:
        places = {**runs.variables.of_endpoints(places), **runs.variables.of_kept(settings, _say)}
    if json:
        _print_json("endpoints", endpoints=places)
        return
    for name, address in places.items():
        print(f"export {name}={shlex.quote(address)}" if shell else f"{name}={address}" if env else f"{name} {address}")


@_task(
    rendered="what it becomes on the engine: plan, files of processes, override of containers",
    schema="print a JSON schema instead, for editors: x-harness or tool-harness",
    **_JSON,
)
def config(asked: _Asked, *, rendered: bool = False, schema: str = "", json: bool = False) -> None:
    """Show a stack as Compose merges its files, without values of variables; or what it becomes.

    Example: harness config --stack kafka --rendered
    """
    if schema:
        print(verbs.schema.schema(schema), end="")
        return
    settings = asked.settings()
    stacks = verbs.explain.rendered(settings) if rendered else verbs.explain.written(settings)
    if json:
        _print_json("rendered" if rendered else "config", stacks=stacks)
        return
    for stack in stacks:
        print(verbs.explain.in_words(stack))


@_task(
    run="its id or a part of it (default: the newest)", markdown="print Markdown, as GitHub Actions gets it", **_JSON
)
def report(asked: _Asked, *, run: str = "", json: bool = False, markdown: bool = False) -> None:
    """Show a run: outcomes, why tests were broken or failed, how long what took, logs.

    Example: harness report
    """
    if json and markdown:
        raise ConfigError("--json and --markdown exclude each other; give one of them")
    shown = verbs.report.show_run(asked.settings(), run)
    if json:
        _print_json("report", **shown.as_dict())
    else:
        print(verbs.report.markdown(shown) if markdown else github.guarded(str(shown), os.environ))


@_task(
    test="send a message that says that it is a test to everybody",
    dry_run="print the message that the newest run would be told with, and send nothing",
    **_JSON,
)
def notices(asked: _Asked, *, test: bool = False, dry_run: bool = False, json: bool = False) -> None:
    """Say who is told how runs end, and how suites stand; ends with 10 when a test is not taken.

    Example: harness notices --test
    """
    if test + dry_run + json > 1:
        raise ConfigError("--test, --dry-run and --json exclude each other; give one of them")
    settings = asked.settings()
    if test:
        sent = verbs.notices.test(settings)
        for place, problem in sent:
            print(f"{place}: {problem or 'taken'}")
        if any(problem for _, problem in sent):
            raise Exit(code=10)
    elif dry_run:
        message = verbs.notices.sample(settings)
        print(github.guarded(f"{message.title}\n\n{message.text()}", os.environ))
    elif json:
        _print_json("notices", **verbs.notices.show(settings).as_dict())
    else:
        print(verbs.notices.show(settings))


@_task(
    since="only what came in this time, such as 7d (default: all that is kept)",
    every="also tests that never failed",
    **_JSON,
)
def flakes(asked: _Asked, *, since: str = "", every: bool = False, json: bool = False) -> None:
    """List the tests that failed in the runs of this checkout, by their rate, and what is in quarantine.

    Example: harness flakes --since 7d
    """
    settings = asked.settings()
    shown = verbs.flakes.flakes(settings, since=since, every=every)
    if json:
        _print_json("flakes", ledger=str(settings.flakes), tests=[flake.as_dict() for flake in shown])
    elif shown:
        _print_table(verbs.flakes.table(shown))
    else:
        _say(f"no test failed, as far as {settings.flakes} tells")


@_task(**_JSON)
def doctor(asked: _Asked, *, json: bool = False) -> None:
    """Say what works on this machine and what to do about what does not; ends with 10 when something does not.

    Example: harness doctor
    """
    findings = verbs.doctor.examine(asked.settings())
    with _reader_may_leave(sys.stdout):
        if json:
            _print_json("doctor", findings=[finding.as_dict() for finding in findings])
        else:
            for finding in findings:
                print(f"{finding.state:<8}{finding.what}: {finding.seen}")
                if finding.next and finding.state != "ok":
                    print(f"{'':<8}  next: {finding.next}")
    if any(finding.state == "failure" for finding in findings):
        raise Exit(code=10)


# -- touch -----------------------------------------------------------------------------------------------------------


@_task(service="which one, as NAME or STACK/NAME")
def exec(asked: _Asked, *, service: str = "") -> None:  # noqa: A001
    """Run the command after -- in a service that is up, and end with its exit code.

    Example: harness exec --service kafka -- ls /tmp
    """
    settings, argv = asked.settings(), _remainder()
    _needed(service, "--service NAME")
    _needed(argv, "-- COMMAND")
    if code := verbs.act.execute(settings, service, argv):
        raise Exit(code=code)


@_task(service="which one, as NAME or STACK/NAME")
def restart(asked: _Asked, *, service: str = "") -> None:
    """Stop and start a service that is up, and wait until it is ready again.

    Example: harness restart --service kafka
    """
    settings = asked.settings()
    _needed(service, "--service NAME")
    seconds = verbs.act.restart(settings, _say, service)
    _say(f"service {service!r} was restarted and is ready ({seconds:.1f} s)")


@_task(stack="only this one's", fresh="plant again what was planted; `up --fresh` also empties")
def seed(asked: _Asked, *, stack: str = "", fresh: bool = False) -> None:
    """Plant the seeds of what is up that were not planted yet.

    Example: harness seed
    """
    planted = verbs.act.seed(asked.settings(), _say, fresh=fresh, stack=stack)
    for name in planted:
        print(name)
    if not planted:
        _say("every seed was planted before")


def _needed(value: object, flag: str) -> None:
    if not value:
        raise ConfigError(f"{flag} was not given, and is needed")


@_task(
    subject="only this subject or service",
    explain="say which images would be built, and the file, argument or base that changed; build nothing",
    lock="write into images.lock which image each service of the stack runs, after building",
    locked=OPTIONS["locked"].help,
    **_JSON,
)
def build(
    asked: _Asked,
    *,
    subject: str = "",
    explain: bool = False,
    lock: bool = False,
    locked: bool = False,
    json: bool = False,
) -> None:
    """Build the images of a stack, and start nothing. What is made of the same as before is not built.

    Example: harness build --subject forwarder
    """
    settings = asked.settings(**_switch("locked", on=locked))
    if lock:
        _lock(settings, left_out=bool(subject) or explain or locked)
        return
    if explain:
        _explain_images(verbs.build.explain(settings, _say, subject=subject), json=json)
        return
    built = verbs.build.build(settings, _say, subject=subject)
    if json:
        _print_json("build", images=built)
        return
    for service, image in built.items():
        print(f"{service} {image}")


def _lock(settings: Settings, *, left_out: bool) -> None:
    if left_out:
        raise ConfigError(
            "--lock builds, and writes down all images of a stack as they are; "
            "leave out --subject, --explain and --locked"
        )
    for image in verbs.build.lock(settings, _say):
        print(f"{image.stack}/{image.service} {image.strategy} {image.fingerprint or image.id}")


def _explain_images(standings: Sequence[Standing], *, json: bool) -> None:
    if json:
        _print_json("build-explain", images=[standing.as_dict() for standing in standings])
        return
    for standing in standings:
        first, *more = standing.reasons
        print(f"{standing.service}: {'build: ' if standing.is_built else ''}{first}")
        for reason in more:
            print(f"  {reason}")


@_task(
    dry_run="list only",
    hung="end keepers that do not answer, and remove what they kept",
    forget="id of a dead environment whose engine is gone for good: clear the rest, and look there no more",
    images="also images of ours that nothing uses: of checkouts that are gone, or made at least a day ago",
    older_than="with --images: all that were made at least so long ago, and only these, such as 7d",
    larger_than="with --images: only those of at least this size, such as 500M",
    **_JSON,
)
def gc(  # noqa: PLR0913 - a flag each
    asked: _Asked,
    *,
    dry_run: bool = False,
    hung: bool = False,
    json: bool = False,
    forget: str = "",
    images: bool = False,
    older_than: str = "",
    larger_than: str = "",
) -> None:
    """Remove what dead runs left: only what is provably ours, listed first.

    Example: harness gc --dry-run
    """
    settings = asked.settings()
    if json and not dry_run:
        raise ConfigError("--json goes with --dry-run")
    if forget and dry_run:
        raise ConfigError("--forget does not go with --dry-run")
    if (older_than or larger_than) and not images:
        raise ConfigError("--older-than and --larger-than go with --images")
    if forget:
        print(verbs.gc.forget(settings, forget))
        return
    limits = verbs.gc.limits_of(older_than, larger_than) if images else None
    if not dry_run:
        for line in verbs.gc.gc(settings, _say, hung=hung).lines() or ["nothing is left of dead runs"]:
            print(line)
        for image, why in verbs.gc.images(settings, limits, remove=True).items() if limits else ():
            print(f"{image}: {why or 'removed'}")
        return
    leftovers = verbs.gc.look(settings)
    old = list(verbs.gc.images(settings, limits, remove=False)) if limits else []
    if json:
        dead = [{**vars(environment), "things": list(environment.things)} for environment in leftovers.dead]
        stuck = [
            {"env": keeper.record.env, "checkout": keeper.record.checkout, "pid": keeper.record.keeper.pid}
            for keeper in leftovers.hung
        ]
        _print_json("gc", dead=dead, hung=stuck, notes=list(leftovers.notes), images=old)
        return
    for line in [*leftovers.lines(), *old] or ("nothing is left of dead runs",):
        print(line)


@_task(
    stack="its name",
    image="what its service runs as a container; python3 is needed in it",
    ci="write what a CI service runs instead: github, gitlab or circleci; --engine chooses that of its jobs",
    check="with --ci: write nothing, show how what is there differs from what would be written, and end with 10 then",
    force="with --ci: overwrite a file that is there and says something else",
)
def new(
    asked: _Asked, *, stack: str = "", image: str = "", ci: str = "", check: bool = False, force: bool = False
) -> None:
    """Write a new stack: Compose file, configuration, fixture and test, which pass at once. Or what CI runs.

    Example: harness new --stack web
    """
    settings = asked.settings()
    if ci:
        _new_recipe(settings, ci, check=check, force=force)
        return
    _needed(stack, "--stack NAME, or --ci github, gitlab or circleci,")
    written = verbs.new.new_stack(settings, stack, image=image)
    for path in written.files:
        print(os.path.relpath(path))
    for note in written.notes:
        print(note)
    _say(f"try it: harness test --stack {stack} -- integration_tests/{stack}")


def _new_recipe(settings: Settings, ci: str, *, check: bool, force: bool) -> None:
    if check and force:
        raise ConfigError("--check and --force exclude each other; give one of them")
    if check:
        if difference := verbs.new.recipe_difference(settings, ci):
            print(difference)
            raise ConfigError(
                f"What {ci} is told is not what would be written", hint=f"harness new --ci {ci} --force writes it"
            )
        _say(f"what {ci} is told is what would be written")
        return
    written = verbs.new.new_recipe(settings, ci, force=force)
    for path in written.files:
        print(os.path.relpath(path))
    for note in written.notes:
        _say(note)


@_task(
    compose="the Compose file (default: the one of a usual name here)",
    write="write the files; without it only what would change is printed",
)
def adopt(asked: _Asked, *, compose: str = "", write: bool = False) -> None:
    """Look at a project's own Compose file and write beside it what the harness needs; that file stays as it is.

    Example: harness adopt --write
    """
    adopted = verbs.adopt.adopt_project(asked.settings_to_adopt(), compose, write=write)
    for line in adopted.lines(written=write):
        print(line)


@_task(suite="Debian's name of a release (default bookworm)")
def base(asked: _Asked, *, suite: str = "bookworm") -> None:
    """Make a base image from Debian packages, for builds on machines that reach no image registry.

    Example: invoke images.base
    """
    print(verbs.build.base(asked.settings(), _say, suite=suite))


@_task(
    "subject",
    "image",
    file="the archive to write; one that is there is replaced",
    subject="a subject or service of the stack, built or pulled first; may be repeated (without --image: all of them)",
    image="an image that the engine has, as NAME:TAG; may be repeated",
    all="instead: all that is built for any system, with its bases; nothing is built then where it is loaded",
    **_JSON,
)
def save(
    asked: _Asked,
    *,
    file: str = "",
    subject: Sequence[str] | None = None,
    image: Sequence[str] | None = None,
    all: bool = False,  # noqa: A002
    json: bool = False,
) -> None:
    """Write images to an archive, compressed by zstd, from which `images.load` has them on any engine.

    Example: harness images.save --file forwarder.tar.zst --subject forwarder
    """
    settings = asked.settings()
    _needed(file, "--file PATH")
    _needs_values("--subject", subject or ())
    _needs_values("--image", image or ())
    if all and (subject or image):
        raise ConfigError("--all excludes --subject and --image; give either")
    if all:
        contents = verbs.images.save_all(settings, _say, file)
    else:
        contents = verbs.images.save(settings, _say, file, subjects=subject or (), images=image or ())
    if json:
        _print_json("saved", file=file, images=[held.as_dict() for held in contents.images], bytes=contents.size)
        return
    for held in contents.images:
        print(f"{held} {held.ids[0]}")


@_task(file="the archive: of `images.save`, or of `docker save`, plain or compressed by zstd or gzip", **_JSON)
def load(asked: _Asked, *, file: str = "", json: bool = False) -> None:
    """Have the engine have the images of an archive, by their names and verified ids.

    Example: harness images.load --file forwarder.tar.zst
    """
    settings = asked.settings()
    _needed(file, "--file PATH")
    loaded = verbs.images.load(settings, file)
    if json:
        images = [{**one.image.as_dict(), "id": one.id, "was_there": one.was_there} for one in loaded]
        _print_json("loaded", file=file, images=images)
        return
    for one in loaded:
        print(f"{one.image} {one.id}{' (was there)' if one.was_there else ''}")


@_task(**_JSON)
def check(asked: _Asked, *, json: bool = False) -> None:
    """Find every mention of a pinned commit, tag or version; end with 10, naming file and line, when they disagree.

    Pinned is what [tool.harness.subjects] and [tool.harness.pins] say.

    Example: harness pins.check
    """
    mentions = verbs.pins.check(asked.settings())
    if json:
        _print_json("pins", mentions=[mention.as_dict() for mention in mentions])
    else:
        for mention in mentions:
            print(mention)
    if not mentions:
        _say("nothing is pinned by [tool.harness.subjects] or [tool.harness.pins], or nothing mentions it")
    if wrong := sum(not mention.agrees for mention in mentions):
        raise ConfigError(f"{wrong} of {len(mentions)} mentions of pins do not agree")


@_task(
    "cell",
    cell="the id of a cell; may be repeated (default: all)",
    shard="i/n: this part of them",
    slots="how many cells at once (default: twice the number of cores)",
    cost="how soon it can be done: all bounds, and which one binds",
    locked="refuse what differs from interop.lock, before anything is made",
    **_JSON,
)
def interop_plan(  # noqa: PLR0913 - its flags
    asked: _Asked,
    *,
    cell: Sequence[str] | None = None,
    shard: str = "1/1",
    slots: str = "",
    cost: bool = False,
    locked: bool = False,
    json: bool = False,
) -> None:
    """Show which cells of an interoperability matrix would be run, in which order; nothing is made.

    Example: harness interop.plan --cost
    """
    plan = verbs.interop.plan(asked.settings(**_switch("locked", on=locked)), _cells(cell, shard, slots), _say)
    if json:
        print(verbs.interop.as_json(plan, cost=cost), end="")
    else:
        print(plan.cost() if cost else plan)


@_task(  # noqa: S604 - a flag of that name
    "cell",
    cell="the id of a cell; may be repeated (default: all)",
    shard="i/n: run this part of them",
    slots="how many cells at once (default: twice the number of cores)",
    resume="a run that was interrupted, or latest: go on with it",
    since="a run, or latest: take over what did not change since and was as expected",
    locked="refuse what differs from interop.lock, before anything is made",
    keep="leave the one cell that is run as it is when its verdict is known; `down` removes it",
    shell="a role of the one cell: open a shell in it when the verdict is known",
    q="quiet: one line, at the end",
    **_JSON,
)
def interop_run(  # noqa: PLR0913 - its flags
    asked: _Asked,
    *,
    cell: Sequence[str] | None = None,
    shard: str = "1/1",
    slots: str = "",
    resume: str = "",
    since: str = "",
    locked: bool = False,
    keep: bool = False,
    shell: str = "",
    q: bool = False,
    json: bool = False,
) -> None:
    """Run implementations against each other: the cells of a matrix; ends with 1 when one is not as expected.

    Example: harness interop.run --engine embedded
    """
    settings = asked.settings(**_switch("locked", on=locked))
    wanted = _cells(cell, shard, slots, resume=resume, since=since, keep=keep, shell=shell)
    code = verbs.interop.run(settings, wanted, _say, as_json=json, is_quiet=q)
    if code:
        raise Exit(code=code)


@_task()
def interop_lock(asked: _Asked) -> None:
    """Write interop.lock beside a matrix's file: commit, image or content of each implementation, for --locked.

    Example: harness interop.lock
    """
    print(verbs.interop.lock(asked.settings(), _say))


@_task(
    run="a run, its folder, a report.json, or a .dump (default: latest)",
    cell="the id of a cell: its verdict, the event that decided it and those around it, and where its logs are",
    against="another one, to tell what is different",
    **_JSON,
)
def interop_inspect(
    asked: _Asked, *, run: str = "latest", cell: str = "", against: str = "", json: bool = False
) -> None:
    """Show what came out of a run of a matrix.

    Example: harness interop.inspect latest
    """
    for line in verbs.interop_evidence.inspect(asked.settings(), run, against, cell, as_json=json):
        print(line)


@_task(run="a run, its folder, or a .dump (default: latest)", **_JSON)
def interop_judge(asked: _Asked, *, run: str = "latest", json: bool = False) -> None:
    """Judge stored evidence again, by the expect.toml of now; runs and writes nothing, ends with 1 as interop.run does.

    Example: harness interop.judge latest
    """
    code = verbs.interop_evidence.judge(asked.settings(), run, _say, as_json=json)
    if code:
        raise Exit(code=code)


@_task()
def interop_test(asked: _Asked) -> None:
    """Run the implementation that is developed here (local = true) against all; writes interop/reports/*.dump.

    Example: harness interop test
    """
    if code := verbs.interop.against_all(asked.settings(), _say):
        raise Exit(code=code)


@_task()
def interop_tournament(asked: _Asked) -> None:
    """Run all implementations against all, and rank them by the share of their cells that succeeded.

    Example: harness interop tournament
    """
    if code := verbs.interop.tournament(asked.settings(), _say):
        raise Exit(code=code)


@_task(name="an implementation (default: all)")
def interop_tests_build(asked: _Asked, *, name: str = "") -> None:
    """Build images, or run setups, of a matrix's implementations.

    Example: harness interop tests build
    """
    for made, held in verbs.interop.build(asked.settings(), name, _say).items():
        print(f"{made} {held}")


@_task()
def interop_tests_update(asked: _Asked) -> None:
    """Take a matrix's tests from the repository that tests-from of interop.toml names; files of your own stay.

    Example: harness interop tests update
    """
    verbs.interop.update(asked.settings(), _say)


@_task()
def interop_help(_: _Asked) -> None:
    """Show the words of the older tool for a matrix, which `harness` understands.

    Example: harness interop help
    """
    print(verbs.interop_words.HELP)


@_task(
    "part",
    part="the folder of the run of a shard; may be repeated",
    into="a folder that does not exist, for the merged run",
)
def interop_merge(asked: _Asked, *, part: Sequence[str] | None = None, into: str = "") -> None:
    """Make one run of those of all shards of a matrix; ends with 10 when a cell is missing, there twice, or foreign.

    Example: harness interop.merge --part a --part b --into merged
    """
    settings = asked.settings()
    _needs_values("--part", part or ())
    _needed(into, "--into FOLDER")
    code = verbs.interop.merge(settings, part or (), into, _say)
    if code:
        raise Exit(code=code)


def _cells(  # noqa: PLR0913 - flags
    cells: Sequence[str] | None,
    shard: str,
    slots: str,
    *,
    resume: str = "",
    since: str = "",
    keep: bool = False,
    shell: str = "",
) -> verbs.interop.Wanted:
    _needs_values("--cell", cells or ())
    for flag, value in (("--slots", slots), ("--resume", resume), ("--since", since)):
        _needs_values(flag, (value,) if value else ())  # an empty one, as of a variable that is not set, is a mistake
    if slots and not (slots.isdecimal() and int(slots)):
        raise ConfigError(f"--slots {slots!r} is no whole number from 1 on")
    number = int(slots) if slots else None
    return verbs.interop.wanted(cells or (), shard, number, resume, since, keep=keep, shell=shell)


interop = Collection()
interop.add_task(interop_lock, name="lock")
interop.add_task(interop_plan, name="plan")
interop.add_task(interop_run, name="run")
interop.add_task(interop_inspect, name="inspect")
interop.add_task(interop_judge, name="judge")
interop.add_task(interop_merge, name="merge")
interop.add_task(interop_test, name="test")
interop.add_task(interop_tournament, name="tournament")
interop.add_task(interop_tests_build, name="tests-build")
interop.add_task(interop_tests_update, name="tests-update")
interop.add_task(interop_help, name="help")
namespace = Collection(
    *(up, test, watch, run, down, ps, logs, endpoints, config, report, flakes, notices, doctor),
    *(exec, restart, seed, build, gc, new, adopt),
    images=Collection(base, save, load),
    pins=Collection(check),
    interop=interop,
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
    if sys.argv[1:2] in (["interop"], ["interop.inspect"], ["interop.judge"]):
        sys.argv[1:] = verbs.interop_words.translated(sys.argv[1:])
    with _reader_may_leave(sys.stdout):
        _Program(name="harness", namespace=namespace).run()
