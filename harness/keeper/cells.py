"""Cells of an interoperability matrix as containers: made straight through the engine, as Compose takes a second.

Each cell is a stack; its containers and its volume carry the stack's label, so they go like those of any other. Its
network is of a pool: engines make networks one after the other, and have room for about thirty.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.keeper.messages import LOGS_UNTOUCHED
from harness.keeper.watch import Container
from harness.ownership import objects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.keeper.containers import Engine
    from harness.keeper.intents import Intents
    from harness.keeper.networks import Network, Networks

MOST_NETWORKS = 28
SHARED, LOGS = "/shared", "/logs"
OPEN_TO_ALL = 0o1777


class Cells:
    """The cells of one environment; ``labels`` gives those of what is made for it."""

    def __init__(
        self, env: str, engine: Engine, networks: Networks, intents: Intents, labels: Callable[..., dict[str, str]]
    ) -> None:
        self._env, self._engine, self._networks, self._intents, self._labels = env, engine, networks, intents, labels
        self._free: list[Network] = []
        self._used: dict[str, Network] = {}
        self._made = 0
        self._has_logs: dict[str, bool] = {}  # image -> whether it has a /logs of its own
        self._openings: dict[str, dict[str, asyncio.Task[None]]] = {}  # stack -> container -> what opens its folders
        self._changed = asyncio.Condition()

    async def create(
        self, stack: str, roles: Mapping[str, Mapping[str, Any]], is_wanted: Callable[[], bool]
    ) -> dict[str, str]:
        """Make the containers of a cell, and what they share, and start none.

        Args:
            stack: the cell's.
            roles: its roles -> what their containers are, as the Engine API has it; network, /shared, names and labels
                are added.
            is_wanted: tells whether the cell still is.

        Returns:
            Role -> id of its container.

        Raises:
            HarnessError: the engine refused, did not answer, or the cell is not wanted any more.
        """
        await self._engine.opened()
        self._intents.intend("cell", stack=stack, roles=sorted(roles))
        network = await self._take_network(stack, is_wanted)
        labels = self._labels(**{objects.STACK: stack})
        volume = f"harness-{self._env}-{stack}"
        await self._engine.make_volume(volume, labels)
        ids = await asyncio.gather(
            *(self._create_one(stack, role, wanted, network, volume) for role, wanted in roles.items()),
            return_exceptions=True,
        )
        failed = [answer for answer in ids if isinstance(answer, BaseException)]
        if failed:
            raise failed[0]
        if not is_wanted():
            raise HarnessError(f"Stack {stack!r} is gone")
        return dict(zip(roles, map(str, ids), strict=True))

    async def _create_one(self, stack: str, role: str, wanted: Mapping[str, Any], network: Network, volume: str) -> str:
        service = Container(stack, role, "", 0.0)
        self._engine.containers[service.id] = service
        host = {**wanted["HostConfig"], "NetworkMode": network.name}
        host["Mounts"] = [{"Type": "volume", "Source": volume, "Target": SHARED}]
        body = {
            **wanted,
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": {network.name: {"Aliases": [role]}}},
        }
        labels = self._labels(**{objects.STACK: stack, objects.SERVICE: role})
        container = await self._engine.create(f"harness-{self._env}-{stack}-{role}", body, labels)
        # It takes as long as all the rest, and others may be started meanwhile.
        opening = asyncio.ensure_future(self._open_folders(wanted["Image"], container))
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # told when it is started
        self._engine.begun(stack, opening)
        self._openings.setdefault(stack, {})[container] = opening
        return container

    async def opened(self, stack: str, container: str) -> None:
        """Return when everybody may write into /shared and /logs of a container. Raises HarnessError."""
        if opening := self._openings.get(stack, {}).pop(container, None):
            await opening

    async def _open_folders(self, image: str, container: str) -> None:
        if image not in self._has_logs:
            self._has_logs[image] = await self._engine.has(container, LOGS)
        await self._engine.put(container, "/", _open_folders(0 if self._has_logs[image] else LOGS_UNTOUCHED))

    async def _take_network(self, stack: str, is_wanted: Callable[[], bool]) -> Network:
        """Take a network of the pool, made if need be; with all in use, wait for one."""
        async with self._changed:
            while not self._free and self._made >= MOST_NETWORKS:
                await self._changed.wait()
            if not is_wanted():
                raise HarnessError(f"Stack {stack!r} is gone")
            if self._free:
                network = self._free.pop()
            else:
                self._made += 1
                name = f"{self._networks.first}-cells-{self._made}"
                try:
                    async with self._networks.making:
                        network = await self._networks.make(self._engine.make_network, name, self._labels())
                except BaseException:
                    self._made -= 1
                    raise
            self._used[stack] = network
            return network

    async def give_back(self, stack: str) -> None:
        """A cell's containers are gone: its network is the next one's."""
        self._openings.pop(stack, None)
        if network := self._used.pop(stack, None):
            async with self._changed:
                self._free.append(network)
                self._changed.notify()


def _open_folders(changed: int) -> bytes:
    """Return an archive of /shared and /logs, into which everybody may write, whoever an image runs as.

    They were ``changed`` last at that time, in seconds since 1970.
    """
    import tarfile  # noqa: PLC0415 - few keepers need it

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in (SHARED, LOGS):
            folder = tarfile.TarInfo(path.lstrip("/"))
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, OPEN_TO_ALL, changed
            archive.addfile(folder)
    return content.getvalue()
