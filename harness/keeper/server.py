"""The keeper's side of a connection: one JSON object a line over an abstract unix socket, for each its answer.

``{"id": 1, "do": "start", ...}`` is answered by ``{"id": 1, "ok": {...}}`` or ``{"id": 1, "error": "..."}``;
``{"event": "exit", ...}`` comes unasked.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import traceback
from typing import TYPE_CHECKING, Any

from harness import clock
from harness.artifacts import FULL
from harness.errors import BrokenStack, HarnessError
from harness.keeper.clients import Connection
from harness.keeper.messages import Request, read_request
from harness.keeper.own_log import say
from harness.ownership.locks import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from harness.keeper.clients import Clients

    Handler = Callable[[Connection, Any], Awaitable[Mapping[str, object] | None]]  # Any: the request that it is for

LIMIT = 16 * 1024 * 1024


class Server:
    """Answers clients; ``handlers`` has for each kind of request what does it."""

    def __init__(self, clients: Clients, handlers: Mapping[type[Request[Any]], Handler]) -> None:
        self._clients = clients
        self._handlers = handlers
        self._numbers = 0

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Begin to answer whoever connects."""
        return await asyncio.start_unix_server(self.talk, sock=listener, limit=LIMIT)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until its connection ends; processes of other users are not listened to."""
        self._numbers += 1
        connection = Connection(self._numbers, writer)
        peer: socket.socket = writer.get_extra_info("socket")
        connection.pid, uid = peer_of(peer)
        if uid != os.getuid():
            writer.close()
            return
        self._clients.connections.append(connection)
        try:
            while line := await reader.readline():
                self._clients.last_use = clock.now()
                self._clients.in_background(self._answer(connection, line))
        except (ConnectionError, ValueError, asyncio.CancelledError):
            say(f"{connection.id}: the connection ended")
        await self._clients.lost(connection)

    async def _answer(self, connection: Connection, line: bytes) -> None:
        number = None
        try:
            if connection.closed:
                return  # what it asks for on its deathbed would be held for nobody
            message = json.loads(line)
            number = message.get("id")
            request = read_request(message)
            result = await self._handlers[type(request)](connection, request)
            connection.send({"id": number, "ok": result or {}})
        except HarnessError as error:
            connection.send({"id": number, "error": error.summary, "kind": type(error).__name__})
        except OSError as error:
            text = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            kind = BrokenStack if error.errno in FULL else HarnessError
            connection.send({"id": number, "error": text, "kind": kind.__name__})
        except Exception as error:  # noqa: BLE001 - the keeper must outlive a bad request; it is logged and answered
            say(traceback.format_exc())
            connection.send({"id": number, "error": f"{type(error).__name__}: {error}"})
