"""Leases that the kernel frees: loopback networks and port numbers, each held by an abstract unix socket (unix(7)).

Two environments on one machine (more exactly: in one network namespace, which is where both addresses and abstract
sockets live) can never hold the same network or port, and a killed keeper holds nothing. Whoever finds a port taken
learns from the kernel by which keeper.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import BrokenStack
from harness.ownership.locks import MOST_WAITING, listener_at

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_NETWORK, LAST_NETWORK = 16, 254  # 127.16.0.0/24 to 127.254.255.0/24; 127.0 and 127.1 are busy with resolvers
FIRST_HOST, LAST_HOST = 2, 254
FIRST_PORT, LAST_PORT = 15000, 29999  # below the ephemeral range of ip(7), 32768-60999


def _claim(name: str) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0harness-{name}")
        claim.listen(MOST_WAITING)
    except OSError:
        claim.close()
        return None
    return claim


def claimant_of(port: int) -> int | None:
    """Return the keeper that has claimed a port, 0 when it cannot be told, None when none has."""
    return listener_at(f"\0harness-port-{port}")


def _is_free(port: int) -> bool:
    """Return whether nobody has bound ``port`` on the wildcard address, for TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                # Bound only to ask, never listened on: nothing can connect to it.
                probe.bind(("0.0.0.0", port))  # noqa: S104
            except OSError:
                return False
    return True


class Fixed(NamedTuple):
    """What became of a claim of ports.

    Attributes:
        new: those that were claimed now.
        taken: the first that somebody else has, 0 for none; then nothing was claimed.
        pid: the keeper that has it, 0 when it cannot be told.
        stack: whose it is where that is of this environment.
    """

    new: tuple[int, ...] = ()
    taken: int = 0
    pid: int = 0
    stack: str = ""


class Leases:
    """The addresses and ports of one environment."""

    def __init__(self, env: str) -> None:
        self._claims: list[socket.socket] = []
        self._addresses: dict[str, str] = {}
        self._ports: dict[str, int] = {}
        self._fixed: dict[int, tuple[str, socket.socket]] = {}  # number -> stack, and what claims it
        self._seed = int.from_bytes(hashlib.sha256(env.encode()).digest()[:4])
        self.network = self._lease_network()

    def _lease_network(self) -> str:
        count = (LAST_NETWORK - FIRST_NETWORK + 1) * 256
        for step in range(count):
            number = (self._seed + step) % count
            network = f"127.{FIRST_NETWORK + number // 256}.{number % 256}"
            claim = _claim(f"net-{network}")
            if claim is not None:
                self._claims.append(claim)
                return network
        raise BrokenStack(f"All {count} loopback networks are leased, one was needed")

    def address(self, owner: str) -> str:
        """Return the address of ``owner`` (a stack's service), the same one each time it is asked for."""
        if owner not in self._addresses:
            host = FIRST_HOST + len(self._addresses)
            if host > LAST_HOST:
                raise BrokenStack(f"Network {self.network}.0/24 has no address left for {owner}")
            self._addresses[owner] = f"{self.network}.{host}"
        return self._addresses[owner]

    def port(self, name: str) -> int:
        """Return the port called ``name`` in this environment; no other environment here has it."""
        if name not in self._ports:
            count = LAST_PORT - FIRST_PORT + 1
            for step in range(count):
                port = FIRST_PORT + (self._seed + step) % count
                claim = _claim(f"port-{port}")
                if claim is None:
                    continue
                if not _is_free(port):
                    claim.close()
                    continue
                self._claims.append(claim)
                self._ports[name] = port
                break
            else:
                raise BrokenStack(f"No port of {FIRST_PORT}-{LAST_PORT} is free for {name!r}")
        return self._ports[name]

    def fix(self, stack: str, ports: Iterable[int]) -> Fixed:
        """Claim numbers for a stack, in place of those that it had: all of them, or none."""
        wanted = sorted(set(ports))
        claims: dict[int, tuple[str, socket.socket]] = {}
        for number in wanted:
            owner = self._fixed[number][0] if number in self._fixed else ""
            if owner == stack:
                continue
            claim = None if owner else _claim(f"port-{number}")
            if claim is None:
                pid = os.getpid() if owner else claimant_of(number) or 0
                _close(claims)
                return Fixed(taken=number, pid=pid, stack=owner)
            claims[number] = (stack, claim)
        gone = {number: held for number, held in self._fixed.items() if held[0] == stack and number not in wanted}
        self._fixed = {number: held for number, held in self._fixed.items() if number not in gone} | claims
        _close(gone)
        return Fixed(tuple(claims))

    def forget_port(self, name: str) -> None:
        """Have ``name`` get another port when it is asked for again; the one that it had is given to nobody else."""
        self._ports.pop(name, None)

    def close(self) -> None:
        """Give everything back."""
        for claim in (*self._claims, *(claim for _, claim in self._fixed.values())):
            with contextlib.suppress(OSError):
                claim.close()


def _close(claims: dict[int, tuple[str, socket.socket]]) -> None:
    for _, claim in claims.values():
        claim.close()
