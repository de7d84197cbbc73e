"""Measures a cold cycle: three trivial services up, usable, and gone, in four ways that take turns.

1. floor: the Engine API in parallel, each service asked every 5 ms from its start on, removed by force.
2. compose: `up -d`, then asked in the same way, then `down -v -t 0`.
3. harness: `harness.stack_up`, with published ports.
4. harness-container: the same with containers' own addresses.

A service is usable at its first answer with the right JSON. In the first two ways none is asked before the engine has
started it: a connection to an address that has no interface yet leaves an unanswered ARP request, which the kernel
repeats only after a second, and all later connections wait for that (seen: 1.26 s to the first answer, not 0.6 s).

Results go to logs/bench/ as JSON and as a table; exit code 1 when a way failed.
``python bench/cold_cycle.py [--rounds N] [--ways floor,compose,...]``.
"""
# ruff: noqa: INP001 - a script, run by `nox -s bench`

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness import artifacts, clock, procs, stack_up
from harness.config import read_sources
from harness.daemon import Daemon, connect, find_daemon
from harness.errors import BrokenStack, HarnessError
from harness.images import find_base
from harness.ownership.objects import RUN, find
from harness.stack.compose import find_compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from docker import APIClient

SERVICES = ("one", "two", "three")
PORT = 8080
IMAGE = "harness-bench:1"
COMMAND = ["/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/www"]
DOCKERFILE = """ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends busybox-static
FROM scratch
COPY --from=tools /bin/busybox /busybox
COPY status.json /www/status.json
"""
STATUS = {"status": "green"}
LABEL = "harness.bench"
BUDGET = 60.0
BUILD_BUDGET = 300.0
ANSWER = 1.0


@dataclass(frozen=True)
class Times:
    """One cycle: seconds from the beginning to the last first answer, from then on to gone, and both."""

    up: float
    down: float

    @property
    def cycle(self) -> float:
        """Both."""
        return self.up + self.down


@dataclass
class Bench:
    """What all ways share: the engine, the folder of the stack, and addresses of this bench's own."""

    client: APIClient
    daemon: Daemon
    folder: Path
    compose: str
    name: str
    addresses: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)

    def wait(self) -> None:
        """Return when every service has answered; each is asked by a thread of its own."""
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            list(pool.map(wait_for, self.addresses.values()))

    def left(self) -> list[str]:
        """Remove by id the containers and networks that this bench's cycles left, whichever way; return them."""
        labels = [f"{LABEL}={self.name}", f"com.docker.compose.project={self.name}"]
        labels += [f"{RUN}={run.name}" for run in self.folder.glob("logs/*-*")]
        found = []
        for label in labels:
            for one in find(self.client, label):
                found.append(str(one))
                if one.kind == "container":
                    self.client.remove_container(one.id, v=True, force=True)
                elif one.kind == "network":
                    self.client.remove_network(one.id)
        return found

    # -- the ways ---------------------------------------------------------------------------------------------------

    def floor(self) -> Times:
        """What the engine itself needs: whatever does not wait for anything else goes on at once."""
        began, labels = clock.now(), {LABEL: self.name}
        ids: dict[str, str] = {}
        with ThreadPoolExecutor(2 * len(SERVICES)) as pool:
            network = pool.submit(self.client.create_network, self.name, driver="bridge", labels=labels)

            def start(service: str) -> None:
                host = self.client.create_host_config(
                    port_bindings={PORT: (self.addresses[service], PORT)}, network_mode=self.name
                )
                made = self.client.create_container(
                    IMAGE, COMMAND, ports=[PORT], labels=labels, host_config=host, name=f"{self.name}-{service}"
                )
                ids[service] = made["Id"]
                network.result()
                self.client.start(made["Id"])
                wait_for(self.addresses[service])

            list(pool.map(start, SERVICES))
            up = clock.now() - began
            list(pool.map(lambda one: self.client.remove_container(one, v=True, force=True), ids.values()))
            self.client.remove_network(network.result()["Id"])
        return Times(up, clock.now() - began - up)

    def plain_compose(self) -> Times:
        """What Compose needs, with the services asked when it says that they are started."""
        began = clock.now()
        words = [self.compose, "-p", self.name, "-f", str(self.folder / "plain.yaml")]
        self._compose(*words, "up", "-d")
        self.wait()
        up = clock.now() - began
        self._compose(*words, "down", "-v", "-t", "0")
        return Times(up, clock.now() - began - up)

    def _compose(self, *argv: str) -> None:
        done = procs.run(argv, timeout=BUDGET, env={**os.environ, **self.daemon.environment()})
        if done.code != 0:
            raise BrokenStack(f"{' '.join(argv)} ended with {done.code}", details=done.stderr.splitlines()[-5:])

    def harness(self, addresses: str) -> Times:
        """What we need."""
        os.environ["HARNESS_ADDRESSES"] = addresses
        with contextlib.chdir(self.folder):
            began = clock.now()
            with stack_up("bench", engine="compose"):
                up = clock.now() - began
            return Times(up, clock.now() - began - up)


