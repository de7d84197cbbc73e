"""Stacks on real containers: they come up in the declared order, are usable, and are gone afterwards."""

from __future__ import annotations

import json
import os
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from containers import Dock, ask, fetch, moment
from projects import run_json

from harness import clock
from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.helpers import http
from harness.keeper.logs import LIMIT
from harness.keeper.messages import Lease
from harness.runs import running
from harness.verbs import up_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.runs import Service, Stack


# -- what Compose files say ------------------------------------------------------------------------------------------


def test_a_stack_is_usable_on_loopback_then_gone(dock: Dock) -> None:
    """A stack must answer at an address of its own in 127.0.0.0/8 while it is up, and its run folder tell of it."""
    dock.stack("s", {"web": dock.web("say:hello", environment={"COLOUR": "red"})})
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        host, _, port = stack.endpoint("web", 8080).rpartition(":")
        assert (host.startswith("127."), host != "127.0.0.1", port) == (True, True, "8080")
        assert stack.endpoint("web", 80) == stack.endpoint("web", 8080)
        assert ask(stack, "web")["env"]["COLOUR"] == "red"
        facts = dock.container("web")
        assert facts["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": host, "HostPort": port}]}
        assert facts["HostConfig"]["RestartPolicy"]["Name"] in ("no", "")
        assert "no-new-privileges:true" in facts["HostConfig"]["SecurityOpt"]
    assert dock.left() == []
    assert (dock.latest / "services" / "web.log").read_text() == "hello\n"
    document = run_json(dock)
    assert (document["left"], document["engine"], list(document["images"])) == ([], "compose", [dock.image])


def test_conditions_of_dependencies_keep_their_order(dock: Dock) -> None:
    """A service must start after the start, the health or the end of what it depends on, whichever it names."""
    check = {"test": ["CMD", "test", "-e", "/tmp/well"], "interval": "200ms", "retries": 100}
    dock.stack(
        "s",
        {
            "early": dock.box("wait"),
            "sick": dock.box("after:0.6:touch:/tmp/well", "wait", healthcheck=check),
            "adopted": dock.box("touch:/shared/done", "exit:0:0.3", volumes=["shared:/shared"]),
            "declared": dock.box("say:once", "exit:0", harness={"role": "oneshot"}),
            "late": dock.box(
                "need:/shared/done",
                "wait",
                volumes=["shared:/shared"],
                depends_on={
                    "early": {"condition": "service_started"},
                    "sick": {"condition": "service_healthy"},
                    "adopted": {"condition": "service_completed_successfully"},
                },
            ),
        },
        volumes={"shared": {}},
    )
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        began = moment(dock.container("late")["State"]["StartedAt"])
        assert moment(dock.container("early")["State"]["StartedAt"]) < began
        healthy = [one for one in dock.container("sick")["State"]["Health"]["Log"] if one["ExitCode"] == 0]
        assert moment(healthy[0]["End"]) < began
        assert moment(dock.container("adopted")["State"]["FinishedAt"]) < began
        states = {name: (stack.service(name).state, stack.service(name).exit_code) for name in ("adopted", "declared")}
        assert states == {"adopted": ("exited", 0), "declared": ("exited", 0)}
        stack.check()  # the end of a one-shot is no fault


def test_a_service_of_an_inactive_profile_is_not_started(dock: Dock) -> None:
    """A service with a profile must not be started, nor be in the stack, unless its profile is active."""
    dock.stack("s", {"web": dock.web(), "extra": dock.up(profiles=["debug"])})
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        assert stack.services == ("web",)
        assert list(dock.containers()) == ["web"]
    dock.environ["COMPOSE_PROFILES"] = "other,debug"
    run = dock.run()
    with running(run):
        assert set(run.bring("s").services) == set(dock.containers()) == {"web", "extra"}


