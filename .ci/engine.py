"""A Docker engine for the gate: ``start DIR`` prints the ``DOCKER_HOST`` to use, ``stop DIR`` removes what it started.

An engine that answers already (``DOCKER_HOST``, or the default socket) is used as it is. Otherwise one is installed
where that can be done (root and apt-get), and started with everything that it writes in DIR. Standard library only.

It has a bridge and a range of addresses of its own and does not touch iptables itself (``--iptables=false``): two
engines in one network namespace otherwise empty each other's DOCKER chains and share docker0. The few rules that it
needs carry its bridge's name and go with it. Ports on 127.x.y.z are published by docker-proxy, without rules.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import ipaddress
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess  # noqa: TID251 - runs before anything is installed, so without harness.procs
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_HOST = "unix:///var/run/docker.sock"
PACKAGES = {
    "dockerd": "docker.io",
    "docker-proxy": "docker.io",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
}
PROGRAMS = ("dockerd", "containerd", "containerd-shim")
HARNESS_NETWORKS = "10.213.0.0/16"  # the toolkit's default for `networks`
INSTALL_BUDGET, START_BUDGET, STOP_BUDGET, KILL_BUDGET, COMMAND_BUDGET = 600, 60, 30, 10, 30
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MNT_DETACH = 2
SELFISH = 23  # the first dockerd that deletes docker0 when it is given another bridge (seen: 26, 28; not 20.10)


class EngineError(Exception):
    """The gate cannot have an engine."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(host: str, path: str, timeout: float = 5, method: str = "GET") -> tuple[int, bytes]:
    """Return status and body of the answer to a request, a GET if not said otherwise, of the engine at ``host``.

    Raises:
        OSError: it does not answer.
    """
    url = urlsplit(host)
    connection: http.client.HTTPConnection
    if url.scheme == "unix":
        connection = UnixConnection(url.path, timeout)
    elif url.scheme in ("tcp", "http") and url.hostname:
        connection = http.client.HTTPConnection(url.hostname, url.port or 2375, timeout=timeout)
    else:
        raise OSError(f"{host} is neither unix nor plain tcp")
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()


def answers(host: str) -> bool:
    """Return whether an engine answers at ``host``."""
    with contextlib.suppress(OSError):
        return get(host, "/_ping")[0] == http.HTTPStatus.OK
    return False


def say(line: str) -> None:
    """Print for people; standard output is for the address."""
    print(f"engine: {line}", file=sys.stderr, flush=True)


