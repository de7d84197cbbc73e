"""A stack as local processes, decided before anything is created."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness.engine import Endpoint
from harness.engine.layout import Layout, Stranger, dry_layout, find_strangers, needs
from harness.engine.process import plan as embedded
from harness.engine.process.plan import NAME
from harness.errors import ConfigError
from harness.stack import read_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.stack import Tree

MAKE_IT = (
    "; make it, or, where an empty folder will do, `mkdir -p` it or write bind: {create_host_path: true} at its volume"
)


def plan_stack(tree: Tree, name: str, layout: Layout) -> Any:
    """Return the plan, every service of which is a process here."""
    return embedded.plan_stack(tree, name, layout)


CALLER = {"PATH": "/usr/bin:/bin", "HOME": "/home/somebody"}
API_ADDRESS, DB_ADDRESS = "127.7.8.2", "127.7.8.3"


def service(*command: str, **keys: Any) -> dict[str, Any]:
    """Return a service with this command; ``compose`` are keys beside x-harness, the others those of the process."""
    compose = keys.pop("compose", {})
    harness = keys.pop("harness", {})
    return {"image": "x", **compose, "x-harness": {"embedded": {"command": list(command), **keys}, **harness}}


def tree_of(folder: Path, services: dict[str, Any], **top: Any) -> Tree:
    """Write the stack ``s`` and read it."""
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({**top, "services": services}, sort_keys=False))
    return read_tree([path], {})


def layout_of(
    tree: Tree,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    strangers: Mapping[tuple[int, str], Stranger] | None = None,
) -> Layout:
    """Return a layout below ``folder``: an address for every service, a number from 41000 on for every port name."""
    wanted = needs(tree, strangers or {}, NAME)
    return Layout(
        engine=NAME,
        work=folder / "work",
        logs=folder / "logs",
        environ=CALLER if environ is None else environ,
        addresses={name: f"127.7.8.{number}" for number, name in enumerate(wanted.addresses, 2)},
        ports={name: number for number, name in enumerate(wanted.ports, 41000)},
        strangers=strangers or {},
    )


def plan(folder: Path, services: dict[str, Any], **top: Any) -> Any:
    """Return the plan of a stack with these services."""
    tree = tree_of(folder, services, **top)
    return plan_stack(tree, "s", layout_of(tree, folder))


def plan_one(folder: Path, one: dict[str, Any], **top: Any) -> Any:
    """Return the plan of ``api`` as the only service of a stack."""
    return plan(folder, {"api": one}, **top).services[0]


def refused(folder: Path, services: dict[str, Any], layout: Layout | None = None) -> list[str]:
    """Return what the plan is refused for, after checking that nothing is created."""
    tree = tree_of(folder, services)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        plan_stack(tree, "s", layout or layout_of(tree, folder))
    assert caught.value.exit_code == 10
    assert len(str(caught.value).splitlines()[0]) <= 120
    assert sorted(folder.rglob("*")) == before
    said = caught.value.problems
    return [line.replace(f"{folder}/", "") for line in said]


def test_python_is_this_interpreter(tmp_path: Path) -> None:
    """``python`` as first word must be the interpreter that runs the harness; elsewhere it is a word."""
    one = plan_one(
        tmp_path,
        service(
            "python",
            "-c",
            "python",
            stop=["python", "-m", "stop"],
            healthcheck={"test": ["CMD", "python", "-m", "health"]},
        ),
    )
    assert one.argv == (sys.executable, "-c", "python")
    assert one.stop == (sys.executable, "-m", "stop")
    assert one.health == (sys.executable, "-m", "health")


def test_a_log_file_of_its_own_is_in_the_folder_of_logs(tmp_path: Path) -> None:
    """The path of a service's own log must become one of its stack's, so that no two services share it."""
    api = service(
        "sh", "--log=/var/log/api.log", "{log}", "{mount:/var/log/api.log}", harness={"log_file": "/var/log/api.log"}
    )
    here = str(tmp_path / "logs/api@s.file.log")
    assert plan_one(tmp_path, api).argv == ("sh", f"--log={here}", here, here)


@pytest.mark.parametrize("path", ["log", "/", "/var/log/"])
def test_a_log_file_must_be_the_path_of_a_file(tmp_path: Path, path: str) -> None:
    """A relative path, or a folder, must be refused when the file is read."""
    with pytest.raises(ConfigError, match="log_file"):
        tree_of(tmp_path, {"api": service("sh", harness={"log_file": path})})


@pytest.mark.parametrize(
    ("test", "health"),
    [
        (["CMD", "check", "{address}"], ("check", API_ADDRESS)),
        (["check", "-x"], ("check", "-x")),
        (["CMD-SHELL", "check api:80 | grep {port:80}"], ("/bin/sh", "-c", f"check {API_ADDRESS}:80 | grep 80")),
        ("check || exit 1", ("/bin/sh", "-c", "check || exit 1")),
    ],
)
def test_a_healthcheck_is_in_composes_words(tmp_path: Path, test: list[str] | str, health: tuple[str, ...]) -> None:
    """A healthcheck must be a command with CMD or without, and a line for the shell with CMD-SHELL or as a string."""
    api = service("true", healthcheck={"test": test}, compose={"ports": ["80:80"]})
    assert plan_one(tmp_path, api).health == health


def test_everything_is_rendered(tmp_path: Path) -> None:
    """Placeholders, names and container paths must be rendered in command, environment, stop command and files."""
    (tmp_path / "app.ini").write_text("broker = db:5432\nHOST = db\nconf = /etc/app.ini\n")
    (tmp_path / "binary").write_bytes(b"\xff db:5432")
    (tmp_path / "folder").mkdir()
    api = service(
        "sh",
        "{mount:/etc/app.ini}",
        "--db=db:5432",
        "{data}",
        "{log}",
        "{port:beacon}",
        environment={"PORT": "{port:80}", "ADDR_LIST": "db", "FLAG": True, "COUNT": 3, "GONE": None},
        stop=["sh", "{address}"],
        compose={
            "ports": ["80:8080"],
            "environment": {
                "URL": "http://db:5432",
                "DB_HOST": "db",
                "BRACES": "{address}",
                "GONE": "here",
                "COUNT": "1",
            },
            "volumes": ["./app.ini:/etc/app.ini:ro", "./binary:/bin/data", "./folder:/folder", "data:/var/data"],
        },
    )
    db = service("sh", compose={"ports": ["5432"]})
    one = plan(tmp_path, {"api": api, "db": db}, volumes={"data": {}}).services[0]
    ini = tmp_path / "work/s/api/mounts/etc/app.ini"
    assert one.argv == (
        "sh",
        str(ini),
        f"--db={DB_ADDRESS}:5432",
        str(tmp_path / "work/s/api/data"),
        str(tmp_path / "logs/api@s.file.log"),
        "41000",
    )
    assert {key: one.env.get(key) for key in ("PORT", "ADDR_LIST", "FLAG", "COUNT", "URL", "DB_HOST", "BRACES")} == {
        "PORT": "80",
        "ADDR_LIST": DB_ADDRESS,
        "FLAG": "true",
        "COUNT": "3",
        "URL": f"http://{DB_ADDRESS}:5432",
        "DB_HOST": DB_ADDRESS,
        "BRACES": "{address}",
    }
    assert "GONE" not in one.env
    assert one.stop == ("sh", API_ADDRESS)
    assert [(Path(copy.source), copy.target, copy.content) for copy in one.copies] == [
        (tmp_path / "app.ini", ini, f"broker = {DB_ADDRESS}:5432\nHOST = {DB_ADDRESS}\nconf = {ini}\n".encode()),
        (tmp_path / "binary", tmp_path / "work/s/api/mounts/bin/data", b"\xff db:5432"),
    ]
    assert one.mounts == {
        "/etc/app.ini": str(ini),
        "/bin/data": str(tmp_path / "work/s/api/mounts/bin/data"),
        "/folder": str(tmp_path / "folder"),
        "/var/data": str(tmp_path / "work/volumes/s/data"),
    }
    assert one.folders == (tmp_path / "work/s/api/data", tmp_path / "work/volumes/s/data")
    assert one.endpoints == (Endpoint("api", 80, 8080, API_ADDRESS, 80),)
    assert (one.endpoint(80), one.endpoint(8080), one.endpoint(81)) == (one.endpoints[0], one.endpoints[0], None)
    assert not (tmp_path / "work").exists()


def test_a_volume_is_shared_by_the_services_of_a_stack(tmp_path: Path) -> None:
    """Two services with the same volume must have the same folder, and anonymous ones a folder of their own."""
    api = service("sh", compose={"volumes": ["data:/a", "/scratch"]})
    db = service("sh", compose={"volumes": ["data:/b", "/scratch"]})
    first, second = plan(tmp_path, {"api": api, "db": db}, volumes={"data": {}}).services
    assert first.mounts["/a"] == second.mounts["/b"] == str(tmp_path / "work/volumes/s/data")
    assert first.mounts["/scratch"] != second.mounts["/scratch"]


def test_a_named_port_of_a_healthcheck_is_leased(tmp_path: Path) -> None:
    """Port names must be found wherever a placeholder can stand, each once."""
    api = service(
        "sh",
        "{port:one}",
        "{port:80}",
        environment={"A": "{port:two}", "B": "{port:one}"},
        stop=["sh", "{port:three}"],
        healthcheck={"test": ["CMD", "sh", "{port:four}"]},
        compose={"ports": ["80"]},
    )
    db = service("sh", healthcheck={"test": "check {port:five}"})
    tree = tree_of(tmp_path, {"api": api, "db": db})
    assert needs(tree, {}, NAME).ports == ("one", "two", "three", "four", "five")
    assert needs(tree, {}, NAME).addresses == ("s/api", "s/db")
    made = plan_stack(tree, "s", layout_of(tree, tmp_path))
    assert [plan.health[-1] for plan in made.services] == ["41003", "check 41004"]


def test_a_service_sees_nothing_stray_of_its_caller(tmp_path: Path) -> None:
    """Of the caller's environment only what says where things are and how to print may reach a service."""
    caller = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/home/somebody",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/certificates",
        "PYTHONPATH": "/leak",
        "EPICS_CA_ADDR_LIST": "leak",
        "HARNESS_ENGINE": "leak",
        "HARNESS_HOST_DB": "leak",
        "PYTEST_CURRENT_TEST": "leak",
        "SECRET_TOKEN": "leak",
        "HTTP_PROXY": "leak",
    }
    db = service("sh", compose={"ports": ["5432:15432"]})
    tree = tree_of(tmp_path, {"api": service("sh"), "the-db.1": db})
    assert plan_stack(tree, "s", layout_of(tree, tmp_path, caller)).services[0].env == {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": "/home/somebody",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/certificates",
        "PYTHONUNBUFFERED": "1",
        "HARNESS_HOST_THE_DB_1": DB_ADDRESS,
        "HARNESS_PORT_THE_DB_1_5432": "5432",
        "HARNESS_PORT_THE_DB_1_15432": "5432",
    }


