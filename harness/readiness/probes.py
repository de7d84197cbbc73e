"""Probes: each answers "" when its condition holds, else the reason why not yet. None waits or retries by itself."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import threading
import uuid
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from harness import clock, procs
from harness.artifacts import mapped_path, read_on
from harness.errors import BrokenStack, HarnessError
from harness.helpers import http
from harness.helpers.http_plain import mask
from harness.helpers.late import missing_leaders, postgres, quiet_kafka
from harness.helpers.redis_plain import PlainRedis, Refusal
from harness.helpers.search_plain import PlainSearch, SearchRefusal
from harness.refusals import missing_for_good
from harness.stack import HealthCheck, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.helpers.kafka import Kafka, KafkaConsumer
    from harness.stack import HttpProbe, KafkaProbe, Login, Probe, SearchProbe

STILL_OPEN = 0.02  # a proxy accepts for a service that does not listen yet, and closes at once
CONNECT_BUDGET = 0.5
KAFKA_SLICE, LONGEST_KAFKA_SLICE = 0.25, 2.0  # seconds for one answer of a broker: of the first client, of later ones
FAILURES_OF_A_CLIENT = 2
EXEC_BUDGET = 5.0
BODY_SHOWN = 80
_TLS = "\\x15\\x03"  # the head of an alert, as ``problem_of`` writes it (RFC 8446, section 5.1)
LOG_AT_ONCE, LOG_PARTS = 1 << 20, 16
LOG_AGAIN = 1 << 16  # bytes that are looked at twice: a match may have come in pieces, and have several lines
# What a check raises because it is written wrongly: no waiting will change that.
_MISTAKES = (TypeError, NameError, AttributeError, ImportError, SyntaxError, NotImplementedError)


@dataclass
class Target:
    """A service as probes see it. ``log`` and ``log_start`` become known when it has started.

    Attributes:
        service: its name.
        stack: its stack.
        address: declared port -> (host, port).
        brokers: index of a kafka probe -> bootstrap servers.
        log: its log file.
        log_start: offset at which its present life begins there.
        env: its environment.
        cwd: its folder.
        mounts: container path -> path here.
        login: how it is logged in to, where it is a store.
        health: command that tells its health.
        check: how often and how long it is run, None for what is usual.
        is_awaited: whether another service starts when this one is healthy.
        stranger: tells who listens on (host, port) when that is nobody of this environment, "" otherwise.
        silence: tells why (host, port) need not be asked, since nothing listens behind it; "" when something may.
        refuted: tells the same after a connection was accepted there, which proves nothing of a container.
        execute: runs a command in it, where it is a container.
        exists: tells whether it has a file, where it is a container.
        healthy: tells "" or why it is not healthy, where it is a container.
    """

    service: str
    stack: str
    address: Mapping[int, tuple[str, int]]
    brokers: Mapping[int, str] = field(default_factory=dict)
    log: Path = Path()
    log_start: int = 0
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path = Path()
    mounts: Mapping[str, str] = field(default_factory=dict)
    login: Login | None = None
    health: tuple[str, ...] = ()
    check: HealthCheck | None = None
    is_awaited: bool = False
    stranger: Callable[[str, int], str] | None = None
    silence: Callable[[str, int], str] = lambda _host, _port: ""
    refuted: Callable[[str, int], str] = lambda _host, _port: ""
    execute: Callable[[tuple[str, ...], float], procs.Finished] | None = None
    exists: Callable[[str], bool] | None = None
    healthy: Callable[[], str] | None = None

    def refuse_stranger(self, host: str, port: int) -> None:
        """Do nothing when who answers at an address is of this environment. Raises Hopeless when it is not."""
        who = self.stranger(host, port) if self.stranger else ""
        if who:
            raise Hopeless(f"{host}:{port} is held by {who}")

    def map_path(self, path: str) -> Path:
        """Return a container path as a path here; one that is not mounted stays."""
        return Path(mapped_path(path, self.mounts) or path)


class Hopeless(HarnessError):
    """What a probe saw that no waiting will change; the wait ends with it."""


class Asker(Protocol):
    """A probe that is under way.

    Attributes:
        name: what the probe is, for errors and logs.
        needed: how many successes in a row make it hold.
        port: the port of its own service that it asks, None when it asks none.
    """

    name: str
    needed: int
    port: int | None

    def ask(self) -> str:
        """Return "" when the condition holds now, else why not. Raises Hopeless when it never will."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class Slow(Protocol):
    """An asker whose answer may take longer than a wait can be held up; it is asked in a thread of its own."""

    def cancel(self) -> None:
        """End a question that is under way, from another thread: nobody wants its answer any more."""
        ...


