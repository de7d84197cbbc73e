"""Connections over one stream: to real servers, by the program that is sent to a container, run as a process here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from servers import Web

from harness import procs
from harness.clock import Deadline, poll
from harness.engine.compose.wire import notice_silence
from harness.relay import Relay, Unreached, command
from harness.relay.program import HEAD, OPENED, RESET, WINDOW, Mux

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "127.0.31.7"
BUDGET = 10.0


class Pipes:
    """The streams of a process."""

    def __init__(self, argv: list[str]) -> None:
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self.process = procs.spawn(argv, stdin=stdin, output=stdout)
        os.close(stdin)
        os.close(stdout)

    def receive(self) -> bytes:
        return os.read(self._stdout, 1 << 16)

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._stdin, data) :]

    def said(self) -> str:
        return ""

    def close(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def end(self) -> None:
        self.close()
        self.process.kill()
        self.process.wait(BUDGET)
        os.close(self._stdout)


@contextlib.contextmanager
def relayed(argv: list[str] | None = None) -> Iterator[tuple[Relay, Pipes]]:
    """Give a relay whose other side is a process; no thread of it is left."""
    before = threading.active_count()
    pipes = Pipes(argv or [sys.executable, *command()[1:]])
    relay = Relay("a process")
    try:
        yield relay, pipes
    finally:
        relay.close()
        pipes.process.wait(BUDGET)
        for _ in poll(Deadline.after(BUDGET)):
            if threading.active_count() <= before:
                break
        left = threading.enumerate()
        pipes.end()
    assert len(left) <= before, left


@contextlib.contextmanager
def serving(handle: object) -> Iterator[int]:
    """Serve one connection after the other by a function of a socket; give the port."""
    assert callable(handle)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(BUDGET)


def echo(connection: socket.socket) -> None:
    """Send back what comes, until its end."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def everything(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_a_service_is_reached_at_an_address_of_ours() -> None:
    """Many clients at once get what they would get there, over one stream."""
    answers: list[bytes] = []

    def ask() -> None:
        with socket.create_connection((HERE, 8080), timeout=BUDGET) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answers.append(everything(client))

    with Web((200, b"hello")).running() as web, relayed() as (relay, pipes):
        relay.listen(HERE, 8080, "localhost", web.port)
        relay.connect(pipes)
        clients = [threading.Thread(target=ask) for _ in range(20)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(BUDGET)
    assert len(answers) == 20
    assert all(answer.endswith(b"hello") for answer in answers)


def test_the_end_of_one_direction_is_passed_on() -> None:
    """Who has sent all and says so still gets the answer, byte for byte, also when it is large."""
    data = os.urandom(3 * WINDOW + 17)

    def digest(connection: socket.socket) -> None:
        connection.sendall(everything(connection)[::-1])

    with serving(digest) as port, relayed() as (relay, pipes):
        relay.connect(pipes)
        relay.listen(HERE, 8081, "127.0.0.1", port)
        with socket.create_connection((HERE, 8081), timeout=BUDGET) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert everything(client) == data[::-1]


def test_a_client_that_does_not_read_stops_no_other() -> None:
    """Its service is held up; the connections beside it go on."""
    sent = threading.Event()

    def pour(connection: socket.socket) -> None:
        connection.settimeout(0.5)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(bytes(1 << 20))
        sent.set()

    with serving(pour) as pouring, serving(echo) as echoing, relayed() as (relay, pipes):
        relay.connect(pipes)
        relay.listen(HERE, 8082, "127.0.0.1", pouring)
        relay.listen(HERE, 8083, "127.0.0.1", echoing)
        with socket.create_connection((HERE, 8082), timeout=BUDGET):
            assert sent.wait(BUDGET), "nothing held up who poured"
            with socket.create_connection((HERE, 8083), timeout=BUDGET) as client:
                client.sendall(b"still here")
                assert client.recv(100) == b"still here"


def test_who_refuses_is_named() -> None:
    """A client's connection is reset, never answered with nothing; and whoever asks is told which service it was."""
    with relayed() as (relay, pipes):
        relay.connect(pipes)
        relay.listen(HERE, 8084, "localhost", 1)
        with pytest.raises(ConnectionResetError), socket.create_connection((HERE, 8084), timeout=BUDGET) as client:
            client.recv(1)
        assert relay.knock("localhost", 1, BUDGET) == "localhost:1 cannot be reached from a process: Connection refused"
        unknown = relay.knock("no-such-service.invalid", 1, BUDGET)
        assert unknown.startswith("no-such-service.invalid:1 cannot be reached from a process: "), unknown


def test_who_accepts_is_reached() -> None:
    """A knock says nothing then, and leaves no connection."""
    with serving(echo) as port, relayed() as (relay, pipes):
        relay.connect(pipes)
        assert relay.knock("localhost", port, BUDGET) == ""
        assert relay.knock("localhost", port, BUDGET) == "", "the first one still holds the server"


def test_clients_that_come_early_wait_for_the_stream() -> None:
    """An address is listened at before the container is there that connections are made from."""
    with serving(echo) as port, relayed() as (relay, pipes):
        relay.listen(HERE, 8085, "localhost", port)
        with socket.create_connection((HERE, 8085), timeout=BUDGET) as client:
            client.sendall(b"early")
            relay.connect(pipes)
            assert client.recv(100) == b"early"


def test_when_the_other_side_ends_so_do_its_connections() -> None:
    """Clients see a reset, at once, and those that come later too; a knock says that it ended."""
    with serving(echo) as port, relayed() as (relay, pipes):
        relay.connect(pipes)
        relay.listen(HERE, 8086, "localhost", port)
        with socket.create_connection((HERE, 8086), timeout=BUDGET) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            pipes.process.kill()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with pytest.raises(ConnectionResetError), socket.create_connection((HERE, 8086), timeout=BUDGET) as client:
            client.recv(1)
        assert relay.knock("localhost", port, BUDGET).endswith("the program in it ended: it ended")


def test_a_connection_that_is_reset_at_once_is_no_answer() -> None:
    """A reset that comes right behind the opening must be one for the client, not the end of an empty answer."""
    seen = asyncio.run(asyncio.wait_for(_reset_at_once(), 2 * BUDGET))
    assert seen is ConnectionResetError


async def _reset_at_once() -> type[Exception] | None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mux = Mux(lambda _: None)
        channel = mux.open("db", 1)
        mux.feed(HEAD.pack(OPENED, channel.number, 0) + HEAD.pack(RESET, channel.number, 0))
        await channel.join(reader, writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            await asyncio.wait_for(reader.read(1), BUDGET)
        except OSError as error:
            return type(error)
        finally:
            writer.close()
    return None


def test_an_engine_whose_machine_vanishes_is_noticed() -> None:
    """A connection over a network must end when nothing comes from the other side; one on a socket file has no such."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        notice_silence(client)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    one, other = socket.socketpair()
    with one, other:
        notice_silence(one)


def test_the_other_side_ends_with_its_stream() -> None:
    """It does not stay behind in a container from which nobody reads."""
    with relayed() as (relay, pipes):
        relay.connect(pipes)
        relay.close()
        assert pipes.process.wait(BUDGET) == 0


def test_a_container_without_python_is_told() -> None:
    """What the engine or a shell says of it is in the error, with what to do."""
    with relayed(["sh", "-c", "echo 'exec: \"python3\": not found'; exit 127"]) as (relay, pipes):
        with pytest.raises(Unreached) as told:
            relay.connect(pipes)
        assert 'from a process: python3 does not run there: exec: "python3": not found' in told.value.summary
        assert "install python3" in told.value.hint


def test_an_address_that_is_taken_is_refused() -> None:
    """Somebody else's server is not listened beside."""
    with socket.create_server((HERE, 8087)), relayed() as (relay, pipes):
        relay.connect(pipes)
        with pytest.raises(OSError, match="in use"):
            relay.listen(HERE, 8087, "localhost", 1)
