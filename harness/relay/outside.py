"""This side of a relay: it listens where clients expect the services, and has each connection made at the other end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from harness.errors import BrokenStack
from harness.relay import program

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

HELLO_BUDGET = 20.0
END_BUDGET = 5.0
BACKLOG = 128


def command() -> list[str]:
    """Return the words that run the other side where there is a Python."""
    return ["python3", "-c", Path(program.__file__).read_text(encoding="utf-8")]


class Wire(Protocol):
    """A stream to the other side. It is read by one thread and written by another one."""

    def receive(self) -> bytes:
        """Return what came, b"" at its end."""
        ...

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        ...

    def close(self) -> None:
        """End it, so that ``receive`` returns."""
        ...

    def said(self) -> str:
        """Return what the other side wrote for people, "" for nothing."""
        ...


class Unreached(BrokenStack):
    """The program at the other end does not run."""


@dataclass(frozen=True)
class _Place:
    name: str
    port: int

    def __str__(self) -> str:
        return f"{self.name}:{self.port}"


class Relay:
    """Listens, and passes on. Its loop and its two threads end with ``close``; safe to use from several threads.

    Args:
        whence: from where connections are made, in words, such as ``the container of 'tests'``.
    """

    def __init__(self, whence: str) -> None:
        self.whence = whence
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="harness-relay", daemon=True)
        self._mux: program.Mux | None = None
        self._why = ""  # the stream has ended
        self._decided = asyncio.Event()  # whether there is a stream
        self._wire: Wire | None = None
        self._to_send: SimpleQueue[bytes | None] = SimpleQueue()
        self._servers: dict[tuple[str, int], asyncio.AbstractServer] = {}
        self._closed = False
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, asyncio.sleep(0), return_exceptions=True))
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, str], within: float) -> str:
        asked = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return asked.result(within)
        except (NotInTime, CancelledError):
            asked.cancel()
            return f"no answer in {within:g} s"

    # -- the stream ---------------------------------------------------------------------------------------------

    def connect(self, wire: Wire, within: float = HELLO_BUDGET) -> None:
        """Use a stream to a program that was started with ``command``.

        Raises:
            Unreached: that does not answer.
        """
        self._wire = wire
        answered: Future[str] = Future()
        threading.Thread(target=self._read, args=(wire, answered), name="harness-relay-in", daemon=True).start()
        threading.Thread(target=self._send, args=(wire,), name="harness-relay-out", daemon=True).start()
        self._to_send.put(program.HELLO)
        try:
            problem = answered.result(within)
        except NotInTime:
            problem = f"no answer in {within:g} s"
        if problem:
            self._lose(problem)
            wire.close()
            raise Unreached(
                f"No connection can be made from {self.whence}: python3 does not run there: {problem}",
                hint="install python3 in its image: what is asked of services on an engine elsewhere is asked by it",
            )

    def wait(self, within: float) -> bool:
        """Wait until there is a stream, or will never be one; return whether either was so in time."""

        async def decided() -> str:
            await self._decided.wait()
            return ""

        return not self._do(decided(), within)

    def _read(self, wire: Wire, answered: Future[str]) -> None:
        """Read the stream to its end."""
        data = b""
        mux: program.Mux | None = None
        while True:
            try:
                content = wire.receive()
            except (OSError, ValueError) as error:
                content, data = b"", data or str(error).encode()
            if not content:
                break
            if mux:
                self._call(mux.feed, content)
                continue
            data += content
            if data.startswith(program.HELLO):
                mux, begun, data = program.Mux(self._to_send.put), data[len(program.HELLO) :], b""
                self._call(self._use, mux, begun)
                answered.set_result("")
            elif not program.HELLO.startswith(data):
                break
        reason = wire.said() or data.decode(errors="replace").strip() or "it ended"
        if not answered.done():
            answered.set_result(reason)
        self._lose(f"the program in it ended: {reason}")

    def _use(self, mux: program.Mux, data: bytes) -> None:
        self._mux = mux
        self._decided.set()
        mux.feed(data)

    def _send(self, wire: Wire) -> None:
        """Write to the stream what there is, in order, until it is closed."""
        while (data := self._to_send.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # who reads it sees its end
                wire.send(data)

    def _lose(self, why: str) -> None:
        """The stream has ended: so do all connections, and no more are made."""

        def end() -> None:
            self._why = self._why or why
            self._decided.set()
            if self._mux:
                self._mux.end()

        self._call(end)

    def _call(self, what: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(what, *arguments)

    # -- connections --------------------------------------------------------------------------------------------

    def listen(self, host: str, port: int, name: str, inner: int) -> None:
        """Listen on an address here, and pass each connection on to a service's port; at once if it does so already.

        Clients may come before there is a stream; they wait for it.

        Raises:
            OSError: somebody else listens there.
        """
        if (host, port) in self._servers:
            return
        place = _Place(name, inner)
        listener = socket.create_server((host, port), backlog=BACKLOG)
        listener.settimeout(0)

        async def start() -> str:
            self._servers[host, port] = await asyncio.start_server(
                lambda reader, writer: self._serve(place, reader, writer), sock=listener
            )
            return ""

        self._do(start(), END_BUDGET)

    async def _serve(self, place: _Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._decided.wait()
        finally:
            if self._mux is None or self._why:
                program.abort(writer)
        if self._mux is None or self._why:
            return
        mux = self._mux
        channel = mux.open(place.name, place.port)
        try:
            if await channel.answer:
                program.abort(writer)
                return
            await channel.join(reader, writer)
        except asyncio.CancelledError:
            program.abort(writer)
        finally:
            mux.forget(channel)

    def knock(self, name: str, port: int, within: float) -> str:
        """Return why a service's port cannot be reached from the other end, "" when it accepts.

        Args:
            name: the service, as it is called there.
            port: the one inside.
            within: seconds for the answer.
        """
        place = _Place(name, port)
        why = self._do(self._knock(place), within)
        return f"{place} cannot be reached from {self.whence}: {why}" if why else ""

    async def _knock(self, place: _Place) -> str:
        await self._decided.wait()
        mux = self._mux
        if mux is None or self._why:
            return self._why
        channel = mux.open(place.name, place.port)
        try:
            answer = await channel.answer
            if not answer:
                mux.send(program.RESET, channel.number)
            return answer
        finally:
            mux.forget(channel)

    def close(self) -> None:
        """End every connection, the listeners and the stream. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for server in self._servers.values():
            self._call(server.close)
        self._lose("it was closed")
        self._to_send.put(None)
        if self._wire:
            self._wire.close()
        self._call(self._loop.stop)
        self._thread.join(END_BUDGET)