def wait_for(address: str) -> None:
    """Ask every 5 ms until the right answer comes.

    Raises:
        BrokenStack: it did not come in time.
    """
    seen = "nothing"
    deadline, never = clock.Deadline.after(BUDGET), threading.Event()
    for _ in clock.poll(deadline, pause=False):
        connection = http.client.HTTPConnection(address, PORT, timeout=ANSWER)
        try:
            connection.request("GET", "/status.json")
            if json.loads(connection.getresponse().read()) == STATUS:
                return
        except (OSError, http.client.HTTPException, ValueError) as error:
            seen = repr(error)
        finally:
            connection.close()
        never.wait(clock.DENSE)  # the loop's own steps grow longer; the floor must be asked as densely at any time
    raise BrokenStack(f"{address}:{PORT} did not answer within {BUDGET:g} s: {seen}")


def make_image(client: APIClient) -> None:
    """Build the image from the base image, unless it is there."""
    if client.images(name=IMAGE):
        return
    base = find_base(client)
    if base is None:
        raise HarnessError("There is no base image on the engine", hint="nox -s images")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(DOCKERFILE)
        (Path(folder) / "status.json").write_text(json.dumps(STATUS))
        lines: Iterator[dict[str, Any]] = client.build(
            path=folder, tag=IMAGE, rm=True, decode=True, buildargs={"BASE_IMAGE": base}, timeout=int(BUILD_BUDGET)
        )
        for line in lines:
            if "error" in line:
                raise HarnessError(f"The image could not be built: {line['error'].strip()}")


def write_stacks(folder: Path, addresses: dict[str, str], name: str) -> None:
    """Write a project with a stack for the harness, and the same services for Compose alone."""
    ready = [{"http": {"port": PORT, "path": "/status.json", "json": STATUS}}]
    one: dict[str, Any] = {"image": IMAGE, "command": COMMAND}
    ours = {
        service: {**one, "ports": [f"127.0.0.1:{PORT}:{PORT}"], "x-harness": {"ready": ready}} for service in SERVICES
    }
    plain = {service: {**one, "ports": [f"{addresses[service]}:{PORT}:{PORT}"]} for service in SERVICES}
    (folder / "compose").mkdir()
    (folder / "compose" / "bench.yaml").write_text(yaml.safe_dump({"name": "bench", "services": ours}))
    networks = {"default": {"labels": {LABEL: name}}}
    (folder / "plain.yaml").write_text(yaml.safe_dump({"services": plain, "networks": networks}))
    (folder / "pyproject.toml").write_text("[tool.harness]\n")


