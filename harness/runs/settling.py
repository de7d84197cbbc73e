"""Starting and settling the services of one stack, everything independent at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.clock import LIFTED, Aside, Deadline, add_guard, now, poll
from harness.durations import parse_duration
from harness.engine.driver import Addresses, Around
from harness.errors import BrokenStack, HarnessError
from harness.last_words import LOOKED_AT, last_line
from harness.readiness import (
    Stop,
    Target,
    start_again,
    start_check,
    start_probe,
    wait_until_ready,
)
from harness.readiness.reasons import Seen, why_not_ready
from harness.runs.observing import variables_of
from harness.seeding import apply, too_long
from harness.stack import Probe, broker_of, by_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.engine import ServicePlan
    from harness.engine.driver import Host, Launch
    from harness.readiness import Asker, Waited
    from harness.runs.environment import Environment
    from harness.seeding import Surroundings
    from harness.stack import Seed, Service, Stack, Tree


DEFAULT_INTERVAL = "30s"  # of a healthcheck of Docker
_NEEDS_A_HAND = ("log", "exec", "file", "healthy")  # probes that look into a service


@dataclass
class Progress:
    """Which services of a stack have been started, are ready, or are done."""

    started: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def satisfies(self, condition: str, service: str) -> bool:
        """Return whether a ``depends_on`` condition of the Compose specification holds."""
        if condition == "service_completed_successfully":
            return service in self.done
        if condition == "service_healthy":
            return service in self.ready
        return service in self.started


def plant_within(
    deadline: Deadline,
    seed: Seed,
    around: Surroundings,
    *,
    wake: threading.Event | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Plant a seed aside, so that it can be left.

    Args:
        deadline: when to give up.
        seed: what to plant.
        around: where.
        wake: an event that is set when there is something to check.
        check: raises to end the wait.

    Raises:
        BrokenStack: it was refused, or was not planted in time.
    """
    wake = wake or threading.Event()
    planting = Aside(lambda: apply(seed, around), wake)
    for _ in poll(deadline, wake=wake):
        if planting.is_over():
            return planting.result()
        check()
    raise too_long(seed, planting.seconds)


