"""A Podman for the nightly run: ``start DIR [SUITE]`` prints the ``DOCKER_HOST`` to use, ``stop DIR`` removes it.

Podman is this machine's (installed where that can be done: root and apt-get), or with SUITE, such as trixie, that of a
release of Debian, in a tree of its own. Exit code 3: it cannot be had here, with the reason as the last line.
Everything of it is in DIR: images, containers, settings, socket, log. Standard library only.

It has a mount namespace of its own, so mounts go with it, and of /run what Podman would share with another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess  # noqa: TID251 - as in ``engine``
import sys
import tempfile
from pathlib import Path

import engine
from engine import EngineError, command, end, say, start_time, wait_for_answer

NOT_HERE = 3
NEEDED = {"podman": "podman", "runc": "runc", "iptables": "iptables", "unshare": "util-linux"}
# Without them names of services would not be found on networks.
NETWORK = {"/usr/lib/podman/netavark": "netavark", "/usr/lib/podman/aardvark-dns": "aardvark-dns"}
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables")
PROGRAMS = ("podman", "conmon")
INSTALL_BUDGET, TREE_BUDGET, REMOVE_BUDGET = 600, 900, 60
APART = ["unshare", "--mount", "--propagation", "private", "sh", "-euc"]
HERE = 'mkdir -p /run/containers; mount -t tmpfs tmpfs /run/containers; exec "$@"'
# A root that can be pivoted from is needed: runc pivots too, which it cannot in a plain chroot.
THERE = """
root=$1; shift
mount --bind "$root" "$root"
for path in /proc /sys /dev; do mount --rbind $path "$root$path"; done
mount -t tmpfs tmpfs "$root/run"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; shift; done
shift
mkdir -p "$root/.outside"
cd "$root"
pivot_root . .outside
umount -l /.outside
cd /
exec "$@"
"""


class NotHereError(EngineError):
    """This machine cannot have it."""


def settings(folder: Path) -> str:
    """Return a containers.conf(5) that needs no systemd, and no more rights than there are."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    # Podman lowers its own one to this.
    most = min(resource.getrlimit(resource.RLIMIT_NPROC)[1], int(Path("/proc/sys/kernel/pid_max").read_text()))
    return f"""\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={most}:{most}"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/scratch"
"""