def test_env_files_and_variables_reach_the_service(dock: Dock) -> None:
    """``env_file``, ``.env`` and the caller's variables must reach a service as Compose says."""
    (dock.root / "compose" / ".env").write_text("COLOUR=from dotenv\n")
    (dock.root / "compose" / "more.env").write_text("MORE=from file\nDOLLAR='a$$b'\n")
    dock.environ["SHAPE"] = "from caller"
    given = {"COLOUR": "${COLOUR}", "SHAPE": "${SHAPE}", "SIZE": "${SIZE:-default}", "RAW": "$${HOME}"}
    dock.stack("s", {"web": dock.web(environment=given, env_file=["more.env"])})
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        seen = ask(stack, "web")["env"]
        wanted = {"COLOUR": "from dotenv", "SHAPE": "from caller", "SIZE": "default", "RAW": "${HOME}"}
        wanted |= {"MORE": "from file", "DOLLAR": "a$$b"}
        assert {key: seen.get(key) for key in wanted} == wanted
        assert {key: stack.service("web").env.get(key) for key in wanted} == wanted


def test_a_stack_of_several_files_is_their_merge(dock: Dock) -> None:
    """Several files, included or named together, must run as Compose merges them, the later over the earlier."""
    dock.stack("base", {"web": dock.web(environment={"A": "base", "B": "base"})})
    (dock.root / "compose" / "over.yaml").write_text(
        f"services:\n  web:\n    environment: {{B: over}}\n  more:\n    image: {dock.image}\n    command: [wait]\n"
    )
    dock.stack("s", {"user": dock.up()}, include=[{"path": ["base.yaml", "over.yaml"]}])
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        assert set(stack.services) == {"web", "more", "user"}
        env = ask(stack, "web")["env"]
        assert (env["A"], env["B"]) == ("base", "over")
    run = dock.run(stack=os.pathsep.join(["compose/base.yaml", "compose/over.yaml"]))
    with running(run):
        stack = run.bring(run.settings.default_stack())
        assert set(stack.services) == set(dock.containers()) == {"web", "more"}
        assert ask(stack, "web")["env"]["B"] == "over"


def test_a_plain_file_is_waited_for_by_healthchecks_and_ports(dock: Dock) -> None:
    """Without x-harness, healthchecks (the file's or the Dockerfile's) and published ports must be waited for."""
    context = dock.root / "compose" / "built"
    context.mkdir()
    check = "HEALTHCHECK --interval=200ms --retries=100 CMD test -e /tmp/well\n"
    (context / "Dockerfile").write_text(f"FROM {dock.image}\n{check}")
    declared = {"test": ["CMD", "test", "-e", "/tmp/well"], "interval": "200ms", "retries": 100}
    dock.stack(
        "s",
        {
            "declared": dock.box("after:0.5:touch:/tmp/well", "wait", healthcheck=declared),
            "image": {"build": "built", "command": ["after:0.5:touch:/tmp/well", "wait"]},
            "off": {"build": "built", "command": ["wait"], "healthcheck": {"disable": True}},
            "port": dock.box("after:0.8:serve:0.0.0.0:80:0", "wait", ports=["8080:80"]),
        },
    )
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        assert dock.container("declared")["State"]["Health"]["Status"] == "healthy"
        assert dock.container("image")["State"]["Health"]["Status"] == "healthy"
        assert ask(stack, "port")["status"] in ("red", "green")
        assert "no-new-privileges:true" not in (dock.container("port")["HostConfig"]["SecurityOpt"] or [])
    assert dock.said.count("service 'port' has no probe: it counts as ready when its ports 8080 listen") == 1


def test_an_included_stack_is_shared_and_goes_with_its_last_user(dock: Dock) -> None:
    """Two stacks must share the one that both include; it must be removed with the last of them."""
    dock.stack("base", {"web": dock.web()})
    for name in ("one", "two"):
        dock.stack(name, {name: dock.up()}, include=["base.yaml"])
    run = dock.run()
    with running(run):
        one = run.bring("one", keep_includes=False)
        before = dock.containers()
        two = run.bring("two", keep_includes=False)
        assert dock.containers()["web"] == before["web"]
        done = two.service("two").exec(fetch("http://web:80"))
        assert json.loads(done.stdout)["status"] == "green", done.stderr
        assert one.release() == []
        assert set(dock.containers()) == {"web", "two"}
        assert ask(two, "web")["status"] == "green"
        assert two.release() == []
        assert dock.containers() == {}


