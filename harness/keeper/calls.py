"""Calls of a Docker engine, each in a thread, as they block."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from harness.daemon import NOT_THERE, REFUSED, Api, Daemon, query
from harness.errors import BrokenStack
from harness.ownership import objects
from harness.ownership.objects import RUN, Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

THREADS = 32  # for calls that block; starts leave room for others
STOP_BUDGET = 60.0  # beyond the grace that a container is given


class Calls:
    """An engine, asked for the things of one environment."""

    def __init__(self, daemon: Daemon, claim: Claim) -> None:
        self.api = Api(daemon)
        self.claim = claim
        self.loop = asyncio.get_running_loop()
        self.loop.set_default_executor(ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="call"))
        self._opened: asyncio.Task[None] | None = None

    def open(self, opening: Coroutine[Any, Any, None]) -> None:
        """Begin to open the connection; calls wait for that."""
        self._opened = self.loop.create_task(opening)

    async def opened(self) -> None:
        """Return when the engine has answered and the events are subscribed to. Raises EngineUnreachableError."""
        if self._opened:
            await asyncio.shield(self._opened)

    async def ask(self, method: str, path: str, body: object = None, *, within: float | None = None) -> Any:  # noqa: ANN401 - what JSON may be
        """Ask the engine in a thread, as ``Api.request`` does."""
        await self.opened()
        return await asyncio.to_thread(self.api.request, method, path, body, within=within)

    async def output(self, execution: str, within: float) -> bytes:
        """Start a command that was made in a container; return what it wrote when it has ended."""
        path, plain = f"/exec/{execution}/start", {"Detach": False, "Tty": False}
        return await asyncio.to_thread(self.api.content, "POST", path, plain, within=within)

    async def do(self, container: str, act: str, *, grace: float = 0.0, **words: object) -> None:
        """Have the engine do something with a container."""
        path = f"/containers/{container}/{act}" + (f"?{query(**words)}" if words else "")
        ends = act in ("kill", "stop")
        with objects.killed_within(container, grace + objects.KILL_PATIENCE) if ends else contextlib.nullcontext():
            await self.ask("POST", path, within=STOP_BUDGET + grace)

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        facts: dict[str, Any] = await self.ask("GET", f"/containers/{container}/json")
        return facts

    async def has(self, container: str, path: str) -> bool:
        """Return whether there is something at a path of a container. Raises HarnessError."""
        await self.opened()
        where = f"/containers/{container}/archive?{query(path=path)}"
        status = (await asyncio.to_thread(self.api.call, "HEAD", where)).status
        if status >= REFUSED and status != NOT_THERE:
            raise BrokenStack(f"the engine refused: status {status} for {path}")
        return status != NOT_THERE

    async def list(self, **filters: list[str]) -> list[dict[str, Any]]:
        """Return the containers that carry this environment's label: those of ours, and what was copied from them."""
        await self.opened()
        filters["label"] = [f"{RUN}={self.claim.env}", *filters.get("label", ())]
        return await asyncio.to_thread(objects.list_all, self.api, "container", **filters)

    def on_loop(self, act: Callable[..., object], *args: object) -> None:
        """Have something done on the keeper's loop, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(act, *args)