def measure(bench: Bench, ways: dict[str, Callable[[], Times]], rounds: int) -> dict[str, list[Times]]:
    """Run every way once for nothing and then ``rounds`` times, taking turns; one that fails takes no further part."""
    times: dict[str, list[Times]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        names = list(ways)
        order = names[number % len(names) :] + names[: number % len(names)]
        for name in [one for one in order if one not in bench.failed]:
            try:
                seen = ways[name]()
            except Exception as error:  # noqa: BLE001 - one way's failure must not hide the others' figures
                bench.failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                bench.left()
                continue
            if left := bench.left():
                bench.failed[name] = f"left {', '.join(left)}"
            elif number:
                times[name].append(seen)
            print(f"{number:>3}  {name:<18} up {seen.up:.3f}  down {seen.down:.3f}  cycle {seen.cycle:.3f}", flush=True)
    return times


def summary(times: dict[str, list[Times]]) -> list[dict[str, Any]]:
    """Return a row for each way that was measured: medians, and the ratio of the cycle to the first way's."""
    rows: list[dict[str, Any]] = []
    for name, seen in times.items():
        if seen:
            row = {key: statistics.median(getattr(one, key) for one in seen) for key in ("up", "down", "cycle")}
            first = rows[0]["cycle"] if rows else row["cycle"]
            worst = max(one.cycle for one in seen)
            rows.append({"way": name, "rounds": len(seen), **row, "worst": worst, "ratio": row["cycle"] / first})
    return rows


def table(rows: Sequence[dict[str, Any]], failed: dict[str, str]) -> str:
    """Return the rows for people."""
    lines = [f"{'way':<18}  rounds     up   down  cycle  worst  to the first"]
    lines += [
        f"{row['way']:<18}  {row['rounds']:>6}  {row['up']:5.3f}  {row['down']:5.3f}  {row['cycle']:5.3f}"
        f"  {row['worst']:5.3f}  {row['ratio']:.2f}"
        for row in rows
    ]
    return "\n".join([*lines, *(f"{name:<18}  failed: {reason}" for name, reason in failed.items())])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="measured ones; one more comes first (default 7)")
    parser.add_argument("--ways", default="floor,compose,harness,harness-container", help="default: all")
    given = parser.parse_args(argv)
    logs = Path("logs/bench").resolve()
    environ = read_sources().environ
    daemon = find_daemon(environ)
    try:
        client = connect(daemon)
        make_image(client)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as scratch:
        name, chosen = f"bench-{os.urandom(4).hex()}", random.SystemRandom()
        # Outside the range that runs lease from, and a network of its own for each bench.
        third = chosen.randrange(256)
        addresses = {service: f"127.10.{third}.{number}" for number, service in enumerate(SERVICES, 2)}
        folder, state = Path(scratch, "project"), Path(scratch, "state")
        folder.mkdir()
        state.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(state)
        write_stacks(folder, addresses, name)
        bench = Bench(client, daemon, folder, find_compose(environ), name, addresses)
        known: dict[str, Callable[[], Times]] = {
            "floor": bench.floor,
            "compose": bench.plain_compose,
            "harness": lambda: bench.harness("published"),
            "harness-container": lambda: bench.harness("container"),
        }
        try:
            times = measure(bench, {way: known[way] for way in given.ways.split(",")}, given.rounds)
        finally:
            bench.left()
    rows = summary(times)
    logs.mkdir(parents=True, exist_ok=True)
    version = client.version()
    document = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "engine": version["Version"],
        "kernel": version["KernelVersion"],
        "cores": os.cpu_count(),
        "medians": rows,
        "failed": bench.failed,
        "rounds": {way: [{"up": one.up, "down": one.down} for one in seen] for way, seen in times.items()},
    }
    text = table(rows, bench.failed)
    artifacts.write_atomically(logs / "cold_cycle.json", json.dumps(document, indent=2) + "\n")
    artifacts.write_atomically(logs / "cold_cycle.txt", text + "\n")
    print(text)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