def test_two_stacks_with_one_service_name_live_side_by_side(dock: Dock) -> None:
    """Live stacks that share a service name must each see their own, and both the included one, by name."""
    dock.stack("base", {"base": dock.web(environment={"WHO": "base"})})
    for name in ("one", "two"):
        main = dock.web(environment={"WHO": name}, port=9090)
        dock.stack(name, {"main": main, f"user-{name}": dock.up()}, include=["base.yaml"])
    run = dock.run()
    with running(run):
        stacks = {name: run.bring(name) for name in ("one", "two")}
        for name, stack in stacks.items():
            user = stack.service(f"user-{name}")
            for _ in range(3):
                seen = json.loads(user.exec(fetch("http://main:80")).stdout)["env"]["WHO"]
                assert seen == name
            assert json.loads(user.exec(fetch("http://base:80")).stdout)["env"]["WHO"] == "base"
            assert ask(stack, "main", 9090)["env"]["WHO"] == name
        assert stacks["one"].endpoint("main", 9090) != stacks["two"].endpoint("main", 9090)
        networks = sorted(one.name for one in dock.objects() if one.kind == "network")
        assert len(networks) == 2
        assert networks[1].startswith(networks[0])
        logs = {stack.service("main").log.name for stack in stacks.values()}
        assert logs == {"main.log", "main@two.log"}
        assert stacks["two"].release() == []
        assert [one.name for one in dock.objects() if one.kind == "network"] == networks[:1]
        assert json.loads(stacks["one"].service("user-one").exec(fetch("http://base:80")).stdout)


def test_volumes_are_shared_and_removed(dock: Dock) -> None:
    """A named volume must be shared with the stacks above, and no volume, named or anonymous, outlive its stack."""
    writer = dock.box("touch:/data/here", "say:up", "wait", volumes=["data:/data", "/anonymous"])
    writer["x-harness"] = {"ready": [{"log": "up"}]}
    dock.stack("base", {"writer": writer}, volumes={"data": {}})
    reader = dock.up("need:/data/here", volumes=["data:/data:ro"])
    dock.stack("s", {"reader": reader}, volumes={"data": {}}, include=["base.yaml"])
    run = dock.run()
    with running(run):
        run.bring("s")
        mounts = {one["Destination"]: one["Name"] for one in dock.container("writer")["Mounts"]}
        assert set(mounts) == {"/data", "/anonymous"}
        assert mounts["/data"] == dock.container("reader")["Mounts"][0]["Name"]
    volumes = {one["Name"] for one in dock.client.volumes()["Volumes"] or ()}
    assert not volumes & set(mounts.values())


def test_networks_of_a_file_keep_services_apart(dock: Dock) -> None:
    """Services must see each other on the networks that their file gives them, and on no other."""
    dock.stack(
        "s",
        {
            "db": dock.web(networks=["back"]),
            "app": dock.up(networks={"back": {}, "front": {"aliases": ["shop"]}}),
            "user": dock.up(networks=["front"]),
        },
        networks={"back": {}, "front": {}},
    )
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        assert stack.service("app").exec(fetch("http://db:80")).code == 0
        resolve = ["python3", "-c", "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"]
        assert stack.service("user").exec([*resolve, "shop"]).code == 0
        assert stack.service("user").exec([*resolve, "db"]).code == 1
        assert len([one for one in dock.objects() if one.kind == "network"]) == 3


# -- probes and seeds ------------------------------------------------------------------------------------------------


