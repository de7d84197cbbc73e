"""A Docker engine that might as well be on another machine, on this one.

``start DIR PORT [HIDDEN...]`` prints its ``DOCKER_HOST``, tcp on loopback; ``stop DIR`` removes everything of it.

It lives in a mount and a network namespace of its own. So nothing but its API can be reached from here: ports that it
publishes, its containers' addresses and its sockets are in a network that this machine has no part in, and folders of
this project (and the HIDDEN ones) are empty for it, as they are for an engine of a CI service. The other way round it
reaches nothing: no registry, so images come by ``docker save | docker load``. Root only, standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - runs before anything is installed, so without harness.procs
import sys
from pathlib import Path

from engine import (
    PATH,
    PROGRAMS,
    STOP_BUDGET,
    EngineError,
    command,
    end,
    engine_version,
    install,
    kill,
    ours,
    say,
    start_time,
    wait_for_answer,
)

NEEDED = ("dockerd", "iptables", "ip")
PROJECT = Path(__file__).resolve().parents[1]
HIDDEN = (PROJECT, Path("/etc/docker"))  # the latter has the key that makes an engine's id, with older ones
CGROUPS = Path("/sys/fs/cgroup")
LONGEST = 60  # characters of a folder: containerd's sockets below it have 104
LISTEN_FD = 3  # sd_listen_fds(3)
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
_SETTINGS = "engine.json"


# -- the process that becomes the engine --------------------------------------------------------------------------


def become(folder: Path, port: int, hidden: list[Path]) -> None:
    """Listen, leave this machine's mounts and network, and become dockerd. Returns never."""
    listener = socket.create_server(("127.0.0.1", port))  # a socket stays in the network that it was made in
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(CLONE_NEWNS | CLONE_NEWNET), "unshare")
    _mount(libc, None, "/", None, MS_REC | MS_PRIVATE)
    for place in hidden:
        if place.is_dir():
            _hide(libc, place, folder)
    command("ip", "link", "set", "lo", "up")
    os.dup2(listener.fileno(), LISTEN_FD)
    os.set_inheritable(LISTEN_FD, True)  # noqa: FBT003 - its only argument
    env = {**os.environ, "PATH": PATH, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    program = shutil.which("dockerd", path=PATH) or "dockerd"
    os.chdir("/")
    os.execve(program, [program, "--config-file", f"{folder}/daemon.json"], env)  # noqa: S606 - becomes it


def _hide(libc: ctypes.CDLL, place: Path, folder: Path) -> None:
    """Mount an empty folder over a place; the engine's own folder, where that is below, stays."""
    own = os.open(folder, os.O_PATH)
    try:
        _mount(libc, "tmpfs", str(place), "tmpfs", 0)
        if place in folder.parents:
            folder.mkdir(parents=True)
            _mount(libc, f"/proc/self/fd/{own}", str(folder), None, MS_BIND)
    finally:
        os.close(own)


def _mount(libc: ctypes.CDLL, source: str | None, target: str, kind: str | None, flags: int) -> None:
    words = [word if word is None else word.encode() for word in (source, target, kind)]
    _checked(libc.mount(*words, ctypes.c_ulong(flags), None), f"mount {target}")


def _checked(result: int, what: str) -> None:
    if result:
        raise EngineError(f"{what}: {os.strerror(ctypes.get_errno())}")


# -- start and stop -----------------------------------------------------------------------------------------------


def start(folder: Path, port: int, hidden: list[Path]) -> str:
    """Start an engine with everything that it writes in ``folder``; return its address once it answers.

    Args:
        folder: is made, and removed by ``stop``.
        port: of its API, on 127.0.0.1.
        hidden: folders of this machine that it does not see, beside the project's.

    Raises:
        EngineError: it cannot be had; nothing of it is left.
    """
    if os.geteuid() != 0:
        raise EngineError("only root can start an engine in namespaces of its own")
    install(NEEDED)
    if len(str(folder)) > LONGEST and not folder.exists():
        raise EngineError(f"{folder} is too long for the sockets in it; {LONGEST} characters are not")
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise EngineError(f"{folder} is there already; a folder that is not was needed") from error
    try:
        return _bring(folder, port, [*HIDDEN, *hidden])
    except BaseException:
        stop(folder)
        raise


def _bring(folder: Path, port: int, hidden: list[Path]) -> str:
    group = f"harness-remote-{os.urandom(4).hex()}"
    (folder / _SETTINGS).write_text(json.dumps({"cgroup": group}))
    config = {
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/docker.pid",
        "hosts": ["fd://"],
        "cgroup-parent": f"/{group}",
        "shutdown-timeout": 2,  # seconds for containers that do not heed TERM
        "log-level": "warn",
    }
    (folder / "daemon.json").write_text(json.dumps(config, indent=2))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, "become", str(folder), str(port), *map(str, hidden)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    state = {"cgroup": group, "pid": process.pid, "start": start_time(process.pid)}
    (folder / _SETTINGS).write_text(json.dumps(state))
    host = f"tcp://127.0.0.1:{port}"
    wait_for_answer(process, host, folder)
    say(f"{host} answers (engine {engine_version()}), out of reach but for its API; its log: {folder}/log")
    return host


def stop(folder: Path) -> None:
    """Stop the engine that ``start`` started with ``folder``, and remove everything of it. None there: nothing to do.

    Raises:
        EngineError: something of it could not be removed.
    """
    try:
        state = json.loads((folder / _SETTINGS).read_text())
    except FileNotFoundError:
        return
    if "pid" in state and not end(state["pid"], state["start"], signal.SIGTERM, STOP_BUDGET):
        say(f"dockerd ({state['pid']}) did not end within {STOP_BUDGET} s of TERM")
    left = ours(folder, (*PROGRAMS, Path(sys.executable).name))
    for pid in left:
        say(f"process {pid} was left")
    kill(left)
    for group in sorted(CGROUPS.glob(f"**/{state['cgroup']}/**/"), key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # another path to one that is gone
            group.rmdir()
    shutil.rmtree(folder)  # its mounts were in its namespace and went with it
    say("stopped, nothing of it is left")


def main(argv: list[str]) -> int:
    """Start or stop; return 0, or 1 with the reason on standard error."""
    match argv:
        case ["start", folder, port, *hidden] if port.isdigit():
            work = lambda: print(start(Path(folder).resolve(), int(port), [Path(one).resolve() for one in hidden]))  # noqa: E731
        case ["stop", folder]:
            work = lambda: stop(Path(folder).resolve())  # noqa: E731
        case ["become", folder, port, *hidden]:
            work = lambda: become(Path(folder), int(port), [Path(one) for one in hidden])  # noqa: E731
        case _:
            say("start DIR PORT [HIDDEN...] or stop DIR")
            return 2
    try:
        work()
    except (EngineError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