@dataclass
class Simple:
    """A probe without a state of its own."""

    name: str
    ask_once: Callable[[], str]
    needed: int = 1
    port: int | None = None

    def ask(self) -> str:
        """Ask once."""
        return self.ask_once()

    def close(self) -> None:
        """Hold nothing."""


@dataclass
class Patient(Simple):
    """The same, where the answer may be long in coming."""

    given_up: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """End what it does."""
        self.given_up.set()

    def close(self) -> None:
        """End what was begun."""
        self.given_up.set()


@dataclass
class LogAsker:
    """A probe for a line of a service's log: it reads on from where it stood, so that no line is missed."""

    name: str
    pattern: str
    target: Target
    needed: int = 1
    port: int | None = None
    _at: int = 0

    def ask(self) -> str:
        """Look through what has come, or so much of it that the wait is not held up."""
        for _ in range(LOG_PARTS):
            begin = max(self.target.log_start, self._at - LOG_AGAIN)
            data, end = read_on(self.target.log, begin, LOG_AT_ONCE)
            if begin > self.target.log_start:  # the first line of it may be a part of one
                data = data[data.find(b"\n", 0, LOG_AGAIN) + 1 :]
            lines = data.decode(errors="replace").replace("\r\n", "\n")  # so a terminal ends them
            if re.search(self.pattern, lines, re.MULTILINE):
                return ""
            if end == self._at:
                break
            self._at = end
        return f"no line matches {self.pattern!r} yet"

    def close(self) -> None:
        """Hold nothing."""


def start_probe(probe: Probe, index: int, target: Target) -> Asker:
    """Return ``probe`` as something to ask. Called *before* the service starts, so that old data is told from new."""
    kind = probe.kind
    if kind in ("http", "tcp", "sql", "redis", "search"):
        return _of_port(probe, target)
    if probe.kafka:
        return KafkaAsker(probe.kafka, target.brokers[index], target)
    if probe.log is not None:
        return LogAsker(f"log {probe.log!r}", probe.log, target)
    if probe.file is not None:
        return Simple(f"file {probe.file}", lambda: _file(probe.file or "", target))
    if probe.python is not None:
        return Patient(f"python {probe.python}", lambda: _python(probe.python or "", target))
    if kind == "exec":
        argv = tuple(_local(word, target) for word in probe.exec or ())
        given_up = threading.Event()
        name = f"exec {' '.join(probe.exec or ())}"
        return Patient(name, lambda: _exec(argv, target, EXEC_BUDGET, given_up), given_up=given_up)
    return _healthy(target)


def _of_port(probe: Probe, target: Target) -> Asker:
    """Return a probe of a port of the service itself as something to ask."""
    if probe.http:
        return _http(probe.http, target)
    if probe.tcp:
        number = probe.tcp
        return Simple(f"tcp {number} (listening)", lambda: _tcp(*target.address[number], target), 2, number)
    if probe.search:
        return _search(probe.search, target)
    if probe.sql is not None:
        return _of_store("sql", target, partial(_sql, probe.sql))
    return _of_store("redis", target, _redis)


def start_again(probe: Probe, index: int, target: Target) -> Asker | None:
    """Return ``probe`` as something to ask of a service that was ready before; None when it tells of its start only."""
    if probe.log is not None or (probe.kafka and probe.kafka.message):
        return None
    if probe.kafka:
        # That it speaks, and no more: a round trip on a topic of ours would be a change, and takes its time.
        bootstrap = target.brokers[index]
        return Patient("kafka", lambda: _no_broker(bootstrap))
    return start_probe(probe, index, target)