def test_every_probe_can_hold_on_a_container(dock: Dock) -> None:
    """Each kind of probe must hold on a container that does what it asks for, and not before."""
    (dock.root / "checks.py").write_text(
        "import http.client\ndef green(target):\n    host, port = target.address[8080]\n"
        "    c = http.client.HTTPConnection(host, port, timeout=1)\n    c.request('GET', '/')\n"
        "    return c.getresponse().status == 200\n"
    )
    serve = ("after:0.5:serve:0.0.0.0:80:0", "wait")
    touch = ("after:0.5:touch:/tmp/well", "wait")
    check = {"test": ["CMD", "test", "-e", "/tmp/well"], "interval": "200ms", "retries": 100}
    ports = {"ports": ["8080:80"]}
    dock.stack(
        "s",
        {
            "http": dock.box(*serve, **ports, harness={"ready": [{"http": {"port": 8080}}]}),
            "tcp": dock.box(*serve, **ports, harness={"ready": [{"tcp": 8080}]}),
            "log": dock.box("after:0.5:say:I am up", "wait", harness={"ready": [{"log": "am (up|well)$"}]}),
            "exec": dock.box(*touch, harness={"ready": [{"exec": ["test", "-e", "/tmp/well"]}]}),
            "file": dock.box(*touch, harness={"ready": [{"file": "/tmp/well"}]}),
            "healthy": dock.box(*touch, healthcheck=check, harness={"ready": [{"healthy": True}]}),
            "python": dock.box(*serve, **ports, harness={"ready": [{"python": "checks:green"}]}),
        },
    )
    run = dock.run()
    with pytest.MonkeyPatch.context() as patch, running(run):
        patch.syspath_prepend(str(dock.root))
        assert ask(run.bring("s"), "tcp")
    settled = [span for span in run_json(dock)["spans"] if span["stage"] == "settle"]
    assert len(settled) == 7
    assert min(span["seconds"] for span in settled) >= 0.5


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        ({"tcp": 8080}, r"127\.\S+:8080 accepted and closed at once|Connection reset by peer"),
        ({"http": {"port": 8080}}, r"/: (Connection reset by peer|it closed the connection).*; it listens on no port"),
        ({"log": "never"}, r"no line matches 'never' yet"),
        ({"exec": ["sh", "-c", "echo not yet; exit 4"]}, r"sh: exit code 4: not yet"),
        ({"exec": ["no-such-program"]}, r"no-such-program"),
        ({"file": "/nope"}, r"/nope does not exist"),
        ({"healthy": True}, r"its healthcheck fails with exit code 1: it says nothing"),
    ],
    ids=["tcp", "http", "log", "exec", "exec of nothing", "file", "healthy"],
)
def test_a_probe_that_does_not_hold_says_what_it_saw(dock: Dock, probe: dict[str, Any], says: str) -> None:
    """At its deadline a probe must name the service and what it saw; a published port alone must not count."""
    check = {"test": ["CMD", "false"], "interval": "30s"}
    one = dock.box("wait", ports=["8080:80"], healthcheck=check, harness={"ready": [probe]})
    dock.stack("s", {"slow": one}, **{"x-harness": {"timeouts": {"ready": "900ms"}}})
    with pytest.raises(BrokenStack, match=r"Service 'slow' did not settle in \d\.\d s: ") as caught:
        dock.run().bring("s")
    assert re.search(says, caught.value.summary), caught.value.summary
    assert dock.containers() == {}


def test_seeds_are_planted_in_containers(dock: Dock) -> None:
    """Seeds by command and by HTTP must reach containers, those with ``before`` ahead of that service's start."""
    dock.stack(
        "s",
        {
            "web": dock.web(volumes=["data:/data"]),
            "user": dock.up("need:/data/first", volumes=["data:/data"]),
        },
        volumes={"data": {}},
        **{
            "x-harness": {
                "seed": [
                    {"key": "a", "before": "user", "exec": {"service": "web", "command": ["touch", "/data/first"]}},
                    {"key": "b", "http": {"service": "web", "port": 8080, "json": {"n": 1}}},
                ]
            }
        },
    )
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        assert [json.loads(text) for text in ask(stack, "web")["posted"]] == [{"n": 1}]