def command(*argv: str, budget: float = COMMAND_BUDGET, check: bool = True) -> str:
    """Run ``argv`` and return what it wrote.

    Raises:
        EngineError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            argv,
            timeout=budget,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{' '.join(argv)}: {error}") from error
    if check and done.returncode:
        lines = done.stdout.strip().splitlines()[-5:]
        raise EngineError(f"{' '.join(argv)} ended with {done.returncode}: {' / '.join(lines)}")
    return done.stdout


def install(needed: Iterable[str]) -> None:
    """Install the packages of those programs that are missing.

    Raises:
        EngineError: something is missing and cannot be installed.
    """
    missing = [name for name in needed if not shutil.which(name, path=PATH)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get", path=PATH):
        raise EngineError(
            f"no engine answers, {', '.join(missing)} is missing, and only root with apt-get could install it; "
            "point DOCKER_HOST at an engine, or set HARNESS_GATE_ENGINE=none to go without containers"
        )
    packages = sorted({PACKAGES[name] for name in missing})
    say(f"installing {', '.join(packages)}")
    command("apt-get", "update", "-qq", budget=INSTALL_BUDGET)
    command("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, budget=INSTALL_BUDGET)


# -- processes ----------------------------------------------------------------------------------------------------


def stat_of(pid: int) -> list[str]:
    """Return /proc/PID/stat behind the name: state, parent, ... (proc(5)); [] when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> int:
    """Return the clock tick at which ``pid`` started, -1 when it is gone or a zombie."""
    fields = stat_of(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else -1


def ours(folder: Path, programs: tuple[str, ...] = PROGRAMS) -> dict[int, int]:
    """Return ``{pid: start time}`` of this engine's processes and all that they started.

    Two proofs: the program is one of an engine's, and a word of its command line is a path in ``folder``. What has
    neither counts only as a descendant: the processes in containers, and docker-proxy.
    """
    found, children = {}, dict[int, list[int]]()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        fields = stat_of(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
        program = Path(words[0]).name
        if program.startswith(programs) and any(f"{folder}/" in word for word in words[1:]):
            found[pid] = start_time(pid)
    todo = list(found)
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found:
                found[pid] = start_time(pid)
                todo.append(pid)
    return {pid: start for pid, start in found.items() if start >= 0}


def end(pid: int, start: int, number: int, budget: float) -> bool:
    """Signal the process that started at ``start`` and wait for its end; return whether it ended in time."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        if start_time(pid) != start:
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
        return bool(select.select([handle], [], [], budget)[0])
    finally:
        os.close(handle)


def kill(processes: Mapping[int, int]) -> None:
    """End processes (pid -> start time) by KILL, all at once. Raises EngineError when one does not end."""
    for pid, start in processes.items():
        end(pid, start, signal.SIGKILL, 0)
    for pid, start in processes.items():
        if not end(pid, start, signal.SIGKILL, KILL_BUDGET):
            raise EngineError(f"process {pid} does not end")


# -- network ------------------------------------------------------------------------------------------------------


def free_range() -> ipaddress.IPv4Network:
    """Return a private /16 that no route here meets.

    Raises:
        EngineError: there is none.
    """
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(fields[at]), "little") for at in (1, 7))
        if mask:
            routes.append(ipaddress.IPv4Network((address, mask.bit_count())))
    for second in range(214, 250):
        candidate = ipaddress.IPv4Network(f"10.{second}.0.0/16")
        if not any(candidate.overlaps(route) for route in routes):
            return candidate
    raise EngineError("every one of 10.214.0.0/16 to 10.249.0.0/16 has a route here")


def rules(bridge: str, network: str) -> list[list[str]]:
    """Return the rules that the engine's networks need, as words behind ``-A`` or ``-D``.

    Forwarding must be allowed where another engine has set its policy to DROP.
    """
    mark = ["-m", "comment", "--comment", f"harness-gate {bridge}"]
    forward = [
        ["-t", "filter", "FORWARD", way, nets, *mark, "-j", "ACCEPT"]
        for nets in (network, HARNESS_NETWORKS)
        for way in ("-s", "-d")
    ]
    outward = [
        ["-t", "nat", "POSTROUTING", "-s", nets, "!", "-d", nets, *mark, "-j", "MASQUERADE"]
        for nets in (network, HARNESS_NETWORKS)
    ]
    return forward + outward


def rule(action: str, words: list[str], *, check: bool = True) -> None:
    """Add (-I) or remove (-D) a rule."""
    command("iptables", "-w", "10", *words[:2], action, *words[2:], check=check)


def open_network(bridge: str, network: ipaddress.IPv4Network) -> None:
    """Make the bridge and the rules."""
    command("ip", "link", "add", bridge, "type", "bridge")
    command("ip", "address", "add", f"{network[1]}/24", "dev", bridge)
    command("ip", "link", "set", bridge, "up")
    for words in rules(bridge, str(network)):
        rule("-I", words)


def close_network(folder: Path, bridge: str, network: str) -> None:
    """Remove bridge, rules, and the bridges of networks that nobody removed: those whose id the engine's store has."""
    for words in rules(bridge, network):
        with contextlib.suppress(EngineError):
            rule("-D", words, check=False)
    stores = [path.read_bytes() for path in (folder / "data" / "network" / "files").glob("*.db")]
    links = [name for _, name in socket.if_nameindex()]
    for link in links:
        if link.startswith("br-") and any(
            re.search(rf'"{link[3:]}[0-9a-f]{{52}}"'.encode(), store) for store in stores
        ):
            say(f"network {link} was left; it goes with its engine")
            command("ip", "link", "delete", link, check=False)
    if bridge in links:
        command("ip", "link", "delete", bridge)


# -- start and stop -----------------------------------------------------------------------------------------------


def start(folder: Path) -> str:
    """Return the address of an engine that answers, started here when none did.

    Raises:
        EngineError: there is none and none can be had.
    """
    configured = os.environ.get("DOCKER_HOST", "")
    host = configured or DEFAULT_HOST
    if answers(host):
        say(f"{host} answers and is used")
        return host
    if configured:
        raise EngineError(f"DOCKER_HOST is {configured}, and no engine answers there")
    install(PACKAGES)
    if answers(host):  # the package may have started it
        say(f"{host} answers since the package is there, and is used")
        return host
    if os.geteuid() != 0:
        raise EngineError("no engine answers and only root can start one; set HARNESS_GATE_ENGINE=none to go without")
    version = engine_version()
    if version >= SELFISH and "docker0" in [name for _, name in socket.if_nameindex()]:
        raise EngineError(
            f"docker0 is here, so another engine may be, and dockerd {version} would delete it at its start; "
            "point DOCKER_HOST at that engine, or, when it is none any more, `ip link delete docker0`"
        )
    try:
        folder.mkdir(parents=True)  # ours alone: `stop` removes it
    except FileExistsError as error:
        raise EngineError(f"{folder} is there already; a folder that is not was needed") from error
    try:
        return bring(folder)
    except BaseException:
        stop(folder)
        raise


def bring(folder: Path) -> str:
    """Start an engine in ``folder``, wait for its answer, and return its address. Raises EngineError."""
    network, bridge = free_range(), f"hg{os.urandom(4).hex()}"
    (folder / "engine.json").write_text(json.dumps({"bridge": bridge, "network": str(network)}))
    open_network(bridge, network)
    process = spawn(folder, bridge, network)
    host = f"unix://{folder}/docker.sock"
    wait_for_answer(process, host, folder)
    say(f"{host} answers; its log: {folder}/log")
    return host


def engine_version() -> int:
    """Return the major version of the installed dockerd, 0 when it does not say."""
    version = re.search(r"version (\d+)", command("dockerd", "--version"))
    return int(version[1]) if version else 0


def spawn(folder: Path, bridge: str, network: ipaddress.IPv4Network) -> subprocess.Popen[bytes]:
    """Start dockerd in a session of its own and note which process it is."""
    bridged, *_, others = network.subnets(new_prefix=17)
    config = {
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/docker.pid",
        "hosts": [f"unix://{folder}/docker.sock"],
        "bridge": bridge,
        "fixed-cidr": str(next(bridged.subnets(new_prefix=24))),
        "default-address-pools": [{"base": str(others), "size": 24}],
        "iptables": False,
        "log-level": "warn",
    }
    if engine_version() < SELFISH:  # later ones keep their id in data-root
        config["deprecated-key-path"] = f"{folder}/key.json"  # else it shares its id with other engines here
    (folder / "daemon.json").write_text(json.dumps(config, indent=2))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [shutil.which("dockerd", path=PATH) or "dockerd", "--config-file", f"{folder}/daemon.json"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PATH": PATH},
        )
    state = json.loads((folder / "engine.json").read_text())
    state |= {"pid": process.pid, "start": start_time(process.pid)}
    (folder / "engine.json").write_text(json.dumps(state))
    return process


def wait_for_answer(process: subprocess.Popen[bytes], host: str, folder: Path) -> None:
    """Return as soon as the engine answers.

    Raises:
        EngineError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + START_BUDGET
    handle = os.pidfd_open(process.pid)
    try:
        while not answers(host):
            ended = bool(select.select([handle], [], [], 0.02)[0])
            if ended or time.monotonic() > deadline:
                what = f"ended with {process.wait()}" if ended else f"did not answer within {START_BUDGET} s"
                last = (folder / "log").read_text(errors="replace").strip().splitlines()[-5:]
                raise EngineError(f"it {what}: {' / '.join(last)}")
    finally:
        os.close(handle)


def stop(folder: Path) -> None:
    """Stop the engine that ``start`` started with ``folder``, and remove everything of it. None there: nothing to do.

    Raises:
        EngineError: something of it could not be removed.
    """
    try:
        state = json.loads((folder / "engine.json").read_text())
    except FileNotFoundError:
        return
    if "pid" in state and not end(state["pid"], state["start"], signal.SIGTERM, STOP_BUDGET):
        say(f"dockerd ({state['pid']}) did not end within {STOP_BUDGET} s of TERM")
    # Whatever it left: all of it when it was killed, nothing otherwise. A shim that dies leaves its container to init,
    # so the processes are listed before the first of them ends.
    left = ours(folder)
    for pid in left:
        say(f"process {pid} was left")
    kill(left)
    unmount(folder)
    close_network(folder, state["bridge"], state["network"])
    shutil.rmtree(folder)
    say("stopped, nothing of it is left")


def unmount(folder: Path) -> None:
    """Unmount what is mounted below ``folder``, the last first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    libc = ctypes.CDLL(None, use_errno=True)
    for point in reversed(points):
        path = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)
        if path.startswith(f"{folder}/") and libc.umount2(os.fsencode(path), MNT_DETACH):
            raise EngineError(f"{path} cannot be unmounted: {os.strerror(ctypes.get_errno())}")


def main(argv: list[str]) -> int:
    """Start or stop; return 0, or 1 with the reason on standard error."""
    if len(argv) != 2 or argv[0] not in ("start", "stop"):  # noqa: PLR2004 - two words
        say("start DIR or stop DIR")
        return 2
    folder = Path(argv[1]).resolve()
    try:
        if argv[0] == "start":
            print(start(folder))
        else:
            stop(folder)
    except EngineError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
