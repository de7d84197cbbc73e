"""A running stack and its services, as tests see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.errors import ConfigError, HarnessError
from harness.keeper.messages import Services
from harness.runs import variables
from harness.stack import by_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.engine.known import Known
    from harness.engine.plan import Endpoint
    from harness.keeper.messages import ServiceFacts
    from harness.procs import Finished
    from harness.runs.environment import Environment
    from harness.stack import Store

EXEC_BUDGET = 60.0
_DUMPED = ("stack", "state", "pid", "container", "exit_code", "oom", "health", "starts", "log")


class _GivenBackError(HarnessError):
    """A service is asked for after its stack was given back. ``state`` is ``removed``, or ``released`` if not known."""

    def __init__(self, service: str, state: str) -> None:
        super().__init__(f"Service {service!r} was {state}: its stack is not used any more")
        self.state = state


class Service:
    """One service of a running stack."""

    def __init__(self, known: Known, environment: Environment) -> None:
        self._known = known
        self._environment = environment
        self.name = known.service
        self.stack = known.stack

    def __repr__(self) -> str:
        try:
            state = "attached" if self._known.attached else self.state
        except HarnessError as error:
            state = error.summary
        return f"<Service {self.stack}/{self.name} {state}>"

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where its published ports can be reached, in the order of its file."""
        return self._known.endpoints

    def endpoint(self, port: int) -> Endpoint:
        """Return where a port of it can be reached, by its left number, or its right one where no left one is it.

        Raises:
            ConfigError: it publishes no such port.
        """
        __tracebackhide__ = True  # a port that is not there is the caller's word
        if end := by_number(self.endpoints).get(port):
            return end
        have = ", ".join(str(end.left) for end in self.endpoints) or "none"
        raise ConfigError(
            f"Service {self.name!r} of stack {self.stack!r} publishes no port {port}; it publishes: {have}"
        )

    def _facts(self) -> ServiceFacts:
        self._known.refuse_attached("to know its state or log")
        if self._environment.closed:
            raise _GivenBackError(self.name, "released")
        listed = self._environment.link.ask(Services())["services"]
        for facts in listed:
            if (facts["stack"], facts["service"]) == (self.stack, self.name):
                return facts
        raise _GivenBackError(self.name, "removed")

    @property
    def state(self) -> str:
        """``running``, ``paused`` or ``exited``; ``removed`` or ``released`` after its stack was given back."""
        try:
            return str(self._facts()["state"])
        except _GivenBackError as error:
            return error.state

    @property
    def pid(self) -> int:
        """Its process id on this machine."""
        return int(self._facts()["pid"])

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal, None while it runs."""
        code: int | None = self._facts()["exit_code"]
        return code

    @property
    def health(self) -> str:
        """What its container's healthcheck says: ``starting``, ``healthy``, ``unhealthy``, or "" without one."""
        return str(self._facts()["health"])

    @property
    def oom(self) -> bool:
        """Whether its container was killed for lack of memory."""
        if not self._facts()["oom"]:
            return bool(self._environment.explain(self.stack, self.name).get("oom"))
        return True

    @property
    def restarts(self) -> int:
        """How often it was started again in this environment."""
        return int(self._facts()["restarts"])

    @property
    def env(self) -> Mapping[str, str]:
        """Its environment variables."""
        self._known.refuse_attached("to know its environment")
        return dict(self._known.env)

    @property
    def store(self) -> Store | None:
        """How it is connected to as a database or store (address, user, password), None when it is none."""
        return self._known.store

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        return Path(self._facts()["log"])

    def logs(self, since: int = 0) -> str:
        """Return its output from byte ``since`` on, with what cannot be printed escaped.

        Of more than 8 MiB it is the first MiB and the last seven, and a line between that says how much is left out.
        """
        return artifacts.printable(artifacts.read_log(self.log, since))

    def _act(self, act: str, grace: float = 0.0) -> None:
        self._known.refuse_attached(f"to {act} it")
        if act in ("start", "restart"):
            self._environment.lives.forget(self.stack, self.name)
        facts = self._environment.driver_of(self._known).act(self._known, act, grace, self._environment)
        key = f"{self.stack}/{self.name}"
        if act == "pause":
            self._environment.paused.add(key)
        else:
            self._environment.paused.discard(key)
        if self._environment.debugger:
            self._environment.debugger.let_go(facts, self._environment)

    def kill(self) -> None:
        """End it by KILL. The test that asks for this is not broken by it."""
        self._act("kill")

    def stop(self, grace: float | None = None) -> None:
        """End it by TERM, and by KILL after ``grace`` seconds (default: what its stack says, else 2)."""
        self._act("stop", grace=self._known.grace or 2.0 if grace is None else grace)

    def start(self) -> None:
        """Start it again; a running one is left alone."""
        self._act("start")

    def restart(self, grace: float | None = None) -> None:
        """Stop and start it."""
        self._act("restart", grace=self._known.grace or 2.0 if grace is None else grace)

    def pause(self) -> None:
        """Stop it from running, with everything it holds."""
        self._act("pause")

    def unpause(self) -> None:
        """Let it run on."""
        self._act("unpause")

    def reset(self) -> None:
        """Bring back the data that it had when its stack was seeded; sessions that are open are terminated.

        A service that is no known store needs ``reset: true`` for that: it is stopped, its files are put back, and it
        is ready again on return. docs/databases.md says what comes back, and what does not.

        Raises:
            Unsupported: it cannot be done, with the reason.
            ConfigError: its file does not ask for it.
            BrokenStack: it refused.
        """
        self._environment.reset(self._known)

    def exec(self, argv: Sequence[str], *, timeout: float = EXEC_BUDGET) -> Finished:
        """Run a command in its container, or as a process with its environment, folder and mounted files."""
        return self._environment.execute(self._known, self._known.map_words(argv), timeout)

    def copy_out(self, path: str, to: Path) -> Path:
        """Copy a file or folder of the service to ``to`` and return that.

        Raises:
            HarnessError: there is no such file.
        """
        self._environment.driver_of(self._known).copy_out(self._known, path, to, self._environment)
        return to