def test_a_seed_that_fails_in_a_container_is_named(dock: Dock) -> None:
    """A seed whose command fails must break the stack with its key, exit code and last lines."""
    seed = {"key": "fill", "exec": {"service": "web", "command": ["sh", "-c", "echo no room >&2; exit 5"]}}
    dock.stack("s", {"web": dock.web()}, **{"x-harness": {"seed": [seed]}})
    with pytest.raises(BrokenStack, match=r"Seed 'fill' in 'web': exit code 5: no room") as caught:
        dock.run().bring("s")
    assert caught.value.details == ("command: sh -c echo no room >&2; exit 5", "no room")
    assert dock.containers() == {}


# -- a service in a test's hands -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(
    make_dock: Callable[[Path], Dock], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Dock, Callable[[], Stack]]]:
    """One environment for the tests of what can be done to a service, and what brings its stack."""
    dock = make_dock(tmp_path_factory.mktemp("shared"))
    dock.stack("s", {"web": dock.web("polite", "say:up", environment={"COLOUR": "red"}), "other": dock.up()})
    run = dock.run()
    with running(run):
        yield dock, lambda: run.bring("s")
    dock.close()


@pytest.fixture
def stack(shared: tuple[Dock, Callable[[], Stack]]) -> Stack:
    """The stack of ``shared``, with every service running."""
    made = shared[1]()
    for name in made.services:
        made.service(name).unpause()
        made.service(name).start()
    return made


def wait_for_log(one: Service, text: str, since: int = 0) -> str:
    """Wait until a service's log ends with ``text``; return what it wrote after ``since``."""
    for _ in clock.poll(clock.Deadline.after(30)):
        if one.logs(since).endswith(text):
            break
    return one.logs(since)


def wait_until_green(stack: Stack) -> None:
    """Wait until the web service answers as it should."""
    for _ in clock.poll(clock.Deadline.after(30)):
        host, _, port = stack.endpoint("web", 8080).rpartition(":")
        if http.ask(host, int(port)).status == 200:
            return


def test_a_service_tells_its_state(stack: Stack) -> None:
    """State, pid, exit code and environment must be those of the container."""
    one = stack.service("web")
    assert (one.state, one.exit_code, one.env["COLOUR"]) == ("running", None, "red")
    assert os.path.exists(f"/proc/{one.pid}")  # noqa: PTH110 - a process of this machine
    dump = stack.dump()["web"]
    assert (dump["state"], dump["endpoints"]) == ("running", [stack.endpoint("web", 8080)])


def test_what_a_test_does_to_a_container_is_no_fault(stack: Stack) -> None:
    """Kill, stop, start, restart, pause and unpause must do that, and not count as a broken stack."""
    one = stack.service("web")
    one.kill()
    assert (one.state, one.exit_code) == ("exited", 137)
    clock.check_guards()
    one.start()
    assert (one.state, one.exit_code) == ("running", None)
    wait_until_green(stack)
    one.pause()
    assert one.state == "paused"
    one.stop(grace=1)  # a paused one can be stopped as well
    assert one.state == "exited"
    one.start()
    wait_for_log(one, "up\n")
    one.restart()
    assert one.state == "running"
    one.pause()
    one.unpause()
    assert one.state == "running"
    wait_until_green(stack)
    assert ask(stack, "web")["status"] == "green"
    clock.check_guards()


def test_a_container_is_asked_before_it_is_killed(stack: Stack) -> None:
    """``stop`` must send TERM and give time; the exit code must be the service's own, its last line be kept."""
    one = stack.service("web")
    wait_for_log(one, "up\n")
    since = one.log.stat().st_size
    one.stop()
    assert (one.state, one.exit_code) == ("exited", 0)
    assert wait_for_log(one, "stop\n", since) == "asked to stop\n"


def test_a_log_goes_on_after_a_restart_without_loss_or_repetition(stack: Stack) -> None:
    """Over restarts a log must have every line once, in order."""
    one = stack.service("web")
    wait_for_log(one, "up\n")
    since = one.log.stat().st_size
    for _ in range(3):
        one.restart()
        wait_for_log(one, "up\n", since)
    one.kill()
    one.start()
    assert wait_for_log(one, "stop\nup\nup\n", since) == "asked to stop\nup\n" * 3 + "up\n"


