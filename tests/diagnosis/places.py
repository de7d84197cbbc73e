"""What has to be there around a command for a fault that is not in the files: strangers, engines, folders."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trying import Plot as Project

STRANGERS_PORT = "18080"
"""Stands in files for the port that the stranger holds, which is another one each time."""


@contextlib.contextmanager
def stranger(project: Project) -> Iterator[None]:
    """Have somebody listen on every address."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that is the fault
        path = project.root / "compose" / "s.yaml"
        path.write_text(path.read_text().replace(STRANGERS_PORT, str(server.getsockname()[1])))
        yield


@contextlib.contextmanager
def executable(project: Project) -> Iterator[None]:
    """Have a program that may be executed."""
    (project.root / "compose" / "app").chmod(0o755)
    yield


@contextlib.contextmanager
def binary(project: Project) -> Iterator[None]:
    """Have a stack file that is no text."""
    (project.root / "compose" / "s.yaml").write_bytes(b"\xff\xfe\x00\x01")
    yield


@contextlib.contextmanager
def plain_socket(project: Project) -> Iterator[None]:
    """Have a file where an engine's socket was."""
    path = project.state / "plain.sock"
    path.touch()
    project.environ["DOCKER_HOST"] = f"unix://{path}"
    yield


@contextlib.contextmanager
def _engine(project: Project, name: str, answer: Callable[[socket.socket], object]) -> Iterator[None]:
    path = project.state / name
    project.environ["DOCKER_HOST"] = f"unix://{path}"
    over = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    held.append(connection)
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def silent_engine(project: Project) -> contextlib.AbstractContextManager[None]:
    """Have an engine that takes connections and says nothing."""
    return _engine(project, "silent.sock", lambda _: None)


def garbage_engine(project: Project) -> contextlib.AbstractContextManager[None]:
    """Have something that is no engine at its socket."""

    def answer(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.close()

    return _engine(project, "garbage.sock", answer)


@contextlib.contextmanager
def state_is_a_file(project: Project) -> Iterator[None]:
    """Have a file where the state folder is to be."""
    (project.state / "harness").touch()
    yield


@contextlib.contextmanager
def state_is_open(project: Project) -> Iterator[None]:
    """Have a state folder that everybody may write to."""
    (project.state / "harness").mkdir()
    (project.state / "harness").chmod(0o777)
    yield


@contextlib.contextmanager
def state_is_a_link(project: Project) -> Iterator[None]:
    """Have a state folder that is somewhere else."""
    (project.state / "harness").symlink_to(project.root)
    yield


@contextlib.contextmanager
def full_disk(project: Project) -> Iterator[None]:
    """Have a file system that takes nothing more for the folder of runs."""
    (project.root / "logs").mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs", "logs"]
    project.prefix = (
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        f'{" ".join(disk)} && exec "$@"',
        "sh",
    )
    yield


@contextlib.contextmanager
def nothing(_: Project) -> Iterator[None]:
    """Need nothing."""
    yield