def install() -> None:
    """Install what is missing. Raises NotHereError where that cannot be."""
    missing = [package for program, package in NEEDED.items() if not shutil.which(program, path=engine.PATH)]
    missing += [package for path, package in NETWORK.items() if not Path(path).exists()]
    if not missing:
        return
    if not shutil.which("apt-get", path=engine.PATH):
        raise NotHereError(f"{', '.join(missing)}: not there, and no apt-get to install them")
    say(f"installing {', '.join(missing)}")
    try:
        command("apt-get", "update", "-qq", budget=INSTALL_BUDGET)
        command("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, budget=INSTALL_BUDGET)
    except EngineError as error:
        raise NotHereError(str(error)) from error


def plant(root: Path, suite: str) -> None:
    """Make a tree of a release of Debian with Podman in it. Raises NotHereError where that cannot be."""
    if not shutil.which("debootstrap", path=engine.PATH):
        raise NotHereError("debootstrap is not there, which makes a tree of another release")
    say(f"making a tree of Debian {suite} with Podman in it; this takes a minute or two")
    try:
        command("debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root), budget=TREE_BUDGET)
        policy = root / "usr/sbin/policy-rc.d"  # nothing may be started in there (invoke-rc.d(8))
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        command("chroot", str(root), *words, budget=INSTALL_BUDGET)
    except EngineError as error:
        raise NotHereError(str(error)) from error


def start(folder: Path, suite: str) -> str:
    """Start a Podman with everything of it in ``folder``, and return its address.

    Raises:
        NotHereError: it cannot be had on this machine.
        EngineError: it could, and does not answer.
    """
    if os.geteuid() != 0:
        raise NotHereError("only root can start one")
    if not suite:
        install()
    try:
        folder.mkdir(parents=True)  # ours alone: `stop` removes it
    except FileExistsError as error:
        raise EngineError(f"{folder} is there already; a folder that is not was needed") from error
    (folder / "podman.json").write_text(json.dumps({"chains": chains()}))
    try:
        if suite:
            plant(folder / "tree", suite)
        return bring(folder, suite)
    except BaseException:
        stop(folder)
        raise


def bring(folder: Path, suite: str) -> str:
    """Start the service and wait for its answer. Raises EngineError."""
    own = folder / "own"
    (own / "scratch").mkdir(parents=True)
    (own / "containers.conf").write_text(settings(own))
    host = f"unix://{own}/podman.sock"
    podman = ["podman", "--root", f"{own}/root"]  # the other one, of 50 characters at most, is in its /run
    podman += ["--network-config-dir", f"{own}/networks", "system", "service", "--time", "0", host]
    # What containers may mount must be the same in the tree: the checkout, and folders for things that pass.
    shared = [str(own), str(Path.cwd()), tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", "")]
    argv = [*APART, HERE, "sh", *podman]
    if suite:
        argv = [*APART, THERE, "sh", str(folder / "tree"), *dict.fromkeys(filter(None, shared)), "--", *podman]
    configured = {"CONTAINERS_CONF": f"{own}/containers.conf"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": engine.PATH, "HOME": str(own), "TMPDIR": f"{own}/scratch", **configured},
        )
    state = json.loads((folder / "podman.json").read_text())
    state |= {"pid": process.pid, "start": start_time(process.pid)}
    (folder / "podman.json").write_text(json.dumps(state))
    wait_for_answer(process, host, folder)
    state["namespace"] = namespace(process.pid)
    (folder / "podman.json").write_text(json.dumps(state))
    say(f"{host} answers; its log: {folder}/log")
    return host


def namespace(pid: int | str) -> str:
    """Return the mount namespace of a process, "" when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def inside(space: str) -> dict[int, int]:
    """Return ``{pid: start time}`` of the processes in a mount namespace that was made for them: nobody else's are."""
    if space in (namespace("self"), namespace(1)):
        return {}
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid: start_time(pid) for pid in pids if space and namespace(pid) == space and start_time(pid) >= 0}


def chains() -> list[str]:
    """Return the chains of netavark, which makes a container's network, that there are: table and name."""
    named = []
    for table in ("filter", "nat"):
        for line in command("iptables", "-w", "10", "-t", table, "-S", check=False).splitlines():
            words = line.split()
            if words[:1] == ["-N"] and words[1].startswith("NETAVARK"):
                named.append(f"{table} {words[1]}")
    return named


def remove_chains(kept: list[str]) -> None:
    """Remove netavark's chains and all that leads to them, but for those that were there before."""
    gone = [chain.split() for chain in chains() if chain not in kept]
    for table in ("filter", "nat"):
        names = {name for where, name in gone if where == table}
        for line in command("iptables", "-w", "10", "-t", table, "-S", check=False).splitlines():
            words = shlex.split(line)
            if words[:1] == ["-A"] and words[-1] in names and words[1] not in names:
                command("iptables", "-w", "10", "-t", table, "-D", *words[1:], check=False)
        for act in ("-F", "-X"):
            for name in sorted(names):
                command("iptables", "-w", "10", "-t", table, act, name, check=False)


def stop(folder: Path) -> None:
    """Stop what ``start`` started with ``folder``, and remove everything of it. None there: nothing to do.

    Raises:
        EngineError: something of it could not be removed.
    """
    try:
        state = json.loads((folder / "podman.json").read_text())
    except FileNotFoundError:
        return
    if "pid" in state:
        remove_containers(folder)
        if not end(state["pid"], state["start"], signal.SIGTERM, engine.STOP_BUDGET):
            say(f"podman ({state['pid']}) did not end within {engine.STOP_BUDGET} s of TERM")
    # What runs in containers has other namespaces, and is a descendant of what is listed by its words.
    left = engine.ours(folder, PROGRAMS) | inside(state.get("namespace", ""))
    engine.kill(left)
    remove_chains(state["chains"])
    with contextlib.suppress(OSError):
        Path("/run/containers").rmdir()  # what its own one was mounted on, unless somebody has something in it
    shutil.rmtree(folder)
    say("stopped, nothing of it is left")


def remove_containers(folder: Path) -> None:
    """Remove the containers that somebody left: with each its network goes."""
    host = f"unix://{folder}/own/podman.sock"
    if not engine.answers(host):
        return
    for container in json.loads(engine.get(host, "/containers/json?all=1", engine.COMMAND_BUDGET)[1]):
        say(f"container {container['Names'][0].lstrip('/')} was left")
        engine.get(host, f"/containers/{container['Id']}?force=1&v=1", REMOVE_BUDGET, method="DELETE")


def main(argv: list[str]) -> int:
    """Start or stop; return 0, 3 when there can be none, or 1, with the reason on standard error."""
    if argv[:1] not in (["start"], ["stop"]) or len(argv) not in (2, 3):
        say("start DIR [SUITE] or stop DIR")
        return 2
    folder = Path(argv[1]).resolve()
    try:
        if argv[0] == "start":
            print(start(folder, argv[2] if len(argv) > 2 else ""))  # noqa: PLR2004 - the third word
        else:
            stop(folder)
    except NotHereError as error:
        say(str(error))
        return NOT_HERE
    except EngineError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