def test_exec_reports_what_a_command_did(stack: Stack) -> None:
    """``exec`` must run in the container, keep output and error apart, and tell code, time-out and refusal."""
    one = stack.service("web")
    done = one.exec(["sh", "-c", 'echo "$COLOUR"; printf "a b" >&2; exit 7'])
    assert (done.code, done.stdout, done.stderr) == (7, "red\n", "a b")
    assert one.exec(["sh", "-c", "kill -9 $$"]).code in (137, -9)
    began = clock.now()
    assert one.exec(["sh", "-c", "echo begun; exec tail -f /dev/null"], timeout=0.5).code is None
    assert clock.now() - began < 30
    big = one.exec(["python3", "-c", "print('x' * 300000)"])
    assert len(big.stdout) == 300001
    missing = one.exec(["no-such-program"])
    assert missing.code in (126, 127)
    one.stop()
    with pytest.raises(HarnessError, match="'true' cannot be run in the container"):
        one.exec(["true"])


def test_files_and_folders_are_copied_out(stack: Stack, tmp_path: Path) -> None:
    """``copy_out`` must give a file or a folder as it is in the container, and say when there is none."""
    one = stack.service("web")
    made = "mkdir -p /t/sub /t/empty; printf 'a\\0b' > /t/file; echo deep > /t/sub/deep; chmod 755 /t/file"
    assert one.exec(["sh", "-c", made]).code == 0
    copy = one.copy_out("/t/file", tmp_path / "copy")
    assert (copy.read_bytes(), copy.stat().st_mode & 0o777) == (b"a\0b", 0o755)
    folder = one.copy_out("/t", tmp_path / "folder")
    assert (folder / "sub" / "deep").read_text() == "deep\n"
    assert (folder / "empty").is_dir()
    assert (folder / "file").read_bytes() == b"a\0b"
    with pytest.raises(HarnessError, match="/nope cannot be copied"):
        one.copy_out("/nope", tmp_path / "nope")


def test_a_container_that_dies_under_a_test_ends_its_waits(dock: Dock) -> None:
    """When a container is killed from outside, a wait must raise BrokenStack at once, and say how."""
    dock.stack("s", {"web": dock.web("say:hello"), "other": dock.up()})
    run = dock.run()
    with running(run):
        run.bring("s")
        dock.client.kill(dock.containers()["web"])
        began = clock.now()
        with pytest.raises(BrokenStack, match=r"Service 'web' ended with signal 9 \(SIGKILL\) under a test") as caught:
            for _ in clock.poll(clock.Deadline.after(60)):
                pass
        assert clock.now() - began < 30
        assert (caught.value.service, caught.value.exit_code_seen) == ("web", 137)
        assert "  hello" in caught.value.details


def test_a_log_has_the_bytes_that_were_written(dock: Dock) -> None:
    """A log must hold a container's output as it was: no UTF-8, no newline at the end, ANSI, NUL, very long lines."""
    data = b"\xff\xfe caf\xe9 \x1b[31m\r\n\0\n\n" + b"long " * 3_000 + b"\nno newline at the end"
    longer = b"long " * 20_000 + b"\nlast\n"
    services = {}
    for name, content in (("odd", data), ("longer", longer)):
        (dock.root / "compose" / name).write_bytes(content)
        mount = [f"./{name}:/data:ro"]
        services[name] = dock.box(volumes=mount, entrypoint=["cat", "/data"], harness={"role": "oneshot"})
    dock.stack("s", services)
    run = dock.run()
    with running(run):
        run.bring("s")
    assert (dock.latest / "services" / "odd.log").read_bytes() == data
    # The engine's own log would lose the newline after a line of more than 16 KiB (Docker 20.10, driver "local").
    assert (dock.latest / "services" / "longer.log").read_bytes() == longer


