"""The tests, as each role takes part in them."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e3x import events
from e3x.endpoint import Endpoint, LateError, Link

if TYPE_CHECKING:
    from e3x.channels import Channel
    from e3x.packets import Packet

COUNT, WINDOW = 100, 20
ENOUGH = 90
FOREVER = 3600.0


class Failed(Exception):
    """A test has failed, with what was seen."""


def _address(role: str) -> str:
    peers = dict(peer.split("=", 1) for peer in os.environ.get("INTEROP_PEERS", "").split())
    try:
        return socket.gethostbyname(peers.get(role, role))
    except OSError:
        return "0.0.0.0"  # noqa: S104 - a network that knows no roles: the machine is all that there is


def _file(role: str) -> Path:
    return Path(os.environ.get("INTEROP_SHARED", "/shared")) / f"id_{role}.json"


def _publish(role: str, value: dict[str, Any]) -> None:
    """Write a file whole or not at all: the other may be reading."""
    new = _file(role).with_suffix(".new")
    new.write_text(json.dumps(value))
    new.replace(_file(role))


def body(number: int) -> bytes:
    """Return what packet ``number`` carries."""
    seed = os.environ.get("INTEROP_SEED") or "0"
    return f"{number}:{sha256(f'{seed}:{number}'.encode()).hexdigest() * (number % 8 + 1)}".encode()


class Order:
    """A digest of bodies in their order."""

    def __init__(self) -> None:
        self._hash = sha256()

    def add(self, data: bytes) -> None:
        self._hash.update(data + b"\n")

    def value(self) -> str:
        return self._hash.hexdigest()


class Arrivals:
    """What came on an unreliable channel."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self._wrong = ""

    def add(self, data: bytes) -> None:
        text = data.partition(b":")[0]
        number = int(text) if text.isdigit() else 0
        if not 1 <= number <= COUNT or data != body(number):
            self._wrong = self._wrong or f"a body is not as it was sent: {data[:12]!r}..."
        elif number in self.numbers:
            self._wrong = self._wrong or f"packet {number} came twice"
        else:
            self.numbers.add(number)

    def check(self) -> None:
        """Say whether that is enough. Raises Failed where it is not."""
        why = self._wrong or f"{len(self.numbers)} of {COUNT} came"
        ok = not self._wrong and len(self.numbers) >= ENOUGH
        events.check("unreliable", ok=ok, why=why)
        if not ok:
            raise Failed(why)


def _now() -> float:
    return time.monotonic()


def accepting() -> Endpoint:
    """Start a worker's endpoint that takes any link and says whose the first is."""
    endpoint = Endpoint(_address("worker"))
    told: list[Link] = []

    def tell(link: Link) -> None:
        if not told:
            events.tell("link.worker", endpoint.hashname)
            events.tell("link.driver", link.hashname)
        told.append(link)

    endpoint.on_link = tell
    _publish("worker", {"hashname": endpoint.hashname, "keys": endpoint.keys, "paths": endpoint.paths})
    return endpoint


def serve(endpoint: Endpoint) -> None:
    """Be a worker until it is ended."""
    events.send("ready")
    endpoint.go_on(FOREVER)


def linked() -> tuple[Endpoint, Link]:
    """Start a driver's endpoint and link it to the worker's."""
    endpoint = Endpoint(_address("driver"))
    _publish("driver", {"hashname": endpoint.hashname, "keys": endpoint.keys})
    events.send("ready")
    worker = json.loads(_file("worker").read_text())
    try:
        link = endpoint.link(worker["keys"], worker["paths"])
    except ValueError as error:
        raise Failed(str(error)) from error
    _until(endpoint, lambda: link.up, 10, "the link")
    return endpoint, link


def _until(endpoint: Endpoint, holds: Callable[[], bool], seconds: float, what: str) -> None:
    try:
        endpoint.until(holds, seconds, what)
    except LateError as error:
        raise Failed(str(error)) from error


def _close(endpoint: Endpoint, link: Link) -> None:
    link.close()
    events.tell("link.worker", link.hashname)
    events.tell("link.driver", endpoint.hashname)


# ---- tests


def sanity(role: str) -> None:
    """Start and say which seed was given; a worker then waits for its end."""
    endpoint = Endpoint(_address(role))
    events.tell("seed", os.environ.get("INTEROP_SEED") or None)
    if role == "worker":
        serve(endpoint)
    events.send("ready")


def net_link_worker() -> None:
    """Answer questions and end the channel that says that the link will be closed."""
    endpoint = accepting()

    def close(_link: Link, channel: Channel) -> None:
        channel.on_packet = lambda _packet: channel.send(now=_now(), end=True)

    endpoint.serves["interop-close"] = close
    serve(endpoint)


def net_link_driver() -> None:
    """Ask ten times, then close."""
    endpoint, link = linked()
    for number in range(1, 11):
        answers: list[Packet] = []
        question = link.open("path", paths=endpoint.paths)
        question.on_packet = answers.append
        _until(endpoint, lambda: bool(answers), 2, f"question {number}")  # noqa: B023 - it is done with in this turn
        if question.error:
            raise Failed(f"question {number}: {question.error}")
        endpoint.go_on(0.1)
    channel = link.open("interop-close")
    _until(endpoint, lambda: channel.ended, 2, "the end of the channel")
    _close(endpoint, link)