def test_a_declared_value_wins_over_the_callers(tmp_path: Path) -> None:
    """What the stack says must win over the caller's environment; null under embedded takes a variable away."""
    api = service("/bin/sh", environment={"HOME": "/process", "LANG": None}, compose={"environment": {"TZ": "Mars"}})
    tree = tree_of(tmp_path, {"api": api})
    layout = layout_of(tree, tmp_path, {**CALLER, "LANG": "C", "TZ": "UTC"})
    env = plan_stack(tree, "s", layout).services[0].env
    assert (env["HOME"], env["TZ"], "LANG" in env) == ("/process", "Mars", False)


@pytest.mark.parametrize(
    ("compose", "harness", "top", "grace"),
    [
        ({}, {}, {}, 0.0),
        ({}, {"subject": "api"}, {}, 2.0),
        ({"stop_grace_period": "5s"}, {}, {}, 5.0),
        ({"stop_grace_period": "1m"}, {"subject": "api"}, {}, 7.0),
        ({"stop_grace_period": "0s"}, {"subject": "api"}, {}, 0.0),
        ({"stop_grace_period": "1m"}, {}, {"x-harness": {"timeouts": {"down": "20s"}}}, 20.0),
    ],
)
def test_subjects_have_grace_and_others_what_they_ask(
    tmp_path: Path, compose: dict[str, Any], harness: dict[str, Any], top: dict[str, Any], grace: float
) -> None:
    """Grace must be what is declared, else 2 s for a subject and none for others, within the time for stopping."""
    assert plan_one(tmp_path, service("sh", compose=compose, harness=harness), **top).grace == grace


