"""Probes: each answers "" when its condition holds, else the reason why not yet. None waits or retries by itself."""

from __future__ import annotations

import re
import socket
import struct
import uuid
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness import procs
from harness.artifacts import mapped_path, read_on
from harness.errors import BrokenStack, HarnessError
from harness.helpers import http

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.stack import HttpProbe, KafkaProbe, Probe

STILL_OPEN = 0.02  # a proxy accepts for a service that does not listen yet, and closes at once
KAFKA_SLICE = 0.25
EXEC_BUDGET = 5.0
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
        health: command that tells its health.
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
    health: tuple[str, ...] = ()
    execute: Callable[[tuple[str, ...], float], procs.Finished] | None = None
    exists: Callable[[str], bool] | None = None
    healthy: Callable[[], str] | None = None

    def map_path(self, path: str) -> Path:
        """Return a container path as a path here; one that is not mounted stays."""
        return Path(mapped_path(path, self.mounts) or path)


class Asker(Protocol):
    """A probe that is under way.

    Attributes:
        name: what the probe is, for errors and logs.
        needed: how many successes in a row make it hold.
    """

    name: str
    needed: int

    def ask(self) -> str:
        """Return "" when the condition holds now, else why not."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass
class Simple:
    """A probe without a state of its own."""

    name: str
    ask_once: Callable[[], str]
    needed: int = 1

    def ask(self) -> str:
        """Ask once."""
        return self.ask_once()

    def close(self) -> None:
        """Hold nothing."""


@dataclass
class LogAsker:
    """A probe for a line of a service's log: it reads on from where it stood, so that no line is missed."""

    name: str
    pattern: str
    target: Target
    needed: int = 1
    _at: int = 0

    def ask(self) -> str:
        """Look through what has come, or so much of it that the wait is not held up."""
        for _ in range(LOG_PARTS):
            begin = max(self.target.log_start, self._at - LOG_AGAIN)
            data, end = read_on(self.target.log, begin, LOG_AT_ONCE)
            if begin > self.target.log_start:  # the first line of it may be a part of one
                data = data[data.find(b"\n", 0, LOG_AGAIN) + 1 :]
            if re.search(self.pattern, data.decode(errors="replace"), re.MULTILINE):
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
    if probe.http:
        return _http(probe.http, target)
    if probe.tcp:
        return Simple(f"tcp {probe.tcp} (listening)", lambda: _tcp(*target.address[probe.tcp or 0]), needed=2)
    if probe.kafka:
        return KafkaAsker(probe.kafka, target.brokers[index])
    if probe.log is not None:
        return LogAsker(f"log {probe.log!r}", probe.log, target)
    if probe.file is not None:
        return Simple(f"file {probe.file}", lambda: _file(probe.file or "", target))
    if probe.python is not None:
        return Simple(f"python {probe.python}", lambda: _python(probe.python or "", target))
    if kind == "exec":
        argv = tuple(_local(word, target) for word in probe.exec or ())
        return Simple(f"exec {' '.join(probe.exec or ())}", lambda: _exec(argv, target))
    return Simple("healthy", lambda: _healthy(target))


def start_check(probe: Probe, index: int, target: Target) -> Asker | None:
    """Return what tells whether a service that was ready answers still, whatever it answers; nothing is made for it.

    None for a probe that looks at what has been (a line, a file, a message), or that another service answers.
    """
    if probe.log is not None or probe.file is not None:
        return None
    if probe.http:
        host, port = _http_address(probe.http, target)
        path = probe.http.path
        return Simple(f"http {path}", lambda: http.ask(host, port, path).problem)
    if probe.kafka:
        broker = target.brokers[index]
        own = broker in {f"{host}:{port}" for host, port in target.address.values()}
        return Simple("kafka", lambda: _no_broker(broker)) if own else None
    return start_probe(probe, index, target)


def _local(word: str, target: Target) -> str:
    return str(target.map_path(word)) if word.startswith("/") and not target.execute else word


def _http_address(probe: HttpProbe, target: Target) -> tuple[str, int]:
    return target.address[probe.port] if probe.port else next(iter(target.address.values()))


def _http(probe: HttpProbe, target: Target) -> Simple:
    host, port = _http_address(probe, target)

    def ask() -> str:
        answer = http.ask(host, port, probe.path)
        if answer.status not in probe.status:
            return f"{probe.path}: {answer}"
        if not probe.json_:
            return ""
        try:
            return http.json_mismatch(answer.json(), probe.json_)
        except ValueError:
            return f"{probe.path}: the answer is no JSON: {answer}"

    # A JSON predicate proves use; a bare status may come from a server that is only half up.
    return Simple(f"http {probe.path}", ask, needed=1 if probe.json_ else 2)