class Stack:
    """A settled stack: where its services, and those of the stacks that it includes, can be reached."""

    def __init__(
        self, name: str, services: Mapping[str, Known], environment: Environment, release: Callable[[], list[str]]
    ) -> None:
        self.name = name
        self.engine = environment.engine
        self._known = dict(services)
        self._environment = environment
        self._release = release

    def __repr__(self) -> str:
        return f"<Stack {self.name} on {self.engine}: {', '.join(self._known)}>"

    @property
    def run_dir(self) -> Path:
        """The folder of the run that uses it."""
        return self._environment.report.path

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its services, included ones first."""
        return tuple(self._known)

    @property
    def known(self) -> tuple[Known, ...]:
        """What is remembered of its services, included ones first."""
        return tuple(self._known.values())

    @property
    def stacks(self) -> frozenset[str]:
        """Its name, and those of the stacks that it includes."""
        return frozenset({self.name, *(known.stack for known in self._known.values())})

    def _service(self, name: str) -> Known:
        __tracebackhide__ = True  # so is a name
        if name not in self._known:
            raise ConfigError(f"Stack {self.name!r} has no service {name!r}; it has: {', '.join(self._known)}")
        return self._known[name]

    def endpoint(self, service: str, port: int) -> str:
        """Return ``host:port`` for a port of a service, by its left number, or its right one where no left one is it.

        Raises:
            ConfigError: there is no such service or port.
        """
        __tracebackhide__ = True  # a port that is not there is the caller's word
        known = self._service(service)
        if end := by_number(known.endpoints).get(port):
            return str(end)
        have = ", ".join(str(end.left) for end in known.endpoints) or "none"
        raise ConfigError(f"Service {service!r} of stack {self.name!r} publishes no port {port}; it publishes: {have}")

    def url(self, service: str, port: int, path: str = "/") -> str:
        """Return the ``http://`` URL of a path on a service."""
        return f"http://{self.endpoint(service, port)}/{path.lstrip('/')}"

    def service(self, name: str) -> Service:
        """Return a service by name. Raises ConfigError when there is none."""
        __tracebackhide__ = True  # so is this one
        return Service(self._service(name), self._environment)

    def endpoints(self) -> dict[str, str]:
        """Return ``SERVICE:PORT`` -> ``host:port`` for everything that is published."""
        return {name: address for known in self._known.values() for name, address in known.addresses().items()}

    def variables(self, templates: Mapping[str, str]) -> dict[str, str]:
        """Return variables as ``[tool.harness.env]`` has them, with its endpoints. Raises ConfigError: one has none."""
        return variables.resolve(
            templates, f"stack {self.name!r}", {known.service: known.endpoints for known in self._known.values()}
        )

    def check(self) -> None:
        """Do nothing while all services live. Raises BrokenStack when one has died."""
        self._environment.check(self.stacks)

    def dump(self) -> dict[str, Any]:
        """Return the state of its services for a report: pid, state, exit code, endpoints, last log lines."""
        listed = self._environment.link.ask(Services())["services"]
        return {
            facts["service"]: {
                **_dumped(facts),
                "endpoints": [str(end) for end in self._known[facts["service"]].endpoints],
                "last_lines": artifacts.last_lines(Path(facts["log"]), 10, facts["log_start"]),
            }
            for facts in listed
            if facts["service"] in self._known and self._known[facts["service"]].stack == facts["stack"]
        }

    def release(self) -> list[str]:
        """Stop using it; it is removed when nobody else does. Return what could not be removed."""
        return self._release()


def _dumped(facts: Mapping[str, object]) -> dict[str, object]:
    return {key: facts[key] for key in _DUMPED}