def test_an_ignored_healthcheck_is_said(tmp_path: Path) -> None:
    """A container's healthcheck that nothing replaces here must be said once; one that is replaced, not."""
    check = {"healthcheck": {"test": ["CMD", "x"]}}
    made = plan(
        tmp_path,
        {"api": service("sh", compose=check), "db": service("sh", compose=check, healthcheck={"test": "x"})},
    )
    assert made.notes == ("service 'api': its container's healthcheck is ignored here",)


def test_a_folder_of_work_is_from_the_file(tmp_path: Path) -> None:
    """The folder of a process must be the file's folder, or a folder relative to it, without dots."""
    (tmp_path / "sub").mkdir()
    assert plan_one(tmp_path, service("sh")).cwd == tmp_path
    assert plan_one(tmp_path, service("sh", cwd="sub/../sub")).cwd == tmp_path / "sub"


@pytest.mark.parametrize("where", ["path", "folder", "absolute", "mount"])
def test_an_executable_is_found_where_it_will_be(tmp_path: Path, where: str) -> None:
    """An executable must be found in PATH, in cwd when it is a path, and by its full path."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "own-tool").touch(mode=0o755)
    words = {
        "path": "own-tool",
        "folder": "./own-tool",
        "absolute": str(tmp_path / "bin" / "own-tool"),
        "mount": "{mount:/opt}/own-tool",
    }
    api = service(words[where], cwd="bin" if where == "folder" else ".", compose={"volumes": [f"{tmp_path}/bin:/opt"]})
    tree = tree_of(tmp_path, {"api": api})
    layout = layout_of(tree, tmp_path, {"PATH": str(tmp_path / "bin")})
    assert plan_stack(tree, "s", layout).services[0].argv[0].endswith("own-tool")


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (
            {"image": "x"},
            "Service 'api' (s.yaml) has no x-harness.embedded, which this engine needs",
        ),
        (
            {"image": "x", "x-harness": {"ready": [{"log": "up"}]}},
            "Service 'api' (s.yaml) has no x-harness.embedded, which this engine needs",
        ),
        (
            service("no-such-tool"),
            "Service 'api' (s.yaml): executable 'no-such-tool' was not found in PATH or {folder}",
        ),
        (
            service("./no-such-tool"),
            "Service 'api' (s.yaml): executable './no-such-tool' was not found in PATH or {folder}",
        ),
        (
            service("sh", environment={"PATH": None}),
            "Service 'api' (s.yaml): executable 'sh' was not found in PATH or {folder}",
        ),
        (service("sh", cwd="none"), "Service 'api' (s.yaml): cwd none is no folder"),
        (
            service("sh", compose={"volumes": ["./none.ini:/etc/none.ini"]}),
            f"Service 'api' (s.yaml): mounted file none.ini does not exist{MAKE_IT}",
        ),
        (
            service("sh", "{mount:/etc/none.ini}"),
            "Service 'api': {mount:/etc/none.ini} is not mounted; mounted are: nothing (s.yaml)",
        ),
        (
            service("sh", environment={"A": "{port:80}"}),
            "Service 'api': {port:80} names a port that it does not publish (s.yaml)",
        ),
        (
            service("sh", stop=["{build}/stop"]),
            "Service 'api': {build} has no value on this engine (s.yaml)",
        ),
        (
            service("sh", healthcheck={"test": "{build}/check"}),
            "Service 'api': {build} has no value on this engine (s.yaml)",
        ),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, one: dict[str, Any], says: str) -> None:
    """Whatever cannot work as a process must be refused when it is planned, by service and file."""
    assert refused(tmp_path, {"api": one}) == [says.replace("{folder}", str(tmp_path))]


def test_all_problems_of_a_stack_come_together(tmp_path: Path) -> None:
    """Problems of all services, and several of one, must be in one error."""
    assert refused(
        tmp_path,
        {
            "api": service("sh", "{build}", cwd="none", compose={"volumes": ["./none.ini:/none.ini"]}),
            "bare": {"image": "x"},
            "right": service("sh"),
            "other": service("no-such-tool"),
        },
    ) == [
        f"Service 'api' (s.yaml): mounted file none.ini does not exist{MAKE_IT}",
        "Service 'api': {build} has no value on this engine (s.yaml)",
        "Service 'api' (s.yaml): cwd none is no folder",
        "Service 'bare' (s.yaml) has no x-harness.embedded, which this engine needs",
        f"Service 'other' (s.yaml): executable 'no-such-tool' was not found in PATH or {tmp_path}",
    ]


def test_a_dry_layout_finds_the_same_mistakes(tmp_path: Path) -> None:
    """A stack must be found wrong, or right, before any address is leased."""
    wrong = {"api": service("no-such-tool", "{port:beacon}", "{port:80}", compose={"ports": ["80"]})}
    tree = tree_of(tmp_path, wrong)
    assert refused(tmp_path, wrong, dry_layout(tree, CALLER, {}, NAME)) == refused(tmp_path, wrong)
    right = tree_of(tmp_path, {"api": service("sh", "{port:beacon}", "{port:80}", compose={"ports": ["80"]})})
    assert plan_stack(right, "s", dry_layout(right, CALLER, {}, NAME)).services[0].service == "api"


def test_an_included_stack_has_addresses_of_its_own(tmp_path: Path) -> None:
    """Names must resolve to the services of included stacks, and each stack be planned with its own services only."""
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"services": {"db": service("sh", compose={"ports": ["5432:15432"]})}})
    )
    tree = tree_of(tmp_path, {"api": service("sh", "db:15432")}, include=["base.yaml"])
    layout = layout_of(tree, tmp_path)
    top, base = plan_stack(tree, "s", layout), plan_stack(tree, "base", layout)
    assert [plan.service for plan in top.services] == ["api"]
    assert [plan.service for plan in base.services] == ["db"]
    assert layout.addresses["base/db"] != layout.addresses["s/api"]
    assert top.services[0].argv == ("sh", str(base.services[0].endpoints[0]))
    assert base.services[0].env.keys().isdisjoint({"HARNESS_HOST_API"})


def test_a_settled_stack_stays_where_it_is(tmp_path: Path) -> None:
    """The endpoints of a stack that is up already must be used as they are."""
    (tmp_path / "base.yaml").write_text(
        yaml.safe_dump({"services": {"db": service("sh", compose={"ports": ["5432"]})}})
    )
    tree = tree_of(tmp_path, {"api": service("sh", "db:5432")}, include=["base.yaml"])
    fresh = layout_of(tree, tmp_path)
    moved = Endpoint("db", 5432, 5432, "127.0.0.1", 45678)
    layout = Layout(
        engine=NAME,
        work=fresh.work,
        logs=fresh.logs,
        environ=fresh.environ,
        addresses=fresh.addresses,
        ports=fresh.ports,
        settled={"base/db": (moved,)},
    )
    assert plan_stack(tree, "s", layout).services[0].argv == ("sh", str(moved))


@pytest.fixture
def stranger() -> Iterator[int]:
    """A port that this process holds on every address; nothing is ever accepted."""
    with socket.socket() as held:
        held.bind(("0.0.0.0", 0))  # noqa: S104 - what is tested is that this is noticed
        held.listen()
        yield held.getsockname()[1]


def test_a_stranger_on_every_address_moves_a_service(tmp_path: Path, stranger: int) -> None:
    """A service whose port a stranger holds must go to a free port of 127.0.0.1, its users too, and a note name him."""
    api = service("sh", "{address}", f"{{port:{stranger}}}", compose={"ports": [f"{stranger}:80"]})
    tree = tree_of(tmp_path, {"api": api, "user": service("sh", f"http://api:{stranger}/", "api:80")})
    found = find_strangers(tree)
    assert set(found) == {(stranger, "tcp")}
    assert found[stranger, "tcp"].pid == os.getpid()
    assert needs(tree, found, NAME).ports == (f"s/api:{stranger}",)
    made = plan_stack(tree, "s", layout_of(tree, tmp_path, strangers=found))
    first, user = made.services
    assert first.argv == ("sh", "127.0.0.1", "41000")
    assert first.endpoints == (Endpoint("api", stranger, 80, "127.0.0.1", 41000),)
    assert user.argv == ("sh", "http://127.0.0.1:41000/", "127.0.0.1:41000")
    assert user.env[f"HARNESS_PORT_API_{stranger}"] == "41000"
    (note,) = made.notes
    assert note.startswith(f"port {stranger}/tcp is held on every address by pid {os.getpid()} (")
    assert note.endswith(f"); service 'api' is on 127.0.0.1 with a free port instead of {stranger}")


@pytest.mark.parametrize(
    ("words", "fixed", "why"),
    [
        (["{port:PORT}"], True, "it is fixed"),
        ([], False, "its command does not use {port:PORT}"),
        (["--port", "PORT"], False, "its command does not use {port:PORT}"),
    ],
)
def test_a_service_that_cannot_move_is_refused(
    tmp_path: Path, stranger: int, words: list[str], fixed: bool, why: str
) -> None:
    """Where the port is fixed, or the command cannot be told another, the stranger must be named and nothing done."""
    api = service(
        "sh",
        *[word.replace("PORT", str(stranger)) for word in words],
        compose={"ports": [f"{stranger}:80"]},
        harness={"fixed": fixed},
    )
    tree = tree_of(tmp_path, {"api": api})
    found = find_strangers(tree)
    (problem,) = refused(tmp_path, {"api": api}, layout_of(tree, tmp_path, strangers=found))
    assert problem == (
        f"Service 'api' (s.yaml): {found[stranger, 'tcp']}, and it cannot move: {why.replace('PORT', str(stranger))}"
    )
    assert f"pid {os.getpid()} (" in problem


@pytest.mark.parametrize("place", ["command", "environment", "process", "stop", "file"])
def test_a_service_can_move_when_anything_says_its_port(tmp_path: Path, stranger: int, place: str) -> None:
    """A port must count as movable by {port:N} or NAME:N in command, environment and mounted files."""
    compose: dict[str, Any] = {"ports": [f"{stranger}:80"]}
    words: list[str] = ["sh"]
    process: dict[str, Any] = {}
    if place == "command":
        words.append(f"api:{stranger}")
    elif place == "environment":
        compose["environment"] = {"LISTEN": f"api:{stranger}"}
    elif place == "process":
        process["environment"] = {"PORT": f"{{port:{stranger}}}"}
    elif place == "stop":
        process["stop"] = ["sh", f"{{port:{stranger}}}"]
    else:
        (tmp_path / "app.ini").write_text(f"listen = api:{stranger}\n")
        compose["volumes"] = ["./app.ini:/app.ini"]
    services = {"api": service(*words, compose=compose, **process)}
    tree = tree_of(tmp_path, services)
    layout = layout_of(tree, tmp_path, strangers=find_strangers(tree))
    if place == "stop":  # only asks it to stop; where it listens is said nowhere
        assert len(refused(tmp_path, services, layout)) == 1
        return
    made = plan_stack(tree, "s", layout)
    assert made.services[0].endpoints[0].port == 41000
    assert len(made.notes) == 1
    if place == "file":
        assert made.services[0].copies[0].content == b"listen = 127.0.0.1:41000\n"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.255.1.2"])
def test_a_holder_of_one_address_is_no_stranger(tmp_path: Path, address: str) -> None:
    """A port that is held on one loopback address only must be free for everybody else."""
    with socket.socket() as held:
        held.bind((address, 0))
        held.listen()
        port = held.getsockname()[1]
        assert find_strangers(tree_of(tmp_path, {"api": service("sh", compose={"ports": [f"{port}:80"]})})) == {}


def test_a_stranger_of_one_protocol_does_not_block_the_other(tmp_path: Path) -> None:
    """A UDP holder must block the UDP port of that number and not the TCP one."""
    with socket.socket(type=socket.SOCK_DGRAM) as held:
        held.bind(("0.0.0.0", 0))  # noqa: S104 - what is tested is that this is noticed
        port = held.getsockname()[1]
        tree = tree_of(tmp_path, {"api": service("sh", compose={"ports": [f"{port}:{port}/udp", f"{port}:{port}"]})})
        found = find_strangers(tree)
    assert set(found) == {(port, "udp")}
    assert str(found[port, "udp"]).startswith(f"port {port}/udp is held on every address by pid {os.getpid()} (")


def test_a_stranger_that_cannot_be_seen_is_said_so() -> None:
    """A holder without a visible process must still be told."""
    assert str(Stranger(80, "tcp", None, "?")) == (
        "port 80/tcp is held on every address by a process that cannot be seen"
    )


def test_a_plan_prints_what_will_be_done_and_no_secret(tmp_path: Path) -> None:
    """A plan must print every process, folder, port, file and note, and no value of any environment."""
    (tmp_path / "app.ini").write_text("password = in-the-file\n")
    api = service(
        "sh",
        "-c",
        "serve",
        environment={"PASSWORD": "of-the-process"},
        compose={
            "ports": ["80:8080", "53:53/udp"],
            "environment": {"PASSWORD": "of-the-service", "TOKEN": "of-the-service"},
            "volumes": ["./app.ini:/app.ini"],
            "healthcheck": {"test": ["CMD", "x"]},
        },
        harness={"subject": "api"},
    )
    tree = tree_of(tmp_path, {"api": api, "db": service("sh")})
    layout = layout_of(tree, tmp_path, {**CALLER, "LANG": "of-the-caller"})
    made = plan_stack(tree, "s", layout)
    assert made.services[0].env["PASSWORD"] == "of-the-process"
    assert str(made) == (
        "stack s on embedded\n"
        "  api: sh -c serve\n"
        f"    in {tmp_path}\n"
        f"    80 -> {API_ADDRESS}:80 (tcp)\n"
        f"    53 -> {API_ADDRESS}:53 (udp)\n"
        f"    /app.ini = {tmp_path}/work/s/api/mounts/app.ini\n"
        "    stop: TERM, 2 s, KILL\n"
        "  db: sh\n"
        f"    in {tmp_path}\n"
        "    stop: KILL\n"
        "  note: service 'api': its container's healthcheck is ignored here"
    )
    for secret in ("of-the-process", "of-the-service", "of-the-caller", "in-the-file"):
        assert secret not in repr(made)
        assert secret not in repr(layout)


def test_a_plan_can_be_compared(tmp_path: Path) -> None:
    """The same stack and layout must give an equal plan, and another command another one."""
    tree = tree_of(tmp_path, {"api": service("sh", compose={"ports": ["80"]})})
    layout = layout_of(tree, tmp_path)
    assert plan_stack(tree, "s", layout) == plan_stack(tree, "s", layout)
    other = tree_of(tmp_path, {"api": service("sh", "-x", compose={"ports": ["80"]})})
    assert plan_stack(tree, "s", layout) != plan_stack(other, "s", layout)
