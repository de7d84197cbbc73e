"""Leases that the kernel frees: loopback networks and port numbers, each held by an abstract unix socket (unix(7)).

Two environments on one machine (more exactly: in one network namespace, which is where both addresses and abstract
sockets live) can never hold the same network or port, and a killed keeper holds nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket

from harness.errors import BrokenStack

FIRST_NETWORK, LAST_NETWORK = 16, 254  # 127.16.0.0/24 to 127.254.255.0/24; 127.0 and 127.1 are busy with resolvers
FIRST_HOST, LAST_HOST = 2, 254
FIRST_PORT, LAST_PORT = 15000, 29999  # below the ephemeral range of ip(7), 32768-60999


def _claim(name: str) -> socket.socket | None:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(f"\0harness-{name}")
    except OSError:
        claim.close()
        return None
    return claim


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


class Leases:
    """The addresses and ports of one environment."""

    def __init__(self, env: str) -> None:
        self._claims: list[socket.socket] = []
        self._addresses: dict[str, str] = {}
        self._ports: dict[str, int] = {}
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

    def forget_port(self, name: str) -> None:
        """Have ``name`` get another port when it is asked for again; the one that it had is given to nobody else."""
        self._ports.pop(name, None)

    def close(self) -> None:
        """Give everything back."""
        for claim in self._claims:
            with contextlib.suppress(OSError):
                claim.close()
