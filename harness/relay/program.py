"""Many connections over one stream; run as a program, it makes them from where it runs and speaks on its own streams.

It is sent to a container as text, so it needs nothing but the standard library of Python 3.7, and no file of ours.

A frame is a kind, a channel, a length, and so many bytes. The side that knows a client opens a channel with the name
and port of a service; the other connects, and answers with ``OPENED`` or why not. Then both send ``DATA`` as long as
they have credit, which the other side gives back when it has passed on what came; so one client that does not read
stops its own service only. ``END`` is the end of one direction, ``RESET`` of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
from typing import Awaitable, Callable  # noqa: UP035 - as old as the oldest Python that it meets

OPEN, OPENED, REFUSED, DATA, END, CREDIT, RESET = range(1, 8)
HEAD = struct.Struct("!BII")
COUNT = struct.Struct("!I")
PIECE = 1 << 16
WINDOW = 1 << 19  # bytes of a channel and direction that are on their way
HELLO = b"harness-relay 1\n"  # said by the side that has the clients, and said back
CONNECT_BUDGET = 10.0


class Channel:
    """One connection, as both sides have it."""

    def __init__(self, mux: Mux, number: int) -> None:
        self.number = number
        self.answer: asyncio.Future[str] = asyncio.get_event_loop().create_future()  # "" once it is opened
        self._mux = mux
        self._credit = WINDOW
        self._may_send = asyncio.Event()
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_reset = False
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, kind: int, content: bytes) -> None:
        """Take over a frame of this channel."""
        if kind == OPENED and not self.answer.done():
            self.answer.set_result("")
        elif kind == REFUSED and not self.answer.done():
            self.answer.set_result(content.decode(errors="replace") or "refused")
        elif kind == DATA:
            self._came.put_nowait(content)
        elif kind == END:
            self._came.put_nowait(b"")
        elif kind == CREDIT:
            self._credit += COUNT.unpack(content)[0]
            self._may_send.set()
        elif kind == RESET:
            self.reset()

    def reset(self) -> None:
        """End it at once: the other side has, or is gone."""
        self._is_reset = True
        if not self.answer.done():
            self.answer.set_result("the connection was lost")
        for task in self._tasks:
            task.cancel()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes, in both directions, until both have ended or one side is gone."""
        try:
            if self._is_reset:  # between its opening and now
                abort(writer)
                return
            self._tasks = {asyncio.ensure_future(self._send(reader)), asyncio.ensure_future(self._receive(writer))}
            await asyncio.gather(*self._tasks)
        except (OSError, asyncio.CancelledError):
            self._mux.send(RESET, self.number)
            abort(writer)
        finally:
            for task in self._tasks:
                task.cancel()
            writer.close()

    async def _send(self, reader: asyncio.StreamReader) -> None:
        while True:
            while self._credit <= 0:
                self._may_send.clear()
                await self._may_send.wait()
            content = await reader.read(min(PIECE, self._credit))
            if not content:
                break
            self._credit -= len(content)
            self._mux.send(DATA, self.number, content)
        self._mux.send(END, self.number)

    async def _receive(self, writer: asyncio.StreamWriter) -> None:
        while True:
            content = await self._came.get()
            if not content:
                break
            writer.write(content)
            await writer.drain()
            self._mux.send(CREDIT, self.number, COUNT.pack(len(content)))
        with contextlib.suppress(OSError):  # it is gone, and the other direction will tell
            writer.write_eof()


class Mux:
    """All channels of one stream.

    Args:
        write: sends bytes to the other side, in order, without waiting.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._data = bytearray()
        self._channels: dict[int, Channel] = {}
        self._serving: set[asyncio.Future[None]] = set()
        self._opened = 0

    def send(self, kind: int, number: int, content: bytes = b"") -> None:
        """Send a frame."""
        self._write(HEAD.pack(kind, number, len(content)) + content)

    def feed(self, data: bytes, connect: Callable[[Channel, bytes], Awaitable[None]] | None = None) -> None:
        """Take over what came from the other side.

        Args:
            data: some bytes, not always whole frames.
            connect: serves a channel that the other side wants, given the name and port; None where it never does.
        """
        self._data += data
        while len(self._data) >= HEAD.size:
            kind, number, length = HEAD.unpack_from(self._data)
            if len(self._data) < HEAD.size + length:
                break
            content = bytes(self._data[HEAD.size : HEAD.size + length])
            del self._data[: HEAD.size + length]
            if kind == OPEN and connect:
                serving = asyncio.ensure_future(connect(self.channel(number), content))
                self._serving.add(serving)
                serving.add_done_callback(self._serving.discard)
            elif number in self._channels:
                self._channels[number].take(kind, content)

    def channel(self, number: int) -> Channel:
        """Return a channel with a number that the other side chose."""
        channel = self._channels[number] = Channel(self, number)
        return channel

    def open(self, name: str, port: int) -> Channel:
        """Ask for a connection; its ``answer`` comes later."""
        self._opened += 1
        channel = self.channel(self._opened)
        self.send(OPEN, channel.number, f"{name}:{port}".encode())
        return channel

    def forget(self, channel: Channel) -> None:
        """Take nothing more of a channel that has ended."""
        self._channels.pop(channel.number, None)

    def end(self) -> None:
        """End every channel: the other side is gone."""
        for channel in list(self._channels.values()):
            channel.reset()


def abort(writer: asyncio.StreamWriter) -> None:
    """End a connection so that its client does not take it for an answer."""
    import socket  # noqa: PLC0415 - of one that is there

    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _serve(mux: Mux, channel: Channel, wanted: bytes) -> None:
    name, _, port = wanted.decode().rpartition(":")
    try:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(name, int(port)), CONNECT_BUDGET)
        except TimeoutError:
            mux.send(REFUSED, channel.number, f"no answer in {CONNECT_BUDGET:g} s".encode())
        except OSError as error:
            mux.send(REFUSED, channel.number, _reason(error).encode())
        else:
            mux.send(OPENED, channel.number)
            await channel.join(reader, writer)
    finally:
        mux.forget(channel)


def _reason(error: OSError) -> str:
    """Return why no connection was made; asyncio has it in words of its own."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


async def main() -> None:
    """Serve the other side until it closes its end."""
    loop = asyncio.get_event_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(os.dup(1), "wb", 0))
    if await reader.readexactly(len(HELLO)) != HELLO:
        return
    transport.write(HELLO)
    mux = Mux(transport.write)

    async def connect(channel: Channel, wanted: bytes) -> None:
        await _serve(mux, channel, wanted)

    while not transport.is_closing():
        data = await reader.read(PIECE)
        if not data:
            break
        mux.feed(data, connect)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.IncompleteReadError, KeyboardInterrupt):
        asyncio.new_event_loop().run_until_complete(main())
    os._exit(0)  # a look-up of a name may still be waiting in a thread