@pytest.mark.parametrize("tty", [False, True], ids=["plain", "tty"])
def test_a_loud_container_loses_nothing_and_is_bounded(dock: Dock, tty: bool) -> None:
    """What a container writes faster than the engine keeps must come whole, and be bounded on disk."""
    dock.stack("s", {"writer": dock.box("loud:80", "say:last", "wait", tty=tty, harness={"ready": [{"log": "^last"}]})})
    size = 80 * ((1 << 20) + (tty << 13)) + len("last\r\n" if tty else "last\n")
    run = dock.run()
    with running(run):
        one = run.bring("s").service("writer")
        log = one.log
        assert log.stat().st_size == size
        assert one.logs(size - 200).splitlines()[-2:] == [f"{(80 << 13) - 1:0127d}", "last"]
    assert log.stat().st_blocks * 512 <= LIMIT


# -- addresses -------------------------------------------------------------------------------------------------------


def test_a_log_of_its_own_is_in_the_folder_of_the_run(dock: Dock) -> None:
    """What a container's program, of whatever user, writes to its log file must be in the run's folder at once."""
    dock.stack("s", {"app": dock.box("wait", user="1234", harness={"log_file": "/var/log/app/own.log"})})
    run = dock.run()
    with running(run):
        app = run.bring("s").service("app")
        assert app.exec(["python3", "-c", "open('/var/log/app/own.log', 'w').write('mine')"]).code == 0
        assert (dock.latest / "services" / "app@s.file.log").read_text() == "mine"
    assert (dock.latest / "services" / "app@s.file.log").read_text() == "mine"


def test_a_missing_folder_that_is_to_be_made_is_mounted(dock: Dock) -> None:
    """A bind source with ``create_host_path: true`` must be made, and be the one that is mounted."""
    made = {"type": "bind", "source": "../made/deep", "target": "/made", "bind": {"create_host_path": True}}
    dock.stack("s", {"web": dock.up(volumes=[made])})
    with running(dock.run()) as run:
        stack = run.bring("s")
        assert stack.service("web").exec(["python3", "-c", "open('/made/here', 'w')"]).code == 0
    assert (dock.root / "made" / "deep" / "here").exists()


def test_a_missing_bind_source_is_refused_before_anything_is_made(dock: Dock) -> None:
    """A bind source that is missing must be exit 10 with service and path, and nothing be made for it."""
    dock.stack("s", {"web": dock.up(volumes=["../none:/none"])})
    with pytest.raises(ConfigError, match=r"Service 'web' .*none does not exist; make it"):
        dock.run().bring("s")
    assert not (dock.root / "none").exists()
    assert (dock.containers(), (dock.root / "logs").exists()) == ({}, False)


def test_two_environments_do_not_meet(dock: Dock) -> None:
    """Two runs of one stack at once must have addresses, networks and names of their own, and both work."""
    dock.stack("s", {"web": dock.web(environment={"WHO": "${WHO}"}), "user": dock.up()})
    stacks = {}
    with running(_run_as(dock, "one")) as first, running(_run_as(dock, "two")) as second:
        stacks = {"one": first.bring("s"), "two": second.bring("s")}
        assert stacks["one"].endpoint("web", 8080) != stacks["two"].endpoint("web", 8080)
        for name, stack in stacks.items():
            assert ask(stack, "web")["env"]["WHO"] == name
            seen = json.loads(stack.service("user").exec(fetch("http://web:80")).stdout)
            assert seen["env"]["WHO"] == name


def _run_as(dock: Dock, who: str) -> Any:
    dock.environ = {**dock.environ, "WHO": who}
    return dock.run()


def test_containers_can_be_reached_at_their_own_addresses(dock: Dock) -> None:
    """With addresses = container nothing must be published, and one address serve this machine and containers."""
    dock.environ["HARNESS_ADDRESSES"] = "container"
    dock.stack("s", {"web": dock.web(), "user": dock.up()})
    run = dock.run()
    with running(run):
        stack = run.bring("s")
        end = stack.endpoint("web", 8080)
        facts = dock.container("web")
        (network,) = facts["NetworkSettings"]["Networks"].values()
        assert end == f"{network['IPAddress']}:80"
        assert not any(facts["NetworkSettings"]["Ports"].values())
        assert ask(stack, "web")["status"] == "green"
        assert stack.service("user").exec(fetch(f"http://{end}")).code == 0