def _tcp(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.settimeout(STILL_OPEN)
            try:
                closed = connection.recv(1) == b""
            except TimeoutError:
                closed = False
            return f"{host}:{port} accepted and closed at once" if closed else ""
    except OSError as error:
        return f"{host}:{port}: {error.strerror or error}"


def _file(path: str, target: Target) -> str:
    found = target.exists(path) if target.exists else target.map_path(path).exists()
    return "" if found else f"{path} does not exist"


def _exec(argv: tuple[str, ...], target: Target) -> str:
    try:
        if target.execute:
            done = target.execute(argv, EXEC_BUDGET)
        else:
            done = procs.run(argv, timeout=EXEC_BUDGET, env=target.env, cwd=target.cwd)
    except HarnessError as error:
        return error.summary
    except OSError as error:
        return f"{error.filename or argv[0]}: {error.strerror}"
    if done.code == 0:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    what = f"no end in {EXEC_BUDGET:g} s" if done.code is None else procs.describe_exit(done.code)
    return f"{argv[0]}: {what}" + (f": {said[-1]}" if said else "")


def _healthy(target: Target) -> str:
    if target.healthy:
        return target.healthy()
    return _exec(target.health, target) if target.health else "no embedded.healthcheck is declared"


def _python(reference: str, target: Target) -> str:
    module, _, name = reference.partition(":")
    try:
        answer: Any = getattr(import_module(module), name)(target)
    except _MISTAKES as error:
        raise BrokenStack(
            f"Probe python {reference} of service {target.service!r} cannot be asked: {type(error).__name__}: {error}",
            service=target.service,
        ) from error
    except Exception as error:  # noqa: BLE001 - a check may raise whatever it likes to say "not yet"; it is passed on
        return f"{reference} raised {type(error).__name__}: {error}"
    if answer is True or answer is None or answer == "":
        return ""
    return str(answer) if answer else f"{reference} returned {answer!r}"


class KafkaAsker:
    """A broker is usable: topics with leaders, a coordinator, one round trip on a topic of ours; or a message came."""

    needed = 1

    def __init__(self, probe: KafkaProbe, bootstrap: str) -> None:
        self._probe = probe
        self._bootstrap = bootstrap
        self._kafka: Any = None
        self._round_trip_done = False
        self._consumer: Any = None
        self.name = "kafka"
        self._before: dict[int, int] = {}
        if probe.message:
            self.name = f"kafka message on {probe.message.topic}"
            self._before = self._ends(probe.message.topic)

    def _client(self) -> Any:  # noqa: ANN401 - loaded late
        if self._kafka is None:
            from harness.helpers.kafka import Kafka  # noqa: PLC0415 - only stacks with Kafka load it

            self._kafka = Kafka(self._bootstrap, timeout=5, evidence=False)
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
        # A plain connect first: a Kafka client that comes too early takes longer to notice the broker than this does.
        refused = _no_broker(self._bootstrap)
        if refused:
            return refused
        try:
            return self._ask_message() if self._probe.message else self._ask_broker()
        except HarnessError as error:
            return error.summary

    def _ask_broker(self) -> str:
        from harness.helpers.kafka import missing_leaders  # noqa: PLC0415

        kafka = self._client()
        missing = missing_leaders(kafka.leaders(KAFKA_SLICE), self._probe.topics)
        if missing:
            return missing
        if not self._round_trip_done:
            if not kafka.committed_reachable(KAFKA_SLICE):
                return "no group coordinator answers"
            nonce = uuid.uuid4().hex
            topic = f"harness-probe-{nonce}"
            kafka.create_topics({topic: 1})
            try:
                kafka.send(topic, nonce)
                with kafka.consumer(topic, start="start") as consumer:
                    consumer.wait_for(lambda message: message.value == nonce.encode(), 2.0, what="probe message")
            finally:
                kafka.delete_topics(topic)
            self._round_trip_done = True
        return ""

    def _ask_message(self) -> str:
        wanted = self._probe.message
        if wanted is None:
            return ""
        kafka = self._client()
        if self._consumer is None:
            partitions = kafka.topics(KAFKA_SLICE).get(wanted.topic)
            if not partitions:
                return f"topic {wanted.topic!r} does not exist"
            self._consumer = kafka.consumer(wanted.topic, start="start")
            self._consumer.assign({(wanted.topic, n): self._before.get(n, 0) for n in range(partitions)})
        seen = "none came"
        message = self._consumer.poll(0.05)
        while message:
            if not wanted.schema_ or message.schema == wanted.schema_:
                return ""
            seen = f"last was {message}"
            message = self._consumer.poll(0)
        what = f" with schema {wanted.schema_}" if wanted.schema_ else ""
        return f"no message{what} on {wanted.topic!r}: {seen}"

    def close(self) -> None:
        """Leave the broker."""
        if self._kafka is not None:
            self._kafka.close()


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