class Settling:
    """One stack on its way up."""

    def __init__(  # noqa: PLR0913, PLR0917 - a stack, and what surrounds it
        self,
        environment: Environment,
        tree: Tree,
        stack: Stack,
        plans: dict[str, ServicePlan],
        bootstrap: Callable[[str, int], str],
        say: Callable[[str], None],
        launch: Launch | None = None,
    ) -> None:
        self.environment = environment
        self.tree = tree
        self.stack = stack
        self.plans = plans
        self.bootstrap = bootstrap
        self.say = say
        self.launch = launch
        self.progress = Progress()
        self.stop = Stop()
        self.moved = Stop()  # news of any kind, and that a service was started or is ready
        self.stop.tell(self.moved)
        wanted = environment.settings.wait_timeout
        self.up = Deadline.after(self._patience(wanted or stack.settings.timeouts.up))
        self.ready = self._patience(wanted or stack.settings.timeouts.ready)
        self.around = Around(environment, stack, self.up, self.stop, launch)
        self.facts = self.around.facts
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._logs: dict[str, tuple[Path, int]] = {}
        self._steady: dict[str, float] = {}  # service that cannot be asked -> when it has run for a moment
        self._targets: dict[str, Target] = {}
        self._askers: dict[str, list[Asker]] = {}
        self._seeded = {topic for seed in stack.settings.seed for topic in seed.topics or ()}
        adopted = {
            name
            for service in stack.services
            for name, condition in service.depends_on.items()
            if condition == "service_completed_successfully"
        }
        self.oneshots = {s.name for s in stack.services if s.settings.role == "oneshot"} | adopted

    def _patience(self, seconds: float) -> float:
        """Return how long to wait for something: for ever, nearly, while somebody looks with a debugger."""
        return LIFTED if self.environment.debugger else seconds

    def held_back(self) -> set[str]:
        """Return the services that a seed must precede, with their dependents."""
        held = {seed.before for seed in self.stack.settings.seed if seed.before}
        more = True
        while more:
            users = {s.name for s in self.stack.services if held & set(s.depends_on)} - held
            held |= users
            more = bool(users)
        return {name for name in held if name}

    def settle(self, names: Iterable[str]) -> None:
        """Start these services and wait until each is ready or done.

        Raises:
            BrokenStack: the first that cannot be, with its last observation or its exit code and last lines.
        """
        wanted = [name for name in names if name in self.plans]
        if not wanted:
            return
        in_containers = [name for name in wanted if self.plans[name].contained]
        self._ask_before(in_containers)
        if self.launch and in_containers:
            self.launch.begin(in_containers, self.stop.notify, self.up.remaining())
        self.environment.news.tell(self.stop)  # a service that ended must end the waits of this stack
        with ThreadPoolExecutor(max_workers=len(wanted), thread_name_prefix="harness-settle") as pool:
            futures = [pool.submit(self._bring, name) for name in wanted]
            for future in futures:
                future.add_done_callback(lambda _: self.moved.notify())
            try:
                self._await_all(futures)
            except BaseException:
                self.stop.stop()
                raise
            finally:
                self.environment.news.forget(self.stop)
        error = self._cause()
        if error:
            if self.launch and in_containers:
                with suppress(HarnessError):  # the cause is what must be told
                    self.launch.stop()
            raise error
        if self.stop.stopped:
            raise BrokenStack(f"Stack {self.stack.name!r} was given up before it was settled")

    def _await_all(self, futures: list[Future[None]]) -> None:
        """Wait until every service is there or one is found that will not be; then nobody waits any more."""
        for _ in poll(Deadline.after(self.up.remaining() + 5), wake=self.moved.subscribe()):
            if all(future.done() for future in futures):
                return
            if self._first_death():
                break
        self.stop.stop()

    def _first_death(self) -> dict[str, Any] | None:
        """Return the facts of the first end that nobody asked for, here or in a stack that is brought up with this."""
        others = {stack.name for stack in self.tree.stacks if stack.name in self.environment.brought} - {
            self.stack.name
        }
        with self._lock:
            mine = set(self.progress.started)
        return next(
            (
                facts
                for facts in self.environment.deaths()
                if facts["stack"] in others or (facts["stack"] == self.stack.name and facts["service"] in mine)
            ),
            None,
        )

    def _cause(self) -> BaseException | None:
        """Return why it did not settle: the first end of a service, of which others fail in turn; or an error."""
        gone = self._first_death()
        if gone is None:
            return self._errors[0] if self._errors else None
        own = [error for error in self._errors if getattr(error, "service", "") == gone["service"]]
        return own[0] if own else self._died(gone)

    def _ask_before(self, names: list[str]) -> None:
        """Make the probes of containers before Compose starts any, so that old data is told from new."""
        for name in names:
            self.environment.forget(self.stack.name, name)
            service = self.stack.service(name)
            assert service is not None  # names come from this stack
            self._targets[name] = self._target(service, self.plans[name])
            self._askers[name] = [
                start_probe(probe, index, self._targets[name])
                for index, probe in self._probes(service, self.plans[name], self.say)
            ]

    def restart(self, name: str, grace: float) -> None:
        """Stop and start one service that is up, and wait until it is ready again.

        Raises:
            BrokenStack: it ended, or did not become ready.
        """
        service = self.stack.service(name)
        assert service is not None  # the caller looked
        plan = self.plans[name]
        target = self._target(service, plan)
        askers = [start_probe(probe, index, target) for index, probe in self._probes(service, plan, self.say)]
        self.environment.forget(self.stack.name, name)
        try:
            facts = self._host(name).restart(grace)
            target.log, target.log_start = self._logs[name] = Path(facts["log"]), facts["log_start"]
            self.progress.started.add(name)
            self._await_ready(name, askers)
            self.await_steady()
        finally:
            for asker in askers:
                asker.close()

    def await_steady(self) -> None:
        """Wait until services that cannot be asked have run for a moment. Raises BrokenStack when one ended."""
        last = Deadline(max(self._steady.values(), default=0.0), self.environment.settings.steady)
        for _ in poll(last, wake=self._hear()):
            if gone := self._first_death():
                raise self._died(gone)

    def plant(self, seed: Seed, around: Surroundings) -> None:
        """Plant a seed; whatever it does, the wait ends with the stack's time, when a service ends, and by signals.

        Raises:
            BrokenStack: it was refused, or was not planted in time.
        """
        plant_within(self.up, seed, around, wake=self._hear(), check=self._check_planting)

    def _check_planting(self) -> None:
        if self.environment.news.stopped:
            raise BrokenStack(f"Stack {self.stack.name!r} was given up before it was settled")
        if gone := self._first_death():
            raise self._died(gone)

    def _hear(self) -> threading.Event:
        """Return an event that is set by news of the environment."""
        return self.environment.news.subscribe()

    def _bring(self, name: str) -> None:
        add_guard(self.environment.check_kept)  # a service that dies with its keeper is told of by nobody
        try:
            self._bring_one(name)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for all of them
            with self._lock:
                self._errors.append(error)
            self.stop.stop()

    def _bring_one(self, name: str) -> None:
        service = self.stack.service(name)
        assert service is not None  # names come from this stack
        for _ in poll(self.up, wake=self.moved.subscribe()):
            if self.stop.stopped:
                return
            # Compose keeps the order of containers by itself.
            if self.plans[name].contained or self._may_start(service):
                break
        else:
            raise BrokenStack(
                f"Service {name!r} was not started in {self.up.budget:g} s: "
                f"it waits for {', '.join(service.depends_on)}",
                service=name,
            )
        ended = self.environment.report.timed("settle", f"{self.stack.name}/{name}")
        plan = self.plans[name]
        target = self._targets.get(name) or self._target(service, plan)
        askers = self._askers.pop(name, None)
        if askers is None:
            askers = [start_probe(probe, index, target) for index, probe in self._probes(service, plan, self.say)]
        try:
            facts = self._start(plan)
            if facts is None:
                return
            self.facts[name] = facts
            with self._lock:
                self.progress.started.add(name)
            self.moved.notify()
            if plan.ours:
                # Log probes look from here on; what an earlier life of the service wrote does not count.
                target.log, target.log_start = self._logs[name] = Path(facts["log"]), facts["log_start"]
                self.environment.report.log_range(f"{self.stack.name}/{name}", target.log, target.log_start)
            if name in self.oneshots and not plan.ours:
                self.progress.done.add(name)
            elif name in self.oneshots:
                self._await_done(name)
            else:
                self._await_ready(name, askers)
        finally:
            for asker in askers:
                asker.close()
        ended()
        self.moved.notify()

    def _may_start(self, service: Service) -> bool:
        return all(
            self.progress.satisfies(condition, name)
            for name, condition in service.depends_on.items()
            if name in self.plans
        )

    def _start(self, plan: ServicePlan) -> dict[str, Any] | None:
        """Start a service, or wait until it was started; None when the wait was given up."""
        if plan.service in self.oneshots:
            self.environment.expect_end(self.stack.name, plan.service)
        return self._host(plan.service).start()

    def _host(self, name: str) -> Host:
        service = self.stack.service(name)
        assert service is not None  # names come from this stack
        plan = self.plans[name]
        return self.environment.driver_of(plan).host(plan, service, self.around)

    def _await_done(self, name: str) -> None:
        deadline = self.up.sooner(self.ready)
        for _ in poll(deadline, wake=self.stop.subscribe()):
            facts = self.environment.exit_of(self.stack.name, name)
            if facts:
                if facts["exit_code"] != 0:
                    raise self._died(facts, "and should have ended with exit code 0")
                with self._lock:
                    self.progress.done.add(name)
                return
            if self.stop.stopped:
                return
        log, log_start = self._logs[name]
        lines = artifacts.last_lines(log, 10, log_start)
        said = f"it wrote last {last_line(lines)!r}" if lines else "it wrote nothing"
        raise BrokenStack(
            f"One-shot service {name!r} did not end in {deadline.budget:g} s: {said} ({self.environment.show(log)})",
            service=name,
            details=[f"  {line}" for line in lines],
        )

    def _await_ready(self, name: str, askers: list[Asker]) -> None:
        if not askers and self.plans[name].ours:
            self._steady[name] = now() + self.environment.settings.steady
        deadline = self.up.sooner(self.ready)
        waited = wait_until_ready(
            askers,
            deadline,
            is_dead=lambda: self.environment.exit_of(self.stack.name, name) is not None,
            stop=self.stop,
        )
        if waited.dead or waited.hopeless or not (waited.ready or self.stop.stopped):
            self._host(name).refuse_strangers()
        if waited.dead:
            facts = self.environment.exit_of(self.stack.name, name)
            assert facts is not None  # that is what dead means
            raise self._with_history(self._died(facts, "before it was ready"), waited)
        if not waited.ready:
            if waited.hopeless or not self.stop.stopped:
                raise self._not_ready(name, waited)
            return
        with self._lock:
            self.progress.ready.add(name)

    def _died(self, facts: dict[str, Any], when: str = "before its stack was settled") -> BrokenStack:
        stack = self.tree.stack(facts["stack"])  # this one, or one that it stands on
        service = stack.service(facts["service"])
        assert service is not None  # it was started for that stack
        error = self.environment.died(facts, when, variables_of(service, self.tree, stack.name))
        if facts["exit_code"] == 0:
            error.hint = "one that is meant to end has `x-harness: {role: oneshot}`; others stay in the foreground"
        return error

    def _with_history(self, error: BrokenStack, waited: Waited) -> BrokenStack:
        if waited.observation:
            error.details = (*error.details, f"last observation: {waited.probe}: {waited.observation}")
        return error

    def _not_ready(self, name: str, waited: Waited) -> BrokenStack:
        log, _ = self._logs.get(name, (None, 0))
        seen = self._look(name, waited)
        reason = why_not_ready(seen)
        service = self.stack.service(name)
        guessed = service and not service.settings.ready and not self.plans[name].has_health
        told = "a healthcheck, or x-harness.ready, says better when it is ready than its ports; " if guessed else ""
        checks = [f"  {line}" for line in seen.checks] if seen.kind == "healthy" else []
        return BrokenStack(
            f"Service {name!r} did not settle in {waited.seconds:.1f} s: "
            f"{reason.sentence} ({self.environment.show(log) if log else 'attached'})",
            service=name,
            details=[
                f"probe: {waited.probe}",
                *(f"  seen after {line}" for line in waited.history),
                *(["last healthchecks:", *checks] if checks else []),
                *(["last lines of its log:"] if log else []),
                *([f"  {line}" for line in seen.log[-10:]] or (["  it wrote nothing"] if log else [])),
            ],
            hint=reason.hint or ("" if waited.hopeless else f"{told}a longer time is given by {self._longer()}"),
        )

    def _look(self, name: str, waited: Waited) -> Seen:
        """Look at a service whose probes did not hold in time."""
        plan, service = self.plans[name], self.stack.service(name)
        assert service is not None  # names come from this stack
        log, log_start = self._logs.get(name, (None, 0))
        port = waited.port or self._own_broker(service, waited)
        at = plan.endpoint(port) if port else None
        kind = waited.probe.partition(" ")[0]
        interval = str((service.compose.get("healthcheck") or {}).get("interval") or DEFAULT_INTERVAL)
        known = self.environment.explain(self.stack.name, name, ask=kind == "healthy")  # its log is complete then
        return Seen(
            kind=kind,
            observation=waited.observation,
            history=waited.history,
            host=at.host if at else "",
            port=(at.right if plan.contained else at.port) if at else None,
            listening=self._host(name).listening(self.facts.get(name, {})) if at else None,
            contained=plan.contained,
            log=tuple(artifacts.last_lines(log, LOOKED_AT, log_start)) if log else (),
            checks=tuple(known.get("health_log", ())),
            interval=interval if plan.contained and kind == "healthy" and _is_longer(interval, waited.seconds) else "",
            variables=variables_of(service, self.tree, self.stack.name),
        )

    def _own_broker(self, service: Service, waited: Waited) -> int | None:
        """Return the port of the broker that a probe asked, None when it asked none or another service's."""
        for probe in service.settings.ready:
            if probe.kafka and waited.probe.startswith("kafka"):
                owner, port = broker_of(probe.kafka.broker, service, self.tree, self.stack.name)
                return port if owner == service.name else None
        return None

    def _longer(self) -> str:
        if self.environment.settings.wait_timeout:
            return f"wait-timeout ({self.environment.settings.origins['wait_timeout']})"
        return f"x-harness.timeouts.ready in {self.stack.files[0].name}"

    def ask_later(self) -> None:
        """Have the environment know how the services of this stack are asked from now on."""
        for name in self.plans:
            self.environment.askers[f"{self.stack.name}/{name}"] = partial(self._askers_of, name, start_again)

    def checks_of(self, name: str) -> list[Asker]:
        """Return what tells whether a service of this stack, which was ready once, answers still, whatever it says."""
        return self._askers_of(name, start_check)

    def _askers_of(self, name: str, start: Callable[[Probe, int, Target], Asker | None]) -> list[Asker]:
        service, plan = self.stack.service(name), self.plans[name]
        if service is None or name in self.oneshots:
            return []
        target = self._target(service, plan)
        probes = self._probes(service, plan, lambda _: None)
        askers = [start(probe, index, target) for index, probe in probes]
        return [asker for asker in askers if asker]

    def _probes(self, service: Service, plan: ServicePlan, say: Callable[[str], None]) -> list[tuple[int, Probe]]:
        """Return the probes to ask before the stack's seeds are planted."""
        probes: list[tuple[int, Probe]] = []
        for index, probe in enumerate(plan.ready):
            if not plan.ours and probe.kind in _NEEDS_A_HAND:
                say(f"service {service.name!r} is attached, so its probe {probe.kind!r} is left out")
                continue
            if probe.healthy and not plan.has_health:
                say(f"service {service.name!r}: no {plan.health_key}, so the probe 'healthy' is left out")
                continue
            if probe.kafka and probe.kafka.topics:
                rest = {topic: n for topic, n in probe.kafka.topics.items() if topic not in self._seeded}
                probes.append((index, Probe(kafka=probe.kafka.model_copy(update={"topics": rest}))))
            else:
                probes.append((index, probe))
        if probes or service.name in self.oneshots:
            return probes
        if plan.has_health:
            return [(0, Probe(healthy=True))]
        ports = [port.left for port in service.ports if port.protocol == "tcp"]
        what = f"its ports {', '.join(map(str, ports))} listen" if ports else "it runs"
        say(f"service {service.name!r} has no probe: it counts as ready when {what}")
        return [(0, Probe(tcp=port)) for port in ports]

    def _target(self, service: Service, plan: ServicePlan) -> Target:
        address = {number: (end.host, end.port) for number, end in by_number(plan.endpoints).items()}
        brokers = {
            index: self.bootstrap(*broker_of(probe.kafka.broker, service, self.tree, self.stack.name))
            for index, probe in enumerate(service.settings.ready)
            if probe.kafka
        }
        return self._host(service.name).target(Addresses(address, brokers))

    def await_seeded_topics(self) -> None:
        """Ask for the topics that probes name and seeds made. Raises BrokenStack as ``settle`` does."""
        for service in self.stack.services:
            if service.name not in self.plans:
                continue
            target = self._target(service, self.plans[service.name])
            for index, probe in enumerate(service.settings.ready):
                if not (probe.kafka and self._seeded & set(probe.kafka.topics)):
                    continue
                asker = start_probe(probe, index, target)
                try:
                    self._await_ready(service.name, [asker])
                finally:
                    asker.close()


def _is_longer(interval: str, seconds: float) -> bool:
    """Return whether an interval, in Compose's words, is longer than a time."""
    try:
        return parse_duration(interval) > seconds
    except ValueError:
        return False