def test_a_port_that_a_stranger_holds_everywhere_is_gone_round(dock: Dock) -> None:
    """When a stranger holds a port on all addresses, the service must move to 127.0.0.1, or be refused when fixed."""
    with socket.socket() as stranger:
        stranger.bind(("0.0.0.0", 0))  # noqa: S104 - this is what is tested
        stranger.listen()
        port = stranger.getsockname()[1]
        dock.stack("s", {"web": dock.web(port=port)})
        run = dock.run()
        with running(run):
            stack = run.bring("s")
            end = stack.endpoint("web", port)
            assert end.startswith("127.0.0.1:")
            assert end != f"127.0.0.1:{port}"
            assert ask(stack, "web", port)["status"] == "green"
        (line,) = [line for line in dock.said if f"port {port}/tcp" in line]
        assert f"held on every address by pid {os.getpid()} (" in line
        dock.stack("s", {"web": dock.web(port=port, harness={"fixed": True})})
        with pytest.raises(ConfigError, match=f"pid {os.getpid()} (?s:.*)it is fixed"):
            dock.run().bring("s")


def test_a_port_held_on_the_leased_address_is_named(dock: Dock) -> None:
    """A stranger on exactly the address and port of a service must break its stack, with service and address named."""
    dock.stack("s", {"web": dock.web(), "other": dock.up()})
    run = dock.run()
    leased = run.open().link.ask(Lease(["s/other", "s/web"], []))["addresses"]["s/web"]
    with socket.socket() as stranger:
        stranger.bind((leased, 8080))
        stranger.listen()
        with pytest.raises(BrokenStack) as caught:
            run.bring("s")
    assert str(caught.value).startswith("Service 'web' could not be started: ")
    assert f"{leased}:8080" in caught.value.summary
    assert len(str(caught.value).splitlines()[0]) <= 120
    assert dock.containers() == {}


# -- kept environments -----------------------------------------------------------------------------------------------


def test_up_is_used_by_runs_and_left_up(dock: Dock) -> None:
    """What ``up`` left must be used without a restart by ``up`` and by runs, and be gone after ``down``."""
    dock.stack("base", {"web": dock.web()})
    dock.stack("more", {"more": dock.up()}, include=["base.yaml"])
    settings = dock.settings(stack="base")
    ends = up_down.up(settings, dock.said.append, ttl=600)
    ids = dock.containers()
    assert up_down.up(settings, dock.said.append, ttl=600) == ends
    assert dock.containers() == ids
    run = dock.run()
    with running(run):
        stack = run.bring("more")
        assert {**dock.containers(), **ids} == dock.containers()
        assert stack.endpoint("web", 8080) == ends["web:8080"]
        assert json.loads(stack.service("more").exec(fetch("http://web:80")).stdout)["status"] == "green"
        assert stack.service("web").exec(["true"]).code == 0
    assert dock.containers() == ids
    up_down.down(settings, dock.said.append)
    assert "is down, nothing is left" in dock.said[-1]
    assert dock.left() == []


def test_up_replaces_a_changed_service_only(dock: Dock) -> None:
    """``up`` after a change of a service in its file must make that one again, and leave the others."""
    dock.stack("s", {"web": dock.web(environment={"N": "1"}), "other": dock.up()})
    settings = dock.settings(stack="s")
    up_down.up(settings, dock.said.append, ttl=600)
    ids = dock.containers()
    dock.stack("s", {"web": dock.web(environment={"N": "2"}), "other": dock.up()})
    up_down.up(settings, dock.said.append, ttl=600)
    assert dock.containers()["web"] != ids["web"]
    assert dock.containers()["other"] == ids["other"]
    assert "web: environment.N changed; it is replaced" in dock.said
    assert "N=2" in dock.container("web")["Config"]["Env"]
    up_down.down(settings, dock.said.append)
    assert dock.left() == []
