"""Channels: what one link carries side by side. They know no socket and no clock: time is told to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from e3x.packets import Packet

WINDOW = 50  # packets that an implementation keeps for a receiver, at most
AGAIN = 0.5  # seconds without a sign that a packet has come, after which it is sent again
GIVE_UP = 10.0


class Channel:
    """An unreliable channel: each packet is sent once and taken as it comes.

    Attributes:
        id: the number that both sides know it by.
        on_packet: called with each packet, in order.
        error: why it has failed, "" while it has not.
        ended: whether the other side has ended it.
    """

    reliable = False
    trace = 0  # its number in events

    def __init__(self, number: int, kind: str, write: Callable[[dict[str, Any], bytes], None]) -> None:
        self.id = number
        self.kind = kind
        self.on_packet: Callable[[Packet], None] = lambda _packet: None
        self.error = ""
        self.ended = False
        self._write = write

    def send(self, body: bytes = b"", *, now: float, **head: Any) -> None:
        """Send a packet."""
        del now
        self._write({"c": self.id, **head}, body)

    def receive(self, packet: Packet, *, now: float) -> str:
        """Take a packet from the wire; return why it was dropped, "" when it was not."""
        del now
        return self._deliver(packet)

    def tick(self, *, now: float) -> None:
        """Do what time demands."""

    def _deliver(self, packet: Packet) -> str:
        if self.ended or self.error:
            return self.error or "the channel is ended"
        self.error = str(packet.json.get("err") or "")
        self.ended = packet.json.get("end") is True
        self.on_packet(packet)
        return ""


@dataclass
class Sent:
    """A packet whose arrival is not known yet."""

    head: dict[str, Any]
    body: bytes
    first: float
    last: float
    wait: float = AGAIN


class ReliableChannel(Channel):
    """A channel that keeps every packet, in order."""

    reliable = True

    def __init__(self, number: int, kind: str, write: Callable[[dict[str, Any], bytes], None]) -> None:
        super().__init__(number, kind, write)
        self._next = 1
        self._waiting: deque[tuple[dict[str, Any], bytes]] = deque()
        self._sent: dict[int, Sent] = {}
        self._done = 0  # of theirs, the last one that was delivered
        self._early: dict[int, Packet] = {}
        self._ack_due = False

    @property
    def settled(self) -> bool:
        """Whether all that was sent has come."""
        return not self._sent and not self._waiting

    def send(self, body: bytes = b"", *, now: float, **head: Any) -> None:
        self._waiting.append((head, body))
        self._more(now)

    def _more(self, now: float) -> None:
        while self._waiting and len(self._sent) < WINDOW:
            head, body = self._waiting.popleft()
            self._sent[self._next] = Sent({**head, "seq": self._next}, body, now, now)
            self._put(self._sent[self._next])
            self._next += 1

    def _put(self, sent: Sent) -> None:
        self._write({"c": self.id, **sent.head, **self._acknowledgement()}, sent.body)

    def _acknowledgement(self) -> dict[str, Any]:
        self._ack_due = False
        told: dict[str, Any] = {"ack": self._done} if self._done or self._early else {}
        if self._early:
            last, missed = self._done, []
            for number in range(self._done + 1, max(self._early)):
                if number not in self._early:
                    missed.append(number - last)
                    last = number
            told["miss"] = [*missed, self._done + WINDOW - last]
        return told

    def receive(self, packet: Packet, *, now: float) -> str:
        if packet.json.get("err"):
            self._sent.clear()
            return self._deliver(packet)
        self._acknowledged(packet.json, now)
        number = packet.json.get("seq")
        if not isinstance(number, int) or number < 1:
            return ""  # it was no more than an acknowledgement
        self._ack_due = True
        if number <= self._done or number in self._early:
            return "it came before"
        if number > self._done + WINDOW:
            return "it is too far ahead"
        self._early[number] = packet
        return self._catch_up()

    def _catch_up(self) -> str:
        why = ""
        while self._done + 1 in self._early:
            self._done += 1
            why = self._deliver(self._early.pop(self._done))
        return why

    def _acknowledged(self, head: dict[str, Any], now: float) -> None:
        upto, missed = head.get("ack"), head.get("miss")
        if not isinstance(upto, int):
            return
        for number in [number for number in self._sent if number <= upto]:
            del self._sent[number]
        last = upto
        for step in missed if isinstance(missed, list) else []:
            last += step
            sent = self._sent.get(last)
            if sent and now - sent.last > AGAIN / 5:
                sent.last = now
                self._put(sent)
        self._more(now)

    def tick(self, *, now: float) -> None:
        for sent in list(self._sent.values()):
            if now - sent.first > GIVE_UP:
                self._sent.clear()
                self._deliver(Packet(json={"err": "timeout"}))
                return
            if now - sent.last > sent.wait:
                sent.last, sent.wait = now, sent.wait * 2
                self._put(sent)
        if self._ack_due:
            self._write({"c": self.id, **self._acknowledgement()}, b"")
