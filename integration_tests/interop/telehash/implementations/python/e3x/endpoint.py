"""An endpoint on UDP: its links and their channels, in one thread."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any

from e3x import cs3a, events, hashnames
from e3x.channels import Channel, ReliableChannel
from e3x.exchange import Exchange, Handshake, read_handshake
from e3x.packets import Packet, cloak, decloak
from e3x.salsa import ForgedError

TURN = 0.05  # seconds after which what time demands is looked at
AGAIN = 0.5  # seconds after which a handshake that was not answered is sent again
LARGEST = 65535
KINDS = {False: Channel, True: ReliableChannel}  # whether it is reliable -> what a channel is made of


class LateError(Exception):
    """What was waited for did not happen in time."""


def _shown(packet: Packet) -> dict[str, Any]:
    return {"header": packet.json, "body": packet.body.decode("latin-1")}


class Link:
    """A link to another endpoint.

    Attributes:
        hashname: of the other.
        up: whether a session is there.
    """

    def __init__(self, endpoint: Endpoint, hashname: str, key: bytes, address: tuple[str, int]) -> None:
        self.hashname = hashname
        self.address = address
        self.exchange = Exchange(endpoint.pair, key)
        self.channels: dict[int, Channel] = {}
        self.up = False
        self.asked = 0.0
        self.number = events.number("exchange")
        self._endpoint = endpoint
        events.send("exchange.new", endpoint_id=endpoint.number, exchange_id=self.number)

    def open(self, kind: str, body: bytes = b"", *, reliable: bool = False, **head: Any) -> Channel:
        """Open a channel with its first packet."""
        channel = self.make(self.exchange.next_channel(), kind, reliable=reliable)
        channel.send(body, now=time.monotonic(), type=kind, **head)
        return channel

    def make(self, number: int, kind: str, *, reliable: bool) -> Channel:
        """Make a channel that either side opens."""
        channel_id = events.number("channel")

        def write(head: dict[str, Any], body: bytes) -> None:
            packet = {"header": head, "body": body.decode("latin-1")}
            told = {"channel_id": channel_id, "packet_id": events.number("packet"), "path": "", "packet": packet}
            try:
                self._endpoint.put(self.exchange.shut(head, body), self.address)
            except (OSError, ValueError) as error:
                events.send("channel.write.error", reason=str(error), **told)
            else:
                events.send("channel.write", **told)

        channel = KINDS[reliable](number, kind, write)
        channel.trace = channel_id
        self.channels[number] = channel
        shown = {"type": kind, "reliable": reliable, "cid": number}
        events.send("channel.new", exchange_id=self.number, channel_id=channel_id, channel=shown)
        return channel

    def close(self) -> None:
        """Forget the session."""
        self.up = False
        events.send("exchange.stopped", exchange_id=self.number)


class Endpoint:
    """An endpoint with keys that were just made, bound to an address of its own.

    Attributes:
        serves: type -> called with the link and a channel that the other side opens, before its first packet.
        on_link: called with each link that comes up.
    """

    def __init__(self, address: str) -> None:
        self.pair = cs3a.Pair()
        self.number = events.number("endpoint")
        self.keys = {cs3a.ID: hashnames.encode(self.pair.key)}
        self.hashname = hashnames.of_keys({cs3a.ID: self.pair.key})
        events.send("endpoint.new", endpoint_id=self.number, hashname=self.hashname)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(0)
        host, port = self._socket.getsockname()
        self.paths = [{"type": "udp4", "ip": host, "port": port}]
        self.links: dict[str, Link] = {}
        self.serves: dict[str, Callable[[Link, Channel], None]] = {"path": self._serve_path}
        self.on_link: Callable[[Link], None] = lambda _link: None
        events.send("endpoint.started", endpoint_id=self.number)

    def link(self, keys: dict[str, str], paths: list[dict[str, Any]]) -> Link:
        """Begin to link. Raises ValueError where there is nothing in common."""
        if cs3a.ID not in keys:
            raise ValueError(f"the other has no key of {cs3a.ID}")
        path = next((path for path in paths if path.get("type") == "udp4"), None)
        if path is None:
            raise ValueError("the other has no path of udp4")
        known = {name: hashnames.decode(key) for name, key in keys.items()}
        link = self._linked(hashnames.of_keys(known), known[cs3a.ID], (path["ip"], path["port"]))
        self._ask(link)
        return link

    def put(self, data: bytes, address: tuple[str, int]) -> None:
        """Send a datagram. Raises OSError."""
        self._socket.sendto(cloak(data), address)

    def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Go on until something holds. Raises LateError."""
        deadline = time.monotonic() + seconds
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0:
                raise LateError(f"{what}: not within {seconds:g} s")
            self._turn(min(left, TURN))

    def go_on(self, seconds: float) -> None:
        """Go on for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._turn(min(left, TURN))

    def _turn(self, seconds: float) -> None:
        ready, _, _ = select.select([self._socket], [], [], seconds)
        while ready:
            try:
                data, source = self._socket.recvfrom(LARGEST)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue  # the answer to something that was sent to nobody
            self._receive(data, source)
        now = time.monotonic()
        for link in self.links.values():
            if not link.up and link.asked and now - link.asked > AGAIN:
                link.exchange.renew()
                self._ask(link)
            for channel in list(link.channels.values()):
                channel.tick(now=now)

    def _ask(self, link: Link) -> None:
        link.asked = time.monotonic()
        self.put(link.exchange.handshake(), link.address)

    def _linked(self, hashname: str, key: bytes, address: tuple[str, int]) -> Link:
        if hashname not in self.links:
            self.links[hashname] = Link(self, hashname, key, address)
        return self.links[hashname]

    def _receive(self, data: bytes, source: tuple[str, int]) -> None:
        shown = {"src": f"{source[0]}:{source[1]}", "msg": data.hex()}
        told = {"endpoint_id": self.number, "packet_id": events.number("packet"), "packet": shown}
        packet = decloak(data)
        if packet is None or len(packet.head) > 1:
            events.send("endpoint.drop.packet", reason="it is no packet", **told)
            return
        events.send("endpoint.rcv.packet", **told)
        if packet.head:
            self._take_handshake(packet, source, told)
        else:
            self._take_packet(packet, told)

    def _take_handshake(self, packet: Packet, source: tuple[str, int], told: dict[str, Any]) -> None:
        try:
            handshake = read_handshake(packet, self.pair)
        except (ForgedError, ValueError) as error:
            reason = str(error) or "it is forged"
            events.send("endpoint.drop.packet", reason=reason, **told)
            return
        link = self._linked(handshake.hashname, handshake.key, source)
        link.address = source
        self._tell_handshake(link, handshake, told["packet_id"])
        if link.exchange.take(handshake):
            self._ask(link)
        if not link.up:
            link.up = True
            events.send("exchange.started", exchange_id=link.number, peer=link.hashname)
            self.on_link(link)

    def _tell_handshake(self, link: Link, handshake: Handshake, packet_id: int) -> None:
        shown = {
            "csid": int(cs3a.ID, 16),
            "public_key": hashnames.encode(handshake.key),
            "at": handshake.at,
            "parts": handshake.parts,
        }
        events.send("exchange.rcv.handshake", exchange_id=link.number, packet_id=packet_id, handshake=shown)

    def _take_packet(self, packet: Packet, told: dict[str, Any]) -> None:
        link = next((link for link in self.links.values() if link.exchange.token == packet.body[:16]), None)
        if link is None:
            events.send("endpoint.drop.packet", reason="it is of no exchange", **told)
            return
        of_link = {"exchange_id": link.number, "packet_id": told["packet_id"]}
        try:
            inner = link.exchange.open(packet)
        except ForgedError:
            shown = {"header": {}, "body": packet.body.decode("latin-1")}
            events.send("exchange.drop.packet", reason="it is forged", packet=shown, **of_link)
            return
        events.send("exchange.rcv.packet", packet=_shown(inner), **of_link)
        self._take_inner(link, inner, told["packet_id"])

    def _take_inner(self, link: Link, inner: Packet, packet_id: int) -> None:
        number, kind = inner.json.get("c"), inner.json.get("type")
        channel = link.channels.get(number) if isinstance(number, int) else None
        if channel is None and isinstance(number, int) and isinstance(kind, str):
            channel = self._opened(link, number, kind, inner)
        if channel is None:
            return
        told = {"channel_id": channel.trace, "packet_id": packet_id, "packet": _shown(inner)}
        events.send("channel.rcv.packet", **told)
        if why := channel.receive(inner, now=time.monotonic()):
            events.send("channel.drop.packet", reason=why, **told)

    def _opened(self, link: Link, number: int, kind: str, inner: Packet) -> Channel | None:
        serve = self.serves.get(kind)
        if serve is None:
            self.put(link.exchange.shut({"c": number, "err": "unknown type"}, b""), link.address)
            return None
        channel = link.make(number, kind, reliable=inner.json.get("seq") == 1)
        serve(link, channel)
        return channel

    def _serve_path(self, link: Link, channel: Channel) -> None:
        host, port = link.address
        seen = {"type": "udp4", "ip": host, "port": port}
        channel.on_packet = lambda _packet: channel.send(now=time.monotonic(), path=seen)