def start_check(probe: Probe, index: int, target: Target) -> Asker | None:
    """Return what tells whether a service that was ready answers still, whatever it answers; nothing is made for it.

    None for a probe that looks at what has been (a line, a file, a message), or that another service answers.
    """
    if probe.log is not None or probe.file is not None:
        return None
    if probe.http:
        host, port = _http_address(probe.http, target)
        path = probe.http.path
        return Patient(f"http {path}", lambda: http.ask(host, port, path).problem)
    if probe.search:
        host, port = _search_address(probe.search, target)[1]
        return Patient("search", lambda: http.ask(host, port, "/").problem)
    if probe.kafka:
        broker = target.brokers[index]
        own = broker in {f"{host}:{port}" for host, port in target.address.values()}
        return Patient("kafka", lambda: _no_broker(broker)) if own else None
    return start_probe(probe, index, target)


def _local(word: str, target: Target) -> str:
    return str(target.map_path(word)) if word.startswith("/") and not target.execute else word


def _http_address(probe: HttpProbe, target: Target) -> tuple[str, int]:
    return target.address[probe.port] if probe.port else next(iter(target.address.values()))


def _http(probe: HttpProbe, target: Target) -> Patient:
    host, port = _http_address(probe, target)

    def ask() -> str:
        if silence := target.silence(host, port):
            return silence
        answer = http.ask(host, port, probe.path)
        if answer.problem:
            return f"{host}:{port}{probe.path}: {_in_words(answer.problem)}"
        if answer.status not in probe.status:
            needed = " or ".join(map(str, probe.status))
            return f"{probe.path}: status {answer.status}, {needed} was needed: {mask(answer.text)[:BODY_SHOWN]!r}"
        try:
            mismatch = http.json_mismatch(answer.json(), probe.json_) if probe.json_ else ""
        except ValueError:
            return f"{probe.path}: the answer is no JSON: {mask(answer.text)[:BODY_SHOWN]!r}"
        if not mismatch:
            target.refuse_stranger(host, port)
        return mismatch

    # A JSON predicate proves use; a bare status may come from a server that is only half up.
    number = next(number for number, at in target.address.items() if at == (host, port))
    return Patient(f"http {probe.path}", ask, needed=1 if probe.json_ else 2, port=number)


def _search_address(probe: SearchProbe, target: Target) -> tuple[int, tuple[str, int]]:
    """Return the port that a probe of a search engine asks, and where that is."""
    number = probe.port or (target.login.port if target.login else next(iter(target.address)))
    return number, target.address[number]


def _search(probe: SearchProbe, target: Target) -> Patient:
    number, (host, port) = _search_address(probe, target)
    engine = PlainSearch(host, port, timeout=EXEC_BUDGET)

    def ask() -> str:
        if silence := target.silence(host, port) or _refused(host, port):
            return silence
        target.refuse_stranger(host, port)
        try:
            return engine.unmet(probe.status, probe.indices)
        except SearchRefusal as refusal:
            return refusal.summary

    return Patient("search", ask, port=number)


def _in_words(problem: str) -> str:
    """Return why there was no HTTP answer, without the names that Python has for it."""
    kind, _, rest = problem.partition(": ")
    if kind == "BadStatusLine":
        return "it speaks TLS, not plain HTTP" if rest.startswith(_TLS) else f"it does not speak HTTP: {rest}"
    if kind == "RemoteDisconnected":
        return "it closed the connection and answered nothing"
    return re.sub(r"^\w+: \[Errno -?\d+\] ", "", problem)


def _of_store(name: str, target: Target, ask: Callable[[Store], str]) -> Patient:
    """Return a probe of a database or store, which is asked when something listens at its port."""
    login = target.login
    assert login is not None  # a probe of this kind makes its service a store
    host, port = target.address[login.port]
    store = Store(target.service, login, host, port)

    def ask_store() -> str:
        if refused := target.silence(host, port) or _refused(host, port):
            return refused
        target.refuse_stranger(host, port)
        return ask(store)

    return Patient(name, ask_store, port=login.port)


