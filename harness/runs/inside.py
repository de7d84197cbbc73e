"""A command in a container that joined its stack's network: what it is told, and what comes out of it, however it ends.

Nothing is mounted: what the command has written is copied out afterwards, from a container that was killed as well.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from harness import artifacts
from harness.clock import LIFTED, Deadline, poll
from harness.engine.compose.commands import Command, ask_to_end, make_folder
from harness.engine.compose.hands import copy_within, write_through
from harness.engine.compose.plan import NAME as CONTAINERS
from harness.errors import BROKEN_STACK, TESTS_FAILED, BrokenStack, ConfigError, HarnessError, Unsupported
from harness.interrupts import Interrupted
from harness.keeper.messages import Look
from harness.reporting.inner import outcomes_of
from harness.results import Outcome
from harness.results.flakes import word_of
from harness.runs import flakes
from harness.runs.choice import choose
from harness.runs.run import Run, running
from harness.runs.variables import check, of_endpoints, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from harness.config import Settings
    from harness.engine.known import Known
    from harness.engine.plan import Endpoint
    from harness.results import Status
    from harness.runs.choice import Choice
    from harness.runs.environment import Environment
    from harness.runs.stack import Stack

NAME = "inside"  # of what was copied out, in the folder of a run
PLACE = "/harness-inside"  # in the container: pytest writes its reports there
LOGS, JUNIT, OUTPUT, REPORTS = "logs", "junit.xml", "output.log", "reports"
COOKIE = "HARNESS_INSIDE_ID"
ASKED_GRACE, HURRIED_GRACE = 10.0, 4.0  # seconds between INT and KILL: at its time-out, and after a signal
COPY_BUDGET, HURRIED_COPY = 120.0, 3.0
LOOK_BUDGET = 5.0
NEWS_BUDGET = 3.0  # for the news of a container's end
NOT_EXECUTABLE, NOT_FOUND, KILLED = 126, 127, 137  # as shells and engines have it
TAIL = 4096  # bytes


def service_of(settings: Settings) -> str:
    """Return the service in whose container commands of the chosen system run. Raises ConfigError: there is none."""
    system = settings.system
    if system is None or not system.inside:
        who = f"system {system.name!r}" if system else "this project"
        names = [other.name for other in settings.systems if other.inside]
        have = f"; it is declared by: {', '.join(names)}" if names else ""
        raise ConfigError(
            f"--inside needs a service in which the suite runs, and {who} declares none{have}",
            hint='write inside = "SERVICE" into [tool.harness.systems.NAME]: a service of the stack, with a profile',
        )
    return system.inside


def command_of(settings: Settings, words: Sequence[str]) -> list[str]:
    """Return the suite of the chosen system as a command in a container, with further words. Raises ConfigError."""
    service_of(settings)
    system = settings.system
    assert system is not None  # it has that service
    with suppress(ValueError):
        return [*(system.inside_command or ("pytest", str(system.tests.relative_to(settings.root)))), *words]
    raise ConfigError(
        f"The suite {system.tests} of system {system.name!r} is not in the project's folder",
        hint="say by inside-command how it is run in the container",
    )


def addresses_inside(services: Iterable[Known]) -> dict[str, list[Endpoint]]:
    """Return where a container beside the services reaches them: by their names, and the ports that they listen on."""
    return {
        known.service: [
            replace(end, host=known.service, port=end.port if known.is_local else end.right) for end in known.endpoints
        ]
        for known in services
    }


def environment_of(settings: Settings, services: Mapping[str, Sequence[Endpoint]], known: Known) -> dict[str, str]:
    """Return the variables of a command in a container, but for those that tell it from others.

    Args:
        settings: of the run.
        services: service -> its ports, as they are reached from there.
        known: the container's service, whose own variables go before the project's.

    Raises:
        ConfigError: a variable of the project stands for nothing.
    """
    own = resolve(settings.env or {}, f"stack {known.stack!r}", services)
    ends = {f"{name}:{end.left}": str(end) for name, listed in services.items() for end in listed}
    stack = settings.stack.replace(f"{settings.root}/", "")  # the project is elsewhere there
    chosen = {
        f"HARNESS_{name.upper()}": value
        for name, value in (("system", settings.system.name if settings.system else ""), ("stack", stack))
        if settings.origins.get(name) == "command line"
    }
    options = " ".join([known.env.get("PYTEST_ADDOPTS", ""), f"--junitxml={PLACE}/{JUNIT}"]).strip()
    return {
        **{name: value for name, value in own.items() if name not in known.env},
        **of_endpoints(ends),
        **chosen,
        "HARNESS_ENGINE": "attach",
        "HARNESS_INSIDE": "1",
        "HARNESS_LOGS": f"{PLACE}/{LOGS}",
        "PYTEST_ADDOPTS": options,
    }


def run_inside(settings: Settings, say: Callable[[str], None], argv: Sequence[str]) -> int:
    """Start what is missing of the chosen stack, run a command in a container that joins its network; then clear up.

    What it wrote is in ``inside`` of the run's folder; outcomes of its tests are those of the run.

    Args:
        settings: with ``inside``, the service.
        say: takes lines for the user.
        argv: the command, as it is in that container.

    Returns:
        The command's own code (128 + n for signal n); 1 when its time was up, 12 when a service had died.

    Raises:
        Unsupported: the engine has no containers that it starts.
        ConfigError: something written is wrong, or there is no such command.
        BrokenStack: the stack did not settle; the command was not run.
        LeftoverError: the command ended well, and something of ours could not be removed.
    """
    choice = choose(settings)
    refuse_engine(choice)
    run, code = Run(choice, say), 0
    try:
        with running(run):
            name = settings.default_stack()
            check(choice, name)
            stack = run.bring(name)
            assert run.environment is not None  # there is a stack in it
            code = Inside(run.environment, stack, say).run(argv)
            if (code == 0 and settings.keep == "always") or (code and settings.keep != "never"):
                # Not the container: the next run has one of its own, by what its image is then.
                run.environment.keep(settings.ttl, sorted(stack.stacks - {stack.name}))
                say(f"{run.environment.env} is left up (keep: {settings.keep})")
    except Exception as error:
        if code == 0:
            raise
        say(str(error))  # the command's own code is what counts
    return code


def refuse_engine(choice: Choice) -> None:
    """Do nothing where there are containers. Raises Unsupported."""
    if choice.engine.name != CONTAINERS:
        raise Unsupported(
            f"--inside needs engine {CONTAINERS}: engine {choice.engine.name} ({choice.why}) has no network of "
            "containers to join",
            hint="leave out --inside, where tests reach services by their endpoints",
        )


class _Output:
    """What a command says: live on this process's own streams, whole in a file, and its end.

    Attributes:
        tail: the end of it.
        lost: why not all of it is where it should be, "" when it is.
    """

    def __init__(self, path: Path) -> None:
        self.tail = b""
        self.lost = ""
        self._file = path.open("wb")
        self._streams = {1: sys.stdout.buffer, 2: sys.stderr.buffer}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()

    def write(self, stream: int, data: bytes) -> None:
        """Take what came from stream 1 or 2. A disk that is full loses it here, a reader that went away there."""
        self.tail = (self.tail + data)[-TAIL:]
        to = self._streams.get(stream, self._streams[1])
        for file, name in (
            (self._file, OUTPUT),
            (to, "standard error" if to is self._streams[2] else "standard output"),
        ):
            try:
                write_through(file, data)
            except BrokenPipeError:  # a reader that wants no more
                pass
            except OSError as error:
                self.lost = self.lost or f"{name} cannot be written: {error.strerror}"


@dataclass(frozen=True)
class Inside:
    """One command in the container of a stack that is up.

    Attributes:
        environment: where it is.
        stack: the stack with the container.
        say: takes lines for the user.
    """

    environment: Environment
    stack: Stack
    say: Callable[[str], None]

    @property
    def known(self) -> Known:
        """The service that waits."""
        return self.environment.inside.result(0)

    @property
    def folder(self) -> Path:
        """Where what came out of the container is."""
        return self.environment.report.path / NAME

    def run(self, argv: Sequence[str]) -> int:
        """Run a command to its end and copy out what it wrote; return the code for it. Raises ConfigError."""
        self.folder.mkdir(exist_ok=True)
        ended = self.environment.report.timed(NAME, " ".join(argv))
        try:
            code, problem = self._run(argv)
        except BaseException as error:
            number = error.number if isinstance(error, Interrupted) else 0
            self._copy_all(Deadline.after(HURRIED_COPY))
            self._finish(128 + number if number else BROKEN_STACK, "")
            raise
        ended()
        missing = self._copy_all(Deadline.after(COPY_BUDGET))
        code, problem = self._judge(code, problem)
        self._finish(code, problem)
        if missing and code == 0:
            raise ConfigError(
                f"{missing}: inside-reports names a path that is not in the container after the command",
                hint="have the command write its reports there, or leave out inside-reports",
            )
        return code

    # -- the command --------------------------------------------------------------------------------------------

    def _run(self, argv: Sequence[str]) -> tuple[int | None, str]:
        """Run it; return its exit code, None when its time was up, and what is to be said of that."""
        environment, settings, known = self.environment, self.environment.settings, self.known
        cookie = secrets.token_hex(8)
        services = addresses_inside(service for service in self.stack.known if service.service != known.service)
        variables = {**environment_of(settings, services, known), COOKIE: cookie}
        try:
            make_folder(environment.client, known.container, PLACE)
        except HarnessError as error:
            self.say(f"warning: {error.summary}; reports of pytest stay in there")
            variables = {name: value for name, value in variables.items() if PLACE not in value}
        command = Command(environment.client, known.container, argv, variables)
        try:
            budget = settings.inside_timeout
            within = Deadline.after(budget or LIFTED)
            with _Output(self.folder / OUTPUT) as output:
                try:
                    is_over = command.follow(output.write, within, environment.check_kept)
                    if not is_over:
                        self._end(command, output, f"{COOKIE}={cookie}", ASKED_GRACE)
                except BaseException:
                    self._end(command, output, f"{COOKIE}={cookie}", HURRIED_GRACE)
                    raise
            if output.lost:
                self.say(f"warning: not all that {argv[0]!r} said is there: {output.lost}")
            if not is_over:
                return None, f"{argv[0]!r} had not ended in {budget:g} s (--inside-timeout); it was ended"
            code = command.code
            self._refuse_missing(argv, code, output.tail)
            return code, ""
        finally:
            command.close()

    def _end(self, command: Command, output: _Output, cookie: str, grace: float) -> None:
        """Ask a command to end, and kill its container when it has not after ``grace`` seconds."""
        deadline = Deadline.after(grace)
        with suppress(HarnessError):
            ask_to_end(self.environment.client, self.known.container, cookie, "INT", deadline)
            if command.follow(output.write, deadline, lambda: None):
                return
        with suppress(HarnessError):
            self.environment.driver_of(self.known).act(self.known, "kill", 0.0, self.environment)
            command.follow(output.write, Deadline.after(grace), lambda: None)

    def _refuse_missing(self, argv: Sequence[str], code: int | None, said: bytes) -> None:
        """Do nothing when there was such a command. Raises ConfigError."""
        words = said.decode(errors="replace")
        if code in (NOT_EXECUTABLE, NOT_FOUND) and "exec failed" in words:
            image = self.environment.client.inspect_container(self.known.container)["Config"]["Image"]
            why = "has no command" if code == NOT_FOUND or "not found" in words else "cannot execute"
            raise ConfigError(
                f"Image {image} of service {self.known.service!r} {why} {argv[0]!r}",
                details=[f"  {line}" for line in words.strip().splitlines()],
                hint="install it in the image, or name another one by inside-command",
            )

    # -- what comes of it ---------------------------------------------------------------------------------------

    def _judge(self, code: int | None, problem: str) -> tuple[int, str]:
        """Return the code of the run for that of a command, and what is to be said of it."""
        known = self.known
        if (code is None and not problem) or code == KILLED:  # perhaps its container's
            self._await_news()
        try:
            self.environment.link.ask(Look(), timeout=LOOK_BUDGET)
            self.stack.check()
        except BrokenStack as error:
            self.say(str(error))
            is_mine = error.service == known.service
            return (BROKEN_STACK if is_mine or code in (0, TESTS_FAILED, None) else code), error.summary
        if code is None:
            return TESTS_FAILED, problem or "the command's exit code is not known"
        if code == KILLED:
            facts = self.environment.explain(known.stack, known.service)
            limit = f", limit {facts['memory'] >> 20} MiB" if facts.get("memory") else ""
            why = f": out of memory{limit}" if facts.get("oom") else ""
            return code, f"The command in service {known.service!r} was killed (SIGKILL){why}"
        return code, ""

    def _await_news(self) -> None:
        for _ in poll(Deadline.after(NEWS_BUDGET), wake=self.environment.news.subscribe()):
            if self.environment.lives.exit_of(self.known.stack, self.known.service):
                return

    def _copy_all(self, deadline: Deadline) -> str:
        """Copy out what there is; return why what the project wants copied out is not there, "" when it is."""
        system = self.environment.settings.system
        wanted = system.inside_reports if system else ""
        self._copy(PLACE, self.folder, deadline)
        return self._copy(wanted, self.folder / REPORTS, deadline) if wanted else ""

    def _copy(self, path: str, to: Path, deadline: Deadline) -> str:
        try:
            refused = copy_within(self.environment.client, self.known.container, path, to, deadline)
        except HarnessError as error:
            self.say(error.summary)
            return error.summary
        for line in refused:
            self.say(f"not copied out of the container: {line}")
        return ""

    def _finish(self, code: int, problem: str) -> None:
        """Put the outcomes of the tests in there, and what is said of their command, into the run's reports."""
        report = self.environment.report
        if problem:
            self.say(problem)
        outcomes = outcomes_of(self.folder)
        if problem:
            text = "\n".join(artifacts.last_lines(self.folder / OUTPUT, 20))
            status: Status = "broken" if code == BROKEN_STACK else "failed"
            outcomes.append(Outcome(f"{NAME}::{self.known.service}", status, message=problem, text=text))
        known = self.environment.fingerprints
        stacks = word_of(self.environment.engine, (f"{name}={known[name]}" for name in known))
        for outcome in outcomes:
            report.outcome(outcome)
        _, told = flakes.keep(
            self.environment.settings, report.path.name, [replace(outcome, stacks=stacks) for outcome in outcomes]
        )
        if told:
            self.say(told)
        report.finish(code)
