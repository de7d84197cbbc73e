"""The networks of an environment's containers: each a free /24 of a private range."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.daemon import ask
from harness.errors import BrokenStack
from harness.keeper.own_log import say
from harness.ownership.objects import sealed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from harness.daemon import Api
    from harness.keeper.intents import Intents
    from harness.ownership.objects import Claim

    Make = Callable[[str, dict[str, str]], Awaitable["Network"]]

# Podman counts its bridges, each service of it for itself: two on one machine would share one.
BRIDGE = "com.docker.network.bridge.name"
TAKEN = ("overlap", "is already used")  # what Docker and Podman say of a subnet that is another network's


@dataclass(frozen=True)
class Network:
    """A network of containers; ``gateway`` is this machine's address on it, ``id`` "" of one that is only planned."""

    name: str
    subnet: str
    gateway: str
    id: str = ""

    def address(self, host: int) -> str:
        """Return the address with the last number ``host``."""
        return f"{self.gateway.rpartition('.')[0]}.{host}"

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON values."""
        return asdict(self)


def first_name(env: str) -> str:
    """Return the name of an environment's own network."""
    return f"harness-{env}"


def make_network(
    api: Api,
    name: str,
    range_: str,
    claim: Claim,
    labels: dict[str, str],
    given_up: Callable[[], bool] = lambda: False,
) -> Network:
    """Make a network in a free /24 of ``range_``, with ``labels`` and its seal.

    The nonce of ``claim`` chooses the order in which they are tried, so that environments are spread; once ``given_up``
    says so, no further one is.

    Raises:
        BrokenStack: every one is taken, the engine refused, with its words, or it was given up.
        EngineUnreachableError: it did not answer.
    """
    labels = sealed(labels, claim.key, "network", name)
    options = {BRIDGE: f"hs{hashlib.sha256(name.encode()).hexdigest()[:12]}"} if ask(api.daemon).is_podman else {}
    for subnet in _free(ipaddress.IPv4Network(range_), claim.nonce):
        if given_up():
            raise BrokenStack(f"Network {name} was given up")
        gateway = str(subnet[1])
        pool = {"Subnet": str(subnet), "Gateway": gateway, "IPRange": str(list(subnet.subnets(1))[1])}
        wanted = {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": labels, "Options": options}
        wanted["IPAM"] = {"Driver": "default", "Config": [pool]}
        try:
            answer = api.request("POST", "/networks/create", wanted)
        except BrokenStack as error:
            if any(words in error.summary.lower() for words in TAKEN):
                continue
            raise BrokenStack(f"Network {name} could not be made: {error.summary}") from error
        return Network(name, str(subnet), gateway, answer["Id"])
    raise BrokenStack(
        f"Address pool exhausted: every /24 of {range_} is taken, one was needed for network {name} "
        "(wider: networks in [tool.harness], or HARNESS_NETWORKS)"
    )


def _free(range_: ipaddress.IPv4Network, seed: str) -> list[ipaddress.IPv4Network]:
    """Return the /24 networks of a range that this machine has no route to, in an order that ``seed`` gives."""
    taken = [route for route in _routes() if route.prefixlen > 0]
    free = [subnet for subnet in range_.subnets(new_prefix=24) if not any(subnet.overlaps(route) for route in taken)]
    random.Random(seed).shuffle(free)  # noqa: S311 - spreads environments, hides nothing
    return free


def _routes() -> list[ipaddress.IPv4Network]:
    """Return the networks that this machine has routes to (/proc/net/route: proc(5))."""
    routes = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            words = line.split()
            address, mask = (int.from_bytes(bytes.fromhex(words[i]), "little") for i in (1, 7))
            routes.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return routes


class Networks:
    """The networks of one environment, and the names of services on each.

    ``awaited`` is whether the run has asked the engine for the ``first`` one, and has not told of it yet.
    """

    def __init__(self, first: str, intents: Intents, *, awaited: bool) -> None:
        self.first = first
        self.awaited = awaited
        self.making = asyncio.Lock()
        self._intents = intents
        self._networks: dict[str, Network] = {}
        self._names: dict[str, dict[str, str]] = {}  # network -> service -> the stack that it is of

    def name_for(self, stack: str, services: Iterable[str]) -> str:
        """Return the name of the network that a stack's containers join, and take their names on it.

        It is the environment's; a stack with a service name that is taken there gets one of its own. Its name sorts
        after the first: a container that joins a network whose name sorts before would lose its open connections.
        """
        taken = self._names.setdefault(self.first, {})
        is_taken = any(taken.get(service, stack) != stack for service in services)
        name = f"{self.first}-{stack}" if is_taken else self.first
        self._names.setdefault(name, {}).update(dict.fromkeys(services, stack))
        return name

    def get(self, name: str) -> Network | None:
        """Return a network, None before it is made."""
        return self._networks.get(name)

    async def make(self, make: Make, name: str, labels: dict[str, str]) -> Network:
        """Have a network made, and take it. Raises what ``make`` does."""
        self._intents.intend("network", name=name)
        network = await make(name, labels)
        self.take(network)
        return network

    def take(self, network: Network) -> None:
        """Take a network that was made."""
        self._networks[network.name] = network
        say(f"network {network.name}: {network.subnet}")

    def forget(self, stack: str) -> None:
        """Forget the names of a stack's services, and its own network."""
        for names in self._names.values():
            for service in [service for service, owner in names.items() if owner == stack]:
                del names[service]
        own = f"{self.first}-{stack}"
        self._networks.pop(own, None)
        self._names.pop(own, None)
