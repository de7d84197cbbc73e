"""Starting and settling the services of one stack, everything independent at once."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.clock import LIFTED, Deadline, add_guard, now, poll
from harness.engine.driver import Around
from harness.engine.known import Known
from harness.errors import BrokenStack, HarnessError
from harness.readiness import Stop, wait_until_ready
from harness.runs.endings import Endings
from harness.runs.evidence import died_in, not_done, not_ready
from harness.runs.probing import Probing
from harness.runs.progress import Progress
from harness.seeding import plant_within
from harness.stack import login_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.keeper.messages import ServiceFacts
    from harness.readiness import Asker
    from harness.runs.planning import Planned
    from harness.seeding import Surroundings
    from harness.stack import Seed

_OTHERS_FIRST = 2.0  # seconds; a probe that has been asked may take its time to answer


class Settling:
    """One stack on its way up.

    Args:
        planned: the stack.
        say: takes lines for the user.
    """

    def __init__(self, planned: Planned, say: Callable[[str], None]) -> None:
        self.planned = planned
        self.environment, self.stack, self.plans = planned.environment, planned.stack, planned.plans
        self.progress = Progress()
        self.stop = Stop()
        self.moved = Stop()  # news of any kind, and that a service was started or is ready
        self.stop.tell(self.moved)
        wanted, timeouts = self.environment.settings.wait_timeout, self.stack.settings.timeouts
        lifted = self.environment.debugger is not None  # somebody looks: for ever, nearly
        self.up = Deadline.after(LIFTED if lifted else wanted or timeouts.up)
        self.ready = LIFTED if lifted else wanted or timeouts.ready
        around = Around(self.environment, self.stack, self.up, self.stop, planned.launch)
        self.probing = Probing(planned, around, say)
        self.endings = Endings(planned, self.progress, self.probing, self.stop, lambda: self.up.sooner(self.ready), say)
        self.facts = around.facts
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._steady: dict[str, float] = {}  # service that cannot be asked -> when it has run for a moment

    def settle(self, names: Iterable[str]) -> None:
        """Start these services and wait until each is ready or done.

        Raises:
            BrokenStack: the first that cannot be, with its last observation or its exit code and last lines.
        """
        wanted = [name for name in names if name in self.plans]
        if not wanted:
            return
        self.endings.open()
        in_containers = [name for name in wanted if self.plans[name].contained]
        launch = self.planned.launch if in_containers else None
        for name in in_containers:
            self.environment.lives.forget(self.stack.name, name)
            self.probing.begin(name)
        if launch:
            first = [name for name in in_containers if self._may_start(name)]
            launch.begin(in_containers, first, self.stop.notify, self.up.remaining())
        self._bring_all(wanted)

    def _bring_all(self, names: list[str]) -> None:
        """Bring up these services, each in a thread of its own. Raises BrokenStack as ``settle`` does."""
        self.environment.news.tell(self.stop)  # a service that ended must end the waits of this stack
        with ThreadPoolExecutor(max_workers=len(self.plans), thread_name_prefix="harness-settle") as pool:

            def bring(name: str) -> Future[None]:
                future = pool.submit(self._bring, name)
                future.add_done_callback(lambda _: self.moved.notify())
                return future

            try:
                self._await_all({name: bring(name) for name in names}, bring)
            except BaseException:
                self.stop.stop()
                raise
            finally:
                self.environment.news.forget(self.stop)
        if error := self._cause():
            raise error
        if self.stop.stopped:
            raise BrokenStack(f"Stack {self.stack.name!r} was given up before it was settled")

    def _await_all(self, brought: dict[str, Future[None]], bring: Callable[[str], Future[None]]) -> None:
        """Wait until every service is there or one is found that will not be; then nobody waits any more."""
        for _ in poll(Deadline.after(self.up.remaining() + 5), wake=self.moved.subscribe()):
            idle = [name for name in self.endings.ended() if name not in brought or brought[name].done()]
            if not self.stop.stopped:
                brought |= {name: bring(name) for name in idle}
            if all(future.done() for future in brought.values()):
                return
            if self._first_death() or self.stop.stopped:
                break
        self.stop.stop()
        if self.planned.launch:  # whoever waits for what it does waits no longer
            with suppress(HarnessError):  # the cause is what must be told
                self.planned.launch.stop()

    def _first_death(self) -> ServiceFacts | None:
        """Return the facts of the first end that nobody asked for, here or in a stack that is brought up with this."""
        others = {stack.name for stack in self.planned.tree.stacks if stack.name in self.environment.brought} - {
            self.stack.name
        }
        with self._lock:
            mine = set(self.progress.started)
        return next(
            (
                facts
                for facts in self.environment.lives.deaths()
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
        return own[0] if own else self._death(gone)

    def _death(self, facts: ServiceFacts, when: str = "before its stack was settled") -> BrokenStack:
        """Return the error for a service of this stack, or of one that it includes, that has ended."""
        error = died_in(self.planned, facts, when)
        if told := self.endings.told(facts["service"]):
            error.details = (told, *error.details)
        return error

    def restart(self, name: str, grace: float) -> None:
        """Stop and start one service that is up, and wait until it is ready again.

        Raises:
            BrokenStack: it ended, or did not become ready.
        """
        askers = self.probing.askers(name)
        self.environment.lives.forget(self.stack.name, name)
        try:
            facts = self.probing.host(name).restart(grace)
            self.probing.has_started(name, facts)
            if debugger := self.environment.debugger:
                debugger.let_go(facts, self.environment, lambda: self.stop.stopped)
            self.progress.started.add(name)
            self._await_ready(name, askers, self.up.sooner(self.ready))
            self.await_steady()
        finally:
            for asker in askers:
                asker.close()

    def takes_as_there(self, names: Iterable[str]) -> None:
        """Take services of the stack as started and ready, or done: they are up, and only others are brought up."""
        for name in names:
            for those in (self.progress.started, self.progress.ready, self.progress.proven):
                those.add(name)
            if name in self.planned.oneshots:
                self.progress.done.add(name)

    def services(self, *, started: bool = False) -> dict[str, Known]:
        """Return service -> what is to be remembered of it; with ``started`` only of those that this has started."""
        return {
            name: Known.of(plan, self._container_of(name), login_of(self.planned.service(name)))
            for name, plan in self.plans.items()
            if not started or name in self.facts
        }

    def _container_of(self, name: str) -> str:
        """Return the id of a service's container, "" of a process or before its start."""
        facts = self.facts.get(name)
        return facts["container"] if facts else ""

    def await_steady(self) -> None:
        """Wait until services that cannot be asked have run for a moment. Raises BrokenStack when one ended."""
        ended: list[str] | None = None
        while ended is None or ended:
            ended = []
            last = Deadline(max(self._steady.values(), default=0.0), self.environment.settings.steady)
            for _ in poll(last, wake=self.environment.news.subscribe()):
                if gone := self._first_death():
                    raise self._death(gone)
                if ended := self.endings.ended():
                    self._bring_all(ended)
                    break
        self.endings.close()

    def plant(self, seed: Seed, around: Surroundings) -> None:
        """Plant a seed; whatever it does, the wait ends with the stack's time, when a service ends, and by signals.

        Raises:
            BrokenStack: it was refused, or was not planted in time.
        """
        ended = self.environment.report.timed("seed", f"{self.stack.name}/{seed.key}")
        if seed.exec and seed.exec.service in self.plans and seed.exec.service not in self.progress.started:
            try:
                self.probing.host(seed.exec.service).prepare()
            except OSError as error:
                raise BrokenStack(f"Seed {seed.key!r} was not planted: {error}", service=seed.exec.service) from error
        plant_within(self.up, seed, around, wake=self.environment.news.subscribe(), check=self._check_planting)
        ended()

    def _check_planting(self) -> None:
        if self.environment.news.stopped:
            raise BrokenStack(f"Stack {self.stack.name!r} was given up before it was settled")
        if gone := self._first_death():
            raise self._death(gone)
        if ended := self.endings.ended():
            self._bring_all(ended)

    def _bring(self, name: str) -> None:
        add_guard(self.environment.check_kept)  # a service that dies with its keeper is told of by nobody
        try:
            self._bring_one(name)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for all of them
            with self._lock:
                self._errors.append(error)
            self.stop.stop()

    def _bring_one(self, name: str) -> None:
        """Start a service when it is its turn, or again when it has ended, and wait until it is ready or done."""
        again = name in self.progress.started
        if not again:
            self._await_turn(name)
        if self.stop.stopped:
            return
        ended = self.environment.report.timed("settle", f"{self.stack.name}/{name}")
        askers = self.probing.askers(name)
        try:
            if not (again or self._start(name)):
                return
            deadline = self.up.sooner(self.ready)
            while not self._is_up(name, askers, deadline) and not self.stop.stopped:
                self.endings.start_again(name)
        finally:
            for asker in askers:
                asker.close()
        ended()
        self.moved.notify()

    def _is_up(self, name: str, askers: list[Asker], deadline: Deadline) -> bool:
        """Wait until a service is ready or done; return False when it has ended and is to be started again."""
        if name not in self.planned.oneshots:
            return self._await_ready(name, askers, deadline)
        if self.plans[name].ours:
            return self._await_done(name, deadline)
        self.progress.done.add(name)
        return True

    def _await_turn(self, name: str) -> None:
        """Wait until a service may start, or nobody waits any more. Raises BrokenStack when the time is up."""
        for _ in poll(self.up, wake=self.moved.subscribe()):
            if self.stop.stopped or self._may_start(name):
                return
        # What it waits for has the same time, and says what it lacks; that ends this wait.
        for _ in poll(Deadline.after(_OTHERS_FIRST), wake=self.moved.subscribe()):
            if self.stop.stopped:
                return
        needed = ", ".join(self.planned.service(name).depends_on)
        raise BrokenStack(
            f"Service {name!r} was not started in {self.up.budget:g} s: it waits for {needed}", service=name
        )

    def _may_start(self, name: str) -> bool:
        """Return whether all is there that a service depends on."""
        return self.progress.lets_start(self.planned.service(name), self.plans)

    def _start(self, name: str) -> bool:
        """Start a service, or wait until it was started; False when the wait was given up."""
        self.endings.expect(name)
        if not self.probing.host(name).start():
            return False
        with self._lock:
            self.progress.started.add(name)
        self.moved.notify()
        if self.plans[name].ours:
            self.probing.has_started(name, self.facts[name])
            self.environment.report.log_range(f"{self.stack.name}/{name}", *self.probing.logs[name])
        return True

    def _await_done(self, name: str, deadline: Deadline) -> bool:
        for _ in poll(deadline, wake=self.stop.subscribe()):
            facts = self.environment.lives.exit_of(self.stack.name, name)
            if facts and self.endings.is_started_again(facts):
                return False
            if facts:
                if facts["exit_code"] != 0:
                    raise self._death(facts, "and should have ended with exit code 0")
                with self._lock:
                    self.progress.done.add(name)
            if facts or self.stop.stopped:
                return True
        raise not_done(self.probing, name, deadline.budget)

    def _await_ready(self, name: str, askers: list[Asker], deadline: Deadline) -> bool:
        """Wait until a service is ready, or done; return False when it has ended and is to be started again."""
        if not askers and self.plans[name].ours and not self.stack.waits:
            self._steady[name] = now() + self.environment.settings.steady
        waited = wait_until_ready(
            askers,
            deadline,
            is_dead=lambda: self.environment.lives.exit_of(self.stack.name, name) is not None,
            stop=self.stop,
        )
        facts = self.environment.lives.exit_of(self.stack.name, name) if waited.dead else None
        if facts and self.endings.is_done(facts):
            with self._lock:
                self.progress.ready.add(name)
                self.progress.done.add(name)
            return True
        if facts and self.endings.is_started_again(facts):
            return False
        if waited.dead or waited.hopeless or not (waited.ready or self.stop.stopped):
            self.probing.host(name).refuse_strangers()
        if facts:
            error = self._death(facts, "before it was ready")
            if waited.observation:
                error.details = (*error.details, f"last observation: {waited.probe}: {waited.observation}")
            raise error
        if waited.ready:
            with self._lock:
                self.progress.ready.add(name)
                if askers:
                    self.progress.proven.add(name)
        elif waited.hopeless or not self.stop.stopped:
            raise not_ready(self.probing, name, waited)
        return True

    def await_seeded(self) -> None:
        """Ask for the topics and documents that probes name and seeds made. Raises BrokenStack as ``settle`` does."""
        for name in self.plans:
            for asker in self.probing.seeded(name):
                try:
                    while not self._await_ready(name, [asker], self.up.sooner(self.ready)):
                        self._bring_all([name])
                finally:
                    asker.close()