def reliable_worker() -> None:
    """Echo what comes, in its order."""
    endpoint = accepting()

    def echo(_link: Link, channel: Channel) -> None:
        there, back = Order(), Order()
        bodies: list[bytes] = []

        def take(packet: Packet) -> None:
            if packet.body:
                bodies.append(packet.body)
                there.add(packet.body)
                back.add(packet.body)
                channel.send(packet.body, now=_now())
            if channel.ended:
                wrong = next((n for n, found in enumerate(bodies, 1) if found != body(n)), 0)
                why = f"packet {wrong} is {bodies[wrong - 1][:12]!r}..." if wrong else f"{len(bodies)} of {COUNT} came"
                events.check("reliable", ok=not wrong and len(bodies) == COUNT, why=why)
                events.tell("reliable.there", there.value())
                events.tell("reliable.back", back.value())
                channel.send(now=_now(), end=True)

        channel.on_packet = take

    endpoint.serves["interop-reliable"] = echo
    serve(endpoint)


def reliable_driver() -> None:
    """Send and count what is echoed."""
    endpoint, link = linked()
    there, back = Order(), Order()
    echoes: list[bytes] = []

    def take(packet: Packet) -> None:
        if packet.body:
            echoes.append(packet.body)
            back.add(packet.body)

    there.add(body(1))
    channel = link.open("interop-reliable", body(1), reliable=True)
    channel.on_packet = take
    sent = seen = 1
    while len(echoes) < COUNT:
        while sent < COUNT and sent - len(echoes) < WINDOW:
            sent += 1
            there.add(body(sent))
            channel.send(body(sent), now=_now())
        seen = len(echoes)
        _until(endpoint, lambda: len(echoes) > seen or bool(channel.error), 10, f"echo {seen + 1}")  # noqa: B023 - it is done with in this turn
        if channel.error:
            raise Failed(f"the channel failed after {seen} echoes: {channel.error}")
        for number in range(seen, len(echoes)):
            if echoes[number] != body(number + 1):
                raise Failed(f"echo {number + 1} is {echoes[number][:12]!r}...")
    channel.send(now=_now(), end=True)
    _until(endpoint, lambda: channel.ended, 10, "the end of the channel")
    events.tell("reliable.there", there.value())
    events.tell("reliable.back", back.value())
    _close(endpoint, link)


def unreliable_worker() -> None:
    """Echo what comes."""
    endpoint = accepting()

    def echo(_link: Link, channel: Channel) -> None:
        came = Arrivals()

        def take(packet: Packet) -> None:
            if packet.body:
                came.add(packet.body)
                channel.send(packet.body, now=_now())
            if channel.ended:
                came.check()
                channel.send(now=_now(), end=True)

        channel.on_packet = take

    endpoint.serves["interop-unreliable"] = echo
    serve(endpoint)


class Echoes:
    """What comes back on an unreliable channel."""

    def __init__(self, endpoint: Endpoint, link: Link) -> None:
        self.came = Arrivals()
        self.packets = 0
        self._endpoint = endpoint
        self.channel = link.open("interop-unreliable", body(1))
        self.channel.on_packet = self._take

    def _take(self, packet: Packet) -> None:
        self.packets += 1
        if packet.body:
            self.came.add(packet.body)

    @property
    def count(self) -> int:
        return len(self.came.numbers)

    def another(self, seconds: float) -> bool:
        """Wait for the next packet; return whether it came in time."""
        known = self.packets
        try:
            self._endpoint.until(lambda: self.packets > known, seconds, "")
        except LateError:
            return False
        return True

    def send_all(self) -> None:
        """Send what the test asks for, and wait for the echoes."""
        sent, lost = 1, 0
        while sent < COUNT:
            while sent < COUNT and sent - lost - self.count < WINDOW:
                sent += 1
                self.channel.send(body(sent), now=_now())
            if sent < COUNT and not self.another(0.2):
                lost = sent - self.count
        while self.count < COUNT and self.another(1):
            pass

    def end(self) -> bool:
        """End the channel; return whether the other side has ended it too."""
        for _ in range(5):
            self.channel.send(now=_now(), end=True)
            if self.another(0.2) and self.channel.ended:
                return True
        return self.channel.ended


def unreliable_driver() -> None:
    """Send, and count what comes back."""
    endpoint, link = linked()
    echoes = Echoes(endpoint, link)
    echoes.send_all()
    ended = echoes.end()
    echoes.came.check()
    if not ended:
        raise Failed("the channel was not ended by the worker")
    _close(endpoint, link)


ROLES: dict[tuple[str, str], Callable[[], None]] = {
    ("sanity", "worker"): lambda: sanity("worker"),
    ("sanity", "driver"): lambda: sanity("driver"),
    ("net-link", "worker"): net_link_worker,
    ("net-link", "driver"): net_link_driver,
    ("channel-reliable", "worker"): reliable_worker,
    ("channel-reliable", "driver"): reliable_driver,
    ("channel-unreliable", "worker"): unreliable_worker,
    ("channel-unreliable", "driver"): unreliable_driver,
}
