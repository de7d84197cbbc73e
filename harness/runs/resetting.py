"""How a store of a stack is brought back to what it was when the stack had been seeded."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from harness.errors import BrokenStack, ConfigError, HarnessError, Unsupported
from harness.helpers.late import postgres, quiet_kafka
from harness.helpers.redis_plain import PlainRedis
from harness.helpers.search_plain import PlainSearch
from harness.seeding import apply
from harness.stack import KAFKA_PORT, broker_of, has_files, login_of, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from harness.seeding import Surroundings
    from harness.stack import Seed, Service, Stack, Tree

_CLEARING = 60.0  # seconds for one command of a store, and for a topic to be gone


class Files(Protocol):
    """What copies the files of services, and puts them back."""

    def take(self, stack: str, name: str) -> None:
        """Copy what a service has now. Raises Unsupported when it has nothing that can be, HarnessError on failure."""
        ...

    def bring_back(self, stack: str, name: str) -> None:
        """Have a service run with what was copied. Raises HarnessError as ``take`` does; ConfigError: nothing was."""
        ...


_ASK = "with `x-harness: {reset: true}` of the service it is copied then, for which sessions are terminated"
_NOT_COPIED = {
    None: (": somebody was connected", _ASK),
    True: (", which was before its file said `reset: true`", "`harness up` starts what changed anew"),
    False: (", as `reset: false` says", f"without it, or {_ASK}"),
}


@dataclass(frozen=True)
class Resetting:
    """The stores of one stack.

    Attributes:
        tree: the stack and what it includes.
        stack: which of these it is.
        seeds: its seeds, as planned.
        around: what seeds see.
        files: those of services that are no store.
        alone: whether no other process uses the stack meanwhile.
        say: takes lines for the user.
    """

    tree: Tree
    stack: Stack
    seeds: Sequence[Seed]
    around: Surroundings
    files: Files
    alone: bool
    say: Callable[[str], None]

    def prepare(self, names: Collection[str] | None = None) -> None:
        """Copy what services have, since their stack has just been seeded: databases of PostgreSQL, and files.

        Databases of services that do not say ``reset: true`` are copied only where that disturbs nobody, and files not.

        Args:
            names: only of these, None for all.

        Raises:
            BrokenStack: one that must be copied could not be.
        """
        for owner, service in self.tree.visible(self.stack.name).values():
            if names is not None and service.name not in names:
                continue
            if owner is not self.stack and not any(self._is_of(seed, service) for seed in self.seeds):
                continue  # it was copied when its own stack had been seeded
            if _is_of_files(service):
                self._copy_files(owner, service)
                continue
            login, wanted = login_of(service), service.settings.reset
            if wanted is False or login is None or login.kind != "postgres":
                continue
            seeds = [*owner.settings.seed, *self.stack.settings.seed]
            others = [seed.sql.database for seed in seeds if seed.sql and self._is_of(seed, service)]
            databases = dict.fromkeys([login.database, *(name for name in others if name)])
            store = self.around.store("postgres", service.name)
            if wanted is None:
                with suppress(HarnessError):  # it may be none that can, or the library is not there: a reset tells
                    postgres("postgres_copies").take_quietly(store, databases)
                continue
            try:
                ended = postgres("postgres_copies").take(store, databases)
            except HarnessError as error:
                why = f"could not be copied, as reset: true asks for: {error.summary}"
                raise BrokenStack(f"Service {service.name!r} was seeded and {why}", service=service.name) from error
            if ended:
                self.say(f"service {service.name!r}: {_sessions(ended)} terminated to copy what was seeded")

    def _copy_files(self, owner: Stack, service: Service) -> None:
        """Copy what a service has beside databases, if it can be. Raises BrokenStack."""
        try:
            self.files.take(owner.name, service.name)
        except Unsupported as error:
            self.say(error.summary)
        except HarnessError as error:
            why = f"could not be copied, as reset: true asks for: {error.summary}"
            told = f"Service {service.name!r} was seeded and {why}"
            raise BrokenStack(told, details=error.details, service=service.name) from error

    def reset(self, name: str, above: Sequence[Resetting]) -> None:
        """Bring back the state that a service of the stack had when the stack was seeded.

        Args:
            name: the service.
            above: the same of stacks that stand on this one, whose seeds are planted in it as well.

        Raises:
            Unsupported: it cannot be done, with the reason.
            ConfigError: its file does not ask for it.
            BrokenStack: the service refused.
        """
        service = self.stack.service(name)
        assert service is not None  # it is looked for by its stack
        if not self.alone:
            raise Unsupported(
                f"Service {name!r} is not reset: stack {self.stack.name!r} is shared by workers of pytest-xdist, and a "
                "test of another one may be using it",
                hint='a stack fixture with scope="module" has it alone, and so has a run without -n',
            )
        act = self._way_of(service)
        try:
            act(service, [self, *above])
        except (ConfigError, Unsupported):
            raise
        except (HarnessError, OSError) as error:
            reason, details = (error.summary, error.details) if isinstance(error, HarnessError) else (str(error), ())
            told = f"Service {name!r} could not be reset: {reason}"
            raise BrokenStack(told, details=details, service=name) from error

    def _way_of(self, service: Service) -> Callable[[Service, Sequence[Resetting]], None]:
        """Return what resets a service. Raises Unsupported when nothing does."""
        login = login_of(service)
        if login:
            ways = {"postgres": self._reset_postgres, "redis": self._reset_redis, "search": self._reset_search}
            return ways[login.kind]
        if service.port(KAFKA_PORT):
            return self._reset_kafka
        if _is_of_files(service):
            return self._reset_files
        more = ", and does not say `reset: true`, which has its files copied" if has_files(service) else ""
        raise Unsupported(
            f"Service {service.name!r} cannot be reset: it is no PostgreSQL, Redis, OpenSearch or Kafka{more}; "
            'a stack fixture with scope="function" gives each test a new one'
        )

    def _reset_files(self, service: Service, _: object) -> None:
        self.files.bring_back(self.stack.name, service.name)

    def _reset_postgres(self, service: Service, _: object) -> None:
        copies = postgres("postgres_copies")
        try:
            ended = copies.bring_back(self.around.store("postgres", service.name))
        except copies.NothingCopied:
            why, hint = _NOT_COPIED[service.settings.reset]
            raise ConfigError(
                f"Service {service.name!r} cannot be reset: nothing was copied when it was seeded{why}", hint=hint
            ) from None
        if ended:
            self.say(f"service {service.name!r} was reset: {_sessions(ended)} terminated for it")

    def _reset_redis(self, service: Service, seeded: Sequence[Resetting]) -> None:
        store = self.around.store("redis", service.name)
        with PlainRedis(store.host, store.port, store.login.password, timeout=_CLEARING) as redis:
            redis.ask("FLUSHALL")
        for stack in seeded:
            stack.replay(service)

    def _reset_search(self, service: Service, seeded: Sequence[Resetting]) -> None:
        indices = {seed.search.index for stack in seeded for seed in stack.seeds_of(service) if seed.search}
        if not indices:
            raise Unsupported(f"Service {service.name!r} cannot be reset: no seed fills an index of it")
        store = self.around.store("search", service.name)
        engine = PlainSearch(store.host, store.port, timeout=_CLEARING)
        for index in sorted(indices):
            engine.drop(index)
        for stack in seeded:
            stack.replay(service)

    def _reset_kafka(self, service: Service, seeded: Sequence[Resetting]) -> None:
        topics = {topic for stack in seeded for topic in stack.topics_of(service)}
        if not topics:
            raise Unsupported(f"Service {service.name!r} cannot be reset: no seed makes a topic of it")
        with quiet_kafka(self.around.broker(f"{service.name}:{KAFKA_PORT}"), timeout=_CLEARING) as kafka:
            there = kafka.topics()
            for topic in sorted(topics & set(there)):
                kafka.delete_topics(topic)
            kafka.create_topics({topic: there[topic] for topic in sorted(topics & set(there))})
        for stack in seeded:
            stack.replay(service)

    def stands_on(self, stack: str) -> bool:
        """Return whether its stack includes another one, directly or not."""
        return stack in {below.name for below in self.tree.below(self.stack.name)}

    def topics_of(self, service: Service) -> Iterator[str]:
        """Give the topics that seeds make in a broker, or send something to."""
        for seed in self.seeds_of(service):
            yield from seed.topics or ()
            if seed.message:
                yield seed.message.topic

    def replay(self, service: Service) -> None:
        """Plant the seeds of a service again. Raises BrokenStack."""
        for seed in self.seeds_of(service):
            apply(seed, self.around)

    def seeds_of(self, service: Service) -> Iterator[Seed]:
        """Give the seeds that put something into a service."""
        return (seed for seed in self.seeds if self._is_of(seed, service))

    def _is_of(self, seed: Seed, service: Service) -> bool:
        """Return whether a seed puts data into a service, as far as its own words tell."""
        if seed.redis:
            return store_of("redis", seed.redis.service, self.tree, self.stack.name)[0] == service.name
        if seed.search:
            return store_of("search", seed.search.service, self.tree, self.stack.name)[0] == service.name
        if seed.topics is not None or seed.message:
            written = seed.message.broker if seed.message else None
            return broker_of(written, None, self.tree, self.stack.name)[0] == service.name
        target = seed.sql or seed.exec or (seed.http if _is_of_files(service) else None)
        return target is not None and target.service == service.name


def _is_of_files(service: Service) -> bool:
    """Return whether a service is reset by its files: it asks for that, and nothing else is known to do."""
    return bool(service.settings.reset) and login_of(service) is None and not service.port(KAFKA_PORT)


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'} of its clients {'was' if count == 1 else 'were'}"