def _refused(host: str, port: int) -> str:
    """Return why nobody can be connected to, "" when somebody can: a library takes longer to notice."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_BUDGET):
            return ""
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"


def _sql(query: str, store: Store) -> str:
    """Return "" when a query succeeds and does not answer no."""
    try:
        library = postgres()
    except HarnessError as error:  # it will not come while we wait
        raise Hopeless(f"{error.summary}: {error.hint}") from error
    try:
        with library.open_store(store, timeout=EXEC_BUDGET) as connection:
            answer = library.first_value(connection, query)
    except library.SqlFailure as failure:
        if failure.code in library.FOR_GOOD:
            raise Hopeless(failure.summary) from failure
        return str(failure.summary)
    return "" if answer else f"{query!r} gave no row whose first value is true, or any other but null and false"


def _redis(store: Store) -> str:
    """Return "" when a server answers PING."""
    try:
        with PlainRedis(store.host, store.port, store.login.password, timeout=EXEC_BUDGET) as redis:
            answer = redis.ask("PING")
    except Refusal as refusal:
        if refusal.code in ("NOAUTH", "WRONGPASS"):
            raise Hopeless(f"{refusal.summary} (its command says which password: --requirepass)") from refusal
        return refusal.summary
    except OSError as error:
        return f"{store.host}:{store.port}: {error.strerror or error}"
    return "" if answer == "PONG" else f"PING was answered with {answer!r}"


def _tcp(host: str, port: int, target: Target) -> str:
    if silence := target.silence(host, port):
        return silence
    try:
        with socket.create_connection((host, port), timeout=CONNECT_BUDGET) as connection:
            connection.settimeout(STILL_OPEN)
            try:
                closed = connection.recv(1) == b""
            except TimeoutError:
                closed = False
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"
    if closed:
        return f"{host}:{port} accepted and closed at once"
    if refuted := target.refuted(host, port):  # a busy proxy is slow to close
        return refuted
    target.refuse_stranger(host, port)
    return ""


def _file(path: str, target: Target) -> str:
    exists = target.exists(path) if target.exists else target.map_path(path).exists()
    return "" if exists else f"{path} does not exist"


def _exec(argv: tuple[str, ...], target: Target, budget: float, given_up: threading.Event) -> str:
    try:
        if target.execute:
            done = target.execute(argv, budget)
        else:
            done = procs.run(argv, timeout=budget, env=target.env, cwd=target.cwd, given_up=given_up)
    except HarnessError as error:
        problem = error.summary
    except OSError as error:
        problem = f"{error.filename or argv[0]}: {error.strerror}"
    else:
        problem = _outcome(argv, done, budget)
    if missing_for_good(" ".join(argv), problem):
        raise Hopeless(problem)
    return problem


def _outcome(argv: tuple[str, ...], done: procs.Finished, budget: float) -> str:
    """Return "" for a command that succeeded, else how it ended and the last line that it wrote."""
    if done.code == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"{argv[0]}: {done.ending(budget)}" + (f": {lines[-1]}" if lines else "")


def _healthy(target: Target) -> Asker:
    if target.healthy:
        return Patient("healthy", target.healthy)  # it runs a command, perhaps
    return HealthAsker(target) if target.health else Simple("healthy", lambda: "no embedded.healthcheck is declared")


class HealthAsker:
    """The healthcheck of a process, asked as Compose does it: so often, for so long, failing so often in a row.

    Its first check comes at once. Where its file says no ``interval`` it is asked as any other probe, and without
    ``retries`` it is never given up.
    """

    name = "healthy"
    needed = 1
    port: int | None = None

    def __init__(self, target: Target) -> None:
        self._target = target
        self._check = target.check or HealthCheck(test=target.health)
        self._given_up = threading.Event()
        self._start = clock.now()
        self._next = 0.0
        self._failures = 0
        self._said = ""

    def ask(self) -> str:
        """Run the check when it is due, else tell what came of the last one.

        Raises:
            Hopeless: it can never succeed; or it failed for good, and a service waits for this one to be healthy.
        """
        if clock.now() < self._next:
            return self._said
        begun = clock.now() - self._start
        problem = _exec(self._target.health, self._target, self._check.timeout, self._given_up)
        self._next = clock.now() + self._interval(begun)
        self._said = self._count(problem, begun) if problem else ""
        return self._said

    def _interval(self, begun: float) -> float:
        check = self._check
        starting = begun < (check.start_period or 0.0)
        return (check.start_interval if starting else None) or check.interval or 0.0

    def _count(self, problem: str, begun: float) -> str:
        check = self._check
        # Compose's first check comes an interval after the start: what failed before that does not count.
        if begun >= (check.start_period or 0.0) and begun >= (check.interval or 0.0):
            self._failures += 1
        if check.retries is None or self._failures < check.retries:
            return problem
        problem = f"unhealthy, {self._failures} checks in a row failed: {problem}"
        if self._target.is_awaited:
            raise Hopeless(problem)
        return problem

    def cancel(self) -> None:
        """End a check that is under way."""
        self._given_up.set()

    def close(self) -> None:
        """End a check that is under way."""
        self._given_up.set()


def _python(reference: str, target: Target) -> str:
    module, _, name = reference.partition(":")
    try:
        answer: Any = getattr(import_module(module), name)(target)
    except _MISTAKES as error:
        raise BrokenStack(
            f"Probe python {reference} of service {target.service!r} cannot be asked: {type(error).__name__}: {error}",
            service=target.service,
        ) from error
    # A check may raise whatever it likes to say "not yet"; it is not asked whether this process shall end.
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001
        return f"{reference} raised {type(error).__name__}: {error}"
    if answer is True or answer is None or answer == "":
        return ""
    return str(answer) if answer else f"{reference} returned {answer!r}"


class KafkaAsker:
    """A broker is usable: topics with leaders, a coordinator, one round trip on a topic of ours; or a message came."""

    needed = 1
    port: int | None = None  # its broker may be another service

    def __init__(self, probe: KafkaProbe, bootstrap: str, target: Target) -> None:
        self._probe = probe
        self._target = target
        self._bootstrap = bootstrap
        self._kafka: Kafka | None = None
        self._round_trip_done = False
        self._failures = 0
        self._slice = KAFKA_SLICE
        self._sent_to = ""  # what was seen when a client was sent elsewhere
        self._consumer: KafkaConsumer | None = None
        self._asking = threading.Lock()
        self._closed = False
        self.name = "kafka"
        self._before: dict[int, int] = {}
        if probe.message:
            self.name = f"kafka message on {probe.message.topic}"
            self._before = self._ends(probe.message.topic)

    def _client(self) -> Kafka:
        if self._kafka is None:
            self._kafka = quiet_kafka(self._bootstrap, timeout=5)
        return self._kafka

    def _ends(self, topic: str) -> dict[int, int]:
        """Return the offsets after the last messages now, nothing when the topic or the broker is not there."""
        if _no_broker(self._bootstrap):
            return {}
        kafka = self._client()
        if topic not in kafka.topics():
            return {}
        with kafka.consumer(topic) as consumer:
            return {number: consumer.watermarks(topic, number)[1] for number in range(kafka.topics()[topic])}

    def ask(self) -> str:
        """Ask the broker; what it refuses is the reason why not yet."""
        with self._asking:
            answer = self._ask()
        if self._closed:
            self.close()
        return answer

    def _ask(self) -> str:
        host, _, port = self._bootstrap.rpartition(":")
        # A plain connect first: a Kafka client that comes too early takes longer to notice the broker than this does.
        refused = self._target.silence(host, int(port)) or _no_broker(self._bootstrap)
        if refused:
            return refused
        self._target.refuse_stranger(host, int(port))
        try:
            return self._ask_message() if self._probe.message else self._ask_broker()
        except HarnessError as error:
            return error.summary

    def _ask_broker(self) -> str:
        kafka = self._client()
        try:
            missing = missing_leaders(kafka, self._probe.topics, self._slice)
        except HarnessError as error:
            self._sent_to = self._elsewhere(kafka) or self._sent_to
            self._begin_again()
            return self._sent_to or error.summary
        if missing:
            return missing
        if self._round_trip_done:
            return ""
        try:
            refused = "" if kafka.committed_reachable(self._slice) else "no group coordinator answers"
            if not refused:
                self._round_trip(kafka)
        except HarnessError as error:
            refused = error.summary
        self._round_trip_done = not refused
        self._sent_to = self._elsewhere(kafka) if refused else ""
        return self._sent_to or refused

    def _round_trip(self, kafka: Kafka) -> None:
        """Send a message and read it back. Raises HarnessError."""
        nonce = uuid.uuid4().hex
        topic = f"harness-probe-{nonce}"
        kafka.create_topics({topic: 1})
        try:
            kafka.send(topic, nonce)
            with kafka.consumer(topic, start="start") as consumer:
                consumer.wait_for(lambda message: message.value == nonce.encode(), 2.0, what="probe message")
        finally:
            kafka.delete_topics(topic)

    def _begin_again(self) -> None:
        """Ask by a new client after some failures: one that was sent to an address without a broker stays there.

        Each gets more time for an answer than the one before: a busy broker must be heard some time.
        """
        self._failures += 1
        if self._failures % FAILURES_OF_A_CLIENT == 0 and self._kafka:
            self._kafka.close()
            self._kafka = None
            self._slice = min(2 * self._slice, LONGEST_KAFKA_SLICE)

    def _elsewhere(self, kafka: Kafka) -> str:
        """Return where brokers say that they are and cannot be reached, "" when they can be."""
        for host, port in kafka.advertised:
            written = f"{host}:{port}"
            if written != self._bootstrap and (refused := _unreachable(host, port)):
                return f"the broker advertises {written} ({refused}), {self._bootstrap} was needed"
        return ""

    def _ask_message(self) -> str:
        wanted = self._probe.message
        if wanted is None:
            return ""
        kafka = self._client()
        if self._consumer is None:
            partitions = kafka.topics(self._slice).get(wanted.topic)
            if not partitions:
                return f"topic {wanted.topic!r} does not exist"
            self._consumer = kafka.consumer(wanted.topic, start="start")
            self._consumer.assign({(wanted.topic, n): self._before.get(n, 0) for n in range(partitions)})
        last = "none came"
        message = self._consumer.poll(0.05)
        while message:
            if not wanted.schema_ or message.schema == wanted.schema_:
                return ""
            last = f"last was {message}"
            message = self._consumer.poll(0)
        schema = f" with schema {wanted.schema_}" if wanted.schema_ else ""
        return f"no message{schema} on {wanted.topic!r}: {last}"

    def cancel(self) -> None:
        """Do nothing: each question to a broker has a bound of its own."""

    def close(self) -> None:
        """Leave the broker; when it is being asked, as soon as that has ended."""
        self._closed = True
        if self._asking.acquire(blocking=False):
            try:
                if self._kafka is not None:
                    self._kafka.close()
                    self._kafka = None
            finally:
                self._asking.release()


def _unreachable(host: str, port: int) -> str:
    """Return why an advertised address cannot be reached, "" when it can.

    A name is looked up by nobody, which may take long: a client of a stack knows localhost, and else needs a number.
    """
    try:
        number = "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError:
        return "no such host here"
    try:
        with socket.create_connection((number, port), timeout=1):
            return ""
    except OSError as error:
        return str(error.strerror or error)


def _no_broker(bootstrap: str) -> str:
    """Return "" when something at ``bootstrap`` speaks the Kafka protocol, else what it did instead.

    A connect alone would not tell: the proxy of a published port accepts before the broker listens. The request is
    ApiVersions, version 0, which a broker answers before anything else ("Protocol" in the Apache Kafka documentation).
    """
    host, _, port = bootstrap.rpartition(":")
    request = struct.pack(">hhih", 18, 0, 1, 0)  # ApiVersions, version 0, correlation id 1, empty client id
    try:
        with socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.settimeout(1)
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = connection.recv(8)
    except OSError as error:
        return f"broker {bootstrap}: {error.strerror or error}"
    return "" if answer[4:8] == request[4:8] else f"broker {bootstrap}: it accepted and does not answer as a broker"
