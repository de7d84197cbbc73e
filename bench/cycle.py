"""A cold cycle: three trivial services up, usable, and gone.

A service is usable at its first answer with the right JSON. Where we ask, none is asked before the engine has
started it: a connection to an address that has no interface yet leaves an unanswered ARP request, which the kernel
repeats only after a second, and all later connections wait for that (seen: 1.26 s to the first answer, not 0.6 s).

The services heed no TERM, as busybox's httpd is process 1 of its container. The peers that stop services politely would
wait ten seconds for them, which says nothing about the peers; so their services have ``stop_signal: SIGKILL``, the
fastest end that any service can come to. One way goes without, since that is what people meet.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shlex
import sys
import tempfile
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.figures import in_a_line, raise_interrupt_behind
from bench.series import Series
from harness import clock, procs, stack_up
from harness.daemon import Api, connect, find_daemon
from harness.docker_sdk import APIError
from harness.errors import BrokenStack, HarnessError
from harness.images import find_base
from harness.ownership.objects import RUN, find, remove_all
from harness.stack.compose import find_compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.docker_sdk import APIClient

TITLE = "cold cycle of three trivial services: up, usable, gone"
NEEDS: tuple[str, ...] = ("engine",)
ROUNDS = 7
LIMITS = (
    "The engine: on two cores a network takes it 0.06 s, the start of one container 0.23 s and of three at once 0.5 s, "
    "as it does much of that one after the other; their removal takes 0.3 s, the network's 0.2 s. That is the floor. "
    "Ours until usable is what the floor has not: the keeper starts while the network is made, 0.08 s for either, and "
    "then Compose creates the containers, 0.06 s where the floor takes 0.02. Plain Compose starts them one after the "
    "other. Beside other work all of it takes longer, ours more than the engine's."
)
FLOOR, DEAF = "floor", "compose-wait-deaf"
GOAL = 1.15
PEER_ROUNDS, DEAF_ROUNDS = 3, 2  # of those that have no goal and take long

SERVICES = ("one", "two", "three")
PORT = 8080
URL = f"http://127.0.0.1:{PORT}/status.json"
IMAGE = "harness-bench:1"
COMMAND = ["/busybox", "httpd", "-f", "-p", str(PORT), "-h", "/www"]
HEALTH = ["CMD", "/busybox", "wget", "-q", "-O", "/dev/null", URL]
DOCKERFILE = """ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS tools
RUN apt-get update && apt-get install --yes --no-install-recommends busybox-static
FROM scratch
COPY --from=tools /bin/busybox /busybox
COPY status.json /www/status.json
"""
STATUS = {"status": "green"}
LABEL = "harness.bench"
PROJECT = "com.docker.compose.project"
BUDGET = 60.0
BUILD_BUDGET = 300.0
SETTLE = 1.5
ANSWER = 1.0
# testcontainers says `docker compose`; the wheel is Compose alone, and without the Docker CLI between it is no slower.
DOCKER = '#!/bin/sh\nshift\nexec {compose} "$@"\n'


@dataclass(frozen=True)
class Times:
    """One cycle: seconds from the beginning to the last first answer, and from then on to gone."""

    up: float
    down: float


@dataclass(frozen=True)
class Way:
    """One way to go through a cycle.

    Attributes:
        name: of its series.
        cycle: goes through one.
        goal: the most that it should be, as a ratio to the floor.
        most: rounds that are measured at most.
        warmed: whether it takes part in the round that is not measured.
    """

    name: str
    cycle: Callable[[], Times]
    goal: float | None = None
    most: int = sys.maxsize
    warmed: bool = True


@dataclass
class Bench:
    """What all ways share: the engine, the folders of the stack, and addresses of this bench's own."""

    client: APIClient
    project: Path
    peers: Path
    compose: str
    name: str
    addresses: dict[str, str]
    times: dict[str, list[Times]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def wait(self) -> None:
        """Return when every service has answered; each is asked by a thread of its own."""
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            list(pool.map(wait_for, self.addresses.values()))

    def left(self, settle: float = 0.0) -> list[str]:
        """Remove by id what this bench's cycles left, whichever way; return them.

        Args:
            settle: seconds to go on looking, for what a Compose that was ended had asked the engine for.
        """
        found = []
        for run in self.project.glob("logs/*-*"):
            found += self._remove(RUN, run.name)
        return found + self._remove(LABEL, self.name) + self._remove(PROJECT, self.name, settle)

    def _remove(self, key: str, value: str, settle: float = 0.0) -> list[str]:
        label, api = f"{key}={value}", Api(find_daemon(os.environ))
        found = [str(one) for one in find(api, label)]
        refused = remove_all(api, label, lambda thing: thing.labels.get(key) == value, settle=settle)
        return found + [f"could not be removed: {reason}" for reason in refused]

    def file(self, name: str) -> str:
        """Return the path of a peers' Compose file."""
        return str(self.peers / f"{name}.yaml")

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
            remove_network(self.client, network.result()["Id"])
        return Times(up, clock.now() - began - up)

    def harness(self, addresses: str) -> Times:
        """What we need."""
        os.environ["HARNESS_ADDRESSES"] = addresses
        with contextlib.chdir(self.project):
            began = clock.now()
            with stack_up("bench", engine="compose"):
                up = clock.now() - began
            return Times(up, clock.now() - began - up)

    def plain_compose(self) -> Times:
        """What Compose needs at least: the services are asked when it says that they are started, and killed."""
        return self._compose("plain", ["up", "-d"], ["down", "-v", "-t", "0"])

    def waiting_compose(self, file: str) -> Times:
        """What Compose needs where it waits by itself, for health checks, and takes down as it does by default."""
        return self._compose(file, ["up", "--wait"], ["down"])

    def _compose(self, file: str, up: Sequence[str], down: Sequence[str]) -> Times:
        began = clock.now()
        self._run_compose(file, *up)
        self.wait()
        usable = clock.now() - began
        self._run_compose(file, *down)
        return Times(usable, clock.now() - began - usable)

    def _run_compose(self, file: str, *words: str) -> None:
        done = procs.run([self.compose, "-f", self.file(file), *words], timeout=BUDGET, env=os.environ)
        if done.code != 0:
            raise BrokenStack(f"compose {' '.join(words)} ended with {done.code}: {done.stderr.strip()[-200:]}")

    def testcontainers(self) -> Times:
        """What DockerCompose of testcontainers needs, where it waits: for health checks."""
        from testcontainers.compose import DockerCompose  # noqa: PLC0415 - of the bench's own dependencies

        began = clock.now()
        docker = str(self.peers / "docker")
        with DockerCompose(self.peers, "healthy.yaml", wait=True, docker_command_path=docker):
            self.wait()
            up = clock.now() - began
        return Times(up, clock.now() - began - up)

    def pytest_docker(self) -> Times:
        """What the fixtures of pytest-docker need, used as its manual does; pytest itself is not in it."""
        from pytest_docker import plugin  # noqa: PLC0415 - of the bench's own dependencies

        began = clock.now()
        with plugin.get_docker_services(
            shlex.quote(self.compose),
            self.file("anywhere"),
            self.name,
            plugin.get_setup_command(),
            plugin.get_cleanup_command(),
        ) as services:
            for service in SERVICES:
                url = f"http://{plugin.get_docker_ip()}:{services.port_for(service, PORT)}/status.json"
                services.wait_until_responsive(check=lambda url=url: is_green(url), timeout=30.0, pause=0.1)
            up = clock.now() - began
        return Times(up, clock.now() - began - up)

    def ways(self) -> list[Way]:
        """Return all of them; the first is what the others are compared to."""
        return [
            Way(FLOOR, self.floor),
            Way("harness", lambda: self.harness("published"), GOAL),
            Way("harness-container", lambda: self.harness("container"), GOAL),
            Way("compose", self.plain_compose),
            Way("compose-wait", lambda: self.waiting_compose("healthy"), most=PEER_ROUNDS),
            Way("testcontainers", self.testcontainers, most=PEER_ROUNDS),
            Way("pytest-docker", self.pytest_docker, most=PEER_ROUNDS),
            Way(DEAF, lambda: self.waiting_compose("deaf"), most=DEAF_ROUNDS, warmed=False),
        ]


def remove_network(client: APIClient, network: str) -> None:
    """Remove a network whose containers are gone; the engine may say for a moment that they are not."""
    for _ in clock.poll(clock.Deadline.after(ANSWER)):
        try:
            return client.remove_network(network)
        except APIError as error:
            refused = error
    raise refused


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


def is_green(url: str) -> bool:
    """Return whether the right answer comes now."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER) as answer:  # noqa: S310 - an address of our own making
            return bool(json.load(answer) == STATUS)
    except (OSError, http.client.HTTPException, ValueError):
        return False


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


def write_ours(folder: Path) -> None:
    """Write a project with a stack for the harness."""
    ready = [{"http": {"port": PORT, "path": "/status.json", "json": STATUS}}]
    one: dict[str, Any] = {"image": IMAGE, "command": COMMAND, "ports": [f"127.0.0.1:{PORT}:{PORT}"]}
    services = {service: {**one, "x-harness": {"ready": ready}} for service in SERVICES}
    (folder / "compose").mkdir(parents=True)
    (folder / "compose" / "bench.yaml").write_text(yaml.safe_dump({"name": "bench", "services": services}))
    (folder / "pyproject.toml").write_text("[tool.harness]\n")


def write_peers(folder: Path, addresses: dict[str, str], name: str, compose: str) -> None:
    """Write the same services for the peers, as each of them needs them, and what stands in for the Docker CLI."""
    folder.mkdir()
    check = {"healthcheck": {"test": HEALTH, "interval": "1s"}}
    quick = {"stop_signal": "SIGKILL"}
    for file, more in (("plain", quick), ("healthy", {**quick, **check}), ("deaf", check), ("anywhere", quick)):
        services = {
            service: {
                "image": IMAGE,
                "command": COMMAND,
                "ports": [f"127.0.0.1::{PORT}" if file == "anywhere" else f"{addresses[service]}:{PORT}:{PORT}"],
                **more,
            }
            for service in SERVICES
        }
        (folder / f"{file}.yaml").write_text(yaml.safe_dump({"name": name, "services": services}))
    (folder / "docker").write_text(DOCKER.format(compose=shlex.quote(compose)))
    (folder / "docker").chmod(0o700)


def measure(rounds: int, scratch: Path, say: Callable[[str], None]) -> list[Series]:
    """Go through cycles in ways that take turns. A way that fails, or leaves something, takes no further part.

    Raises:
        HarnessError: the engine cannot be used, or there is no image.
    """
    # The engine that is in force, and no settings of Compose of the caller's own, for every way.
    for key in [key for key in os.environ if key.startswith("COMPOSE_")]:
        del os.environ[key]
    daemon = find_daemon(os.environ)
    state = scratch / "state"
    state.mkdir(mode=0o700)
    os.environ.update(daemon.environment(), XDG_RUNTIME_DIR=str(state))
    with contextlib.closing(connect(daemon)) as client:
        make_image(client)
        name, third = f"bench-{os.urandom(4).hex()}", random.SystemRandom().randrange(256)
        # Outside the range that runs lease from, and a network of its own for each bench.
        addresses = {service: f"127.10.{third}.{number}" for number, service in enumerate(SERVICES, 2)}
        compose = find_compose(os.environ)
        write_ours(scratch / "project")
        write_peers(scratch / "peers", addresses, name, compose)
        bench = Bench(client, scratch / "project", scratch / "peers", compose, name, addresses)
        try:
            return take_turns(bench, bench.ways(), rounds, say)
        finally:
            if left := bench.left(SETTLE):
                say(f"removed what was left: {', '.join(left)}")


def take_turns(bench: Bench, ways: Sequence[Way], rounds: int, say: Callable[[str], None]) -> list[Series]:
    """Have every way go once for nothing and then ``rounds`` times at most; each round another one begins."""
    for number in range(rounds + 1):
        first = number % len(ways)
        for way in [*ways[first:], *ways[:first]]:
            most = way.most if way.warmed else min(way.most, rounds - 1)
            if way.name not in bench.failed and number <= most and (number or way.warmed):
                _take_turn(bench, way, number, say)
    return [one for way in ways for one in _series(way, bench)]


def _take_turn(bench: Bench, way: Way, number: int, say: Callable[[str], None]) -> None:
    try:
        seen = way.cycle()
    except Exception as error:  # noqa: BLE001 - one way's failure must not hide the others' figures
        raise_interrupt_behind(error)
        bench.failed[way.name] = in_a_line(error)
    else:
        if number:
            bench.times.setdefault(way.name, []).append(seen)
        say(f"{number:>3}  {way.name:<18} up {seen.up:6.3f}  down {seen.down:6.3f}  cycle {seen.up + seen.down:6.3f}")
    if left := bench.left(SETTLE if way.name in bench.failed else 0.0):
        bench.failed.setdefault(way.name, f"it left {', '.join(left)}; removed")
    if reason := bench.failed.get(way.name):
        say(f"{number:>3}  {way.name:<18} failed: {reason}")


def _series(way: Way, bench: Bench) -> list[Series]:
    """Return the cycles of a way, and its halves; nothing when it had no turn."""
    times, failed = bench.times.get(way.name, []), bench.failed.get(way.name, "")
    if not times and not failed:
        return []
    cycles = tuple(one.up + one.down for one in times)
    base = "" if way.name == FLOOR else FLOOR
    return [Series(way.name, cycles, against=base, goal=way.goal, failed=failed)] + [
        Series(f"{way.name} {half}", tuple(getattr(one, half) for one in times), against=base and f"{base} {half}")
        for half in ("up", "down")
        if times
    ]


if __name__ == "__main__":
    from bench.__main__ import main

    sys.exit(main(["--figures", "cycle", "--no-history", *sys.argv[1:]]))
