"""Bad input, faults and kills with real containers: the right error, soon, and nothing left but what is not ours."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from containers import spawn
from projects import run_in, run_json

from harness import clock, procs
from harness.daemon import Api, Reply, find_daemon
from harness.errors import BrokenStack, ConfigError, HarnessError, LeftoverError
from harness.keeper.client import KeeperLink
from harness.keeper.messages import Services
from harness.ownership import ledger, objects
from harness.ownership.identity import this_process
from harness.ownership.sweep import sweep
from harness.runs import running
from harness.verbs import up_down
from harness.verbs.act import restart

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
HOLD = """
import sys, signal
from pathlib import Path
from harness.config import load_settings, read_sources
from harness.runs import Run
from harness.runs.choice import choose
run = Run(choose(load_settings(read_sources(Path(sys.argv[1])))), print)
run.open()
print("OPEN", run.environment.link.facts["pid"], flush=True)
run.bring("s")
print("UP", flush=True)
signal.pause()
"""
SHORT = {"x-harness": {"timeouts": {"ready": "1s", "up": "20s"}}}


def broken(dock: Dock, stack: str = "s") -> BrokenStack:
    """Bring up a stack that must break; return its error, with nothing of it left."""
    run = dock.run()
    with pytest.raises(BrokenStack) as caught:
        run.bring(stack)
    assert len(str(caught.value).splitlines()[0]) <= 120
    assert dock.containers() == {}
    return caught.value


# -- services that do not come up ------------------------------------------------------------------------------------


def test_a_missing_image_is_named_with_the_next_step(dock: Dock) -> None:
    """An image that is nowhere must break its stack within seconds, name service and image, and say what to do."""
    dock.stack("s", {"web": {"image": "harness.invalid/nope:1", "x-harness": {}}})
    began = clock.now()
    error = broken(dock)
    assert clock.now() - began < 40
    assert error.summary.startswith("Service 'web': image 'harness.invalid/nope:1' is not on the engine")
    assert "set WEB_CONTAINER=prebuilt=NAME:TAG" in error.hint


def test_a_build_that_fails_shows_the_end_of_its_log(dock: Dock) -> None:
    """A Dockerfile that fails must break its stack with the service's name and the last lines of the build."""
    context = dock.root / "compose" / "bad"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {dock.image}\nRUN echo these are the last words && exit 7\n")
    dock.stack("s", {"web": {"build": "bad"}, "other": dock.up()})
    error = broken(dock)
    assert error.summary.startswith("The image of service 'web' could not be built: ")
    assert any("these are the last words" in line for line in error.details), error.details
    assert any("7" in line for line in error.details[-2:])
    steps = re.findall(r"Running in ([0-9a-f]{12})", (dock.latest / "compose" / "s.build.log").read_text())
    there = {one["Id"][:12] for one in dock.client.containers(all=True)}
    assert (len(steps), there & set(steps)) == (1, set())


def test_a_command_that_cannot_be_executed_is_named(dock: Dock) -> None:
    """A command that is not in the image must break its stack soon, with the service and the engine's words."""
    dock.stack("s", {"web": dock.box(entrypoint=["/no-such-program"]), "other": dock.up()})
    began = clock.now()
    error = broken(dock)
    assert clock.now() - began < 40
    assert error.service == "web"
    assert str(error).startswith("Service 'web' could not be started: ")
    assert "no-such-program" in str(error)


@pytest.mark.parametrize(
    ("words", "code"), [(("exit:3",), 3), (("exit:0",), 0), (("exit:3:0.5",), 3)], ids=["3", "0", "later"]
)
def test_a_container_that_ends_ends_the_wait(dock: Dock, words: tuple[str, ...], code: int) -> None:
    """A service that ends before it is ready must end the wait within a second of its end, with its last lines."""
    dies = dock.box("say:last words", *words, ports=["8080:80"], harness={"ready": [{"tcp": 8080}]})
    dock.stack("s", {"dies": dies, "other": dock.web(delay=60)})
    error = broken(dock)
    noticed = clock.now()
    assert error.summary.startswith(f"Service 'dies' ended with exit code {code} before it was ready (")
    assert (error.service, error.exit_code_seen) == ("dies", code)
    assert "  last words" in error.details
    told = next(line for line in (dock.latest / "keeper.log").read_text().splitlines() if "s/dies: exit code" in line)
    assert noticed - float(told.split()[0]) < 4  # removal of the other one included


def test_a_container_out_of_memory_is_told_so(dock: Dock) -> None:
    """A service that the kernel killed for its memory must be reported as OOMKilled, with its limit."""
    eater = dock.up("say:hungry", "eat:200", mem_limit="24m", memswap_limit="24m")
    dock.stack("s", {"eater": eater})
    error = broken(dock)
    assert re.match(r"Service 'eater' ended with .*OOMKilled: out of memory, limit 24 MiB", error.summary), error
    assert "OOMKilled" in str(error).splitlines()[0]


def test_a_broken_healthcheck_shows_its_own_words(dock: Dock) -> None:
    """A healthcheck whose program is missing must be in the error with what the engine says of it."""
    check = {"test": ["CMD", "no-such-check"], "interval": "200ms", "retries": 2}
    dock.stack("s", {"sick": dock.box("say:fine", "wait", healthcheck=check)}, **SHORT)
    error = broken(dock)
    assert error.summary.startswith("Service 'sick' did not settle in ")
    assert "its healthcheck cannot be run: there is no 'no-such-check'" in error.summary
    assert any("no-such-check" in line for line in error.details), error.details
    assert "  fine" in error.details


def test_a_dependency_that_dies_is_blamed(dock: Dock) -> None:
    """When a dependency dies, it must be blamed, not the service that waits for it, which is never started."""
    dock.stack(
        "s",
        {
            "setup": dock.box("say:no luck", "exit:4"),
            "web": dock.up(depends_on={"setup": {"condition": "service_completed_successfully"}}),
        },
    )
    error = broken(dock)
    assert error.summary.startswith("Service 'setup' ended with exit code 4 and should have ended with exit code 0")
    assert "  no luck" in error.details
    assert not (dock.latest / "services" / "web.log").exists()


def test_an_unhealthy_dependency_is_blamed(dock: Dock) -> None:
    """A dependency that never gets healthy must be blamed at its deadline, not the service that waits for it."""
    check = {"test": ["CMD", "false"], "interval": "200ms", "retries": 1}
    web = dock.up(depends_on={"db": {"condition": "service_healthy"}})
    dock.stack("s", {"db": dock.box("wait", healthcheck=check), "web": web}, **SHORT)
    error = broken(dock)
    assert "'db'" in str(error).splitlines()[0] or "db-1" in str(error), error


def test_an_unhealthy_dependency_is_told_with_its_own_words(dock: Dock) -> None:
    """As with Compose, an unhealthy service that others wait for must end the wait, with what its check said."""
    check = {"test": "echo role app does not exist >&2; exit 1", "interval": "200ms", "retries": 3}
    services = {
        "db": dock.box("wait", healthcheck=check),
        "cache": dock.box("wait"),
        "api": dock.box("wait", depends_on=["cache"]),
        "web": dock.box("wait", depends_on={"db": {"condition": "service_healthy"}}),
    }
    dock.stack("s", services)
    error = broken(dock)
    assert error.service == "db"
    assert "its healthcheck fails with exit code 1: role app does not exist" in error.summary


def test_a_healthcheck_without_its_program_is_told_at_once(dock: Dock) -> None:
    """A check whose program is not in the image must not be waited for to the end."""
    check = {"test": "no-such-check || exit 1", "interval": "200ms", "retries": 1000}
    dock.stack("s", {"sick": dock.box("say:fine", "wait", healthcheck=check)})
    began = clock.now()
    error = broken(dock)
    assert clock.now() - began < 45
    assert error.summary.startswith("Service 'sick' did not settle in ")
    assert "no-such-check" in error.summary


@pytest.mark.parametrize("words", [("exit:3",), ("exit:3:0.4",)], ids=["at once", "soon"])
def test_a_container_that_cannot_be_asked_must_run_for_a_moment(dock: Dock, words: tuple[str, ...]) -> None:
    """A container without probe and port that ends within a second must break its stack, with code and last line."""
    dock.environ["HARNESS_STEADY"] = "8s"  # on a busy machine a container takes some time to come to its first word
    dock.stack("s", {"worker": dock.box("say:bad configuration", *words), "web": dock.up()})
    error = broken(dock)
    assert error.summary.startswith(f"Service 'worker' ended with exit code {words[0][5]} ")
    assert "  bad configuration" in error.details


@pytest.mark.parametrize("included", [False, True], ids=["own", "included"])
def test_a_container_that_dies_while_others_settle_is_named(dock: Dock, included: bool) -> None:
    """The end of a container must end the wait of those that need it, here or above, and be what is told."""
    delay = "6" if included else "2"
    db = dock.box("say:up", "say:data directory is damaged", f"exit:3:{delay}", harness={"ready": [{"log": "up"}]})
    if included:
        dock.stack("low", {"db": db})
        dock.stack("s", {"web": dock.web(delay=300)}, include=["low.yaml"])
    else:
        dock.stack("s", {"db": db, "web": dock.web(delay=300, depends_on=["db"])})
    error = broken(dock)
    noticed = clock.now()
    assert error.summary.startswith("Service 'db' ended with exit code 3 ")
    assert "  data directory is damaged" in error.details
    told = next(line for line in (dock.latest / "keeper.log").read_text().splitlines() if "/db: exit code" in line)
    assert noticed - float(told.split()[0]) < 8  # removal of the other one included


@pytest.mark.parametrize("act", ["kill", "pause", "stop"])
def test_a_kept_container_of_no_use_is_told_with_the_way_out(dock: Dock, act: str) -> None:
    """A kept container that ended, is paused or stopped must be refused with the way out, and a restart mend it."""
    dock.stack("s", {"web": dock.web("polite")})
    settings = dock.settings(stack="s")
    up_down.up(settings, dock.said.append, ttl=600)
    if act == "kill":
        dock.client.kill(dock.containers()["web"], signal="TERM")
        for _ in clock.poll(clock.Deadline.after(20)):
            if dock.container("web")["State"]["Status"] == "exited":
                break
    else:
        run = dock.run()
        with running(run):
            getattr(run.bring("s").service("web"), act)()
    with pytest.raises(BrokenStack) as caught:
        up_down.up(settings, dock.said.append, ttl=600)
    wanted = {"kill": "ended with exit code 0", "pause": "was left paused", "stop": "was left stopped"}[act]
    assert f"Service 'web' {wanted}" in caught.value.summary
    assert caught.value.hint == "`harness restart --service web` starts it again"
    restart(settings, dock.said.append, "web")
    up_down.up(settings, dock.said.append, ttl=600)
    up_down.down(settings, dock.said.append)


def test_a_full_address_pool_is_told(dock: Dock) -> None:
    """With every network of the range taken, a second environment must be refused with the range, at once."""
    third = random.SystemRandom().randrange(256)
    dock.environ["HARNESS_NETWORKS"] = f"10.219.{third}.0/24"
    dock.stack("s", {"web": dock.up()})
    first = dock.run()
    with running(first):
        first.bring("s")
        with pytest.raises(HarnessError, match=r"Address pool exhausted: every /24 of 10\.219\.") as caught:
            dock.run().bring("s")
        assert caught.value.exit_code == 12
        assert "HARNESS_NETWORKS" in str(caught.value)
        clock.check_guards()
        assert list(dock.containers()) == ["web"]


# -- what is refused before anything exists --------------------------------------------------------------------------


def test_dangerous_settings_are_refused_together(dock: Dock) -> None:
    """Everything that reaches beyond a container must be refused at once, each by name, with the way to allow it."""
    dock.stack(
        "s",
        {
            "a": dock.box("wait", privileged=True),
            "b": dock.box("wait", cap_add=["SYS_ADMIN", "CHOWN"]),
            "c": dock.box("wait", network_mode="host"),
            "d": dock.box("wait", pid="host"),
            "e": dock.box("wait", ipc="host"),
            "f": dock.box("wait", volumes=["/var/run/docker.sock:/var/run/docker.sock"]),
            "g": dock.box("wait", volumes=["/:/host:ro"]),
            "h": {"image": "docker:27-dind"},
            "i": dock.box("wait", volumes=["theirs:/data"], networks=["outside"]),
        },
        volumes={"theirs": {"external": True}},
        networks={"outside": {"external": True, "name": "somebody-elses"}},
    )
    with pytest.raises(ConfigError) as caught:
        dock.run().bring("s")
    text = str(caught.value)
    for words in (
        "service 'a': privileged: true is refused",
        "service 'b': cap_add SYS_ADMIN is refused",
        "service 'c': network_mode: host is refused",
        "service 'd': pid: host is refused",
        "service 'e': ipc: host is refused",
        "service 'f': mounting /var/run/docker.sock is refused",
        "service 'g': mounting / of this machine is refused",
        "service 'h': image 'docker:27-dind', a container engine, is refused",
        "volume 'theirs' is external",
        "network 'somebody-elses' is external",
        "allow: [privileged]",
        "allow: [docker-in-docker]",
        "allow: [external]",
    ):
        assert words in text, words
    assert len(text.splitlines()[0]) <= 120
    assert not (dock.root / "logs").exists()
    assert dock.left() == []


def test_what_is_allowed_by_name_works_and_external_things_stay(dock: Dock) -> None:
    """With ``allow``, capabilities and external volumes and networks must work, and the latter outlive the stack."""
    volume, network = dock.bystander({}, kind="volume"), dock.bystander({}, kind="network")
    name = dock.client.inspect_network(network)["Name"]
    settings = {"allow": ["cap_add", "external", "host-namespace"]}
    user = dock.up(volumes=["theirs:/data"], networks=["outside"], cap_add=["SYS_NICE"], uts="host", harness=settings)
    dock.stack(
        "s",
        {"user": user},
        volumes={"theirs": {"external": True, "name": volume}},
        networks={"outside": {"external": True, "name": name}},
    )
    run = dock.run()
    with running(run):
        run.bring("s")
        facts = dock.container("user")
        assert facts["HostConfig"]["CapAdd"] in (["SYS_NICE"], ["CAP_SYS_NICE"])
        assert facts["Mounts"][0]["Name"] == volume
        assert list(facts["NetworkSettings"]["Networks"]) == [name]
    assert dock.client.inspect_volume(volume)
    assert dock.client.inspect_network(network)


def test_two_included_stacks_with_one_service_name_are_refused(dock: Dock) -> None:
    """Two included stacks with one service name must be refused when planned, with file, line and both stacks."""
    for name in ("one", "two"):
        dock.stack(name, {"db": dock.up()})
    dock.stack("s", {"web": dock.up()}, include=["one.yaml", "two.yaml"])
    with pytest.raises(ConfigError, match="'db'") as caught:
        dock.run().bring("s")
    assert re.search(r"s\.yaml:\d+", str(caught.value))
    assert not (dock.root / "logs").exists()


def test_what_the_engine_refuses_to_make_is_told_in_its_words(dock: Dock) -> None:
    """A container that the engine refuses to make must break its stack, in the engine's words."""
    dock.stack("s", {"web": dock.box("wait", mem_limit="1k"), "other": dock.up()})
    error = broken(dock)
    assert "memory limit" in str(error).lower(), error


# -- the engine itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "refused", "silent", "tcp", "no socket"])
def test_an_engine_that_does_not_answer_is_eleven(dock: Dock, kind: str) -> None:
    """An endpoint that is missing, refuses or is silent must be exit 11 within five seconds, with its name."""
    dock.stack("s", {"web": dock.up()})
    path = dock.state / "engine.sock"
    host = f"unix://{path}"
    with socket.socket(socket.AF_UNIX) as endpoint, socket.socket() as port:
        if kind in ("refused", "silent"):
            endpoint.bind(str(path))
        if kind == "silent":
            endpoint.listen()
        if kind == "no socket":
            path.write_text("a file")
        if kind == "tcp":
            port.bind(("127.0.0.1", 0))
            host = f"tcp://127.0.0.1:{port.getsockname()[1]}"
        dock.environ["DOCKER_HOST"] = host
        began = clock.now()
        done = run_in(dock, *HARNESS, "up", "--stack", "s", "--engine", "compose")
        spent = clock.now() - began
    assert (done.code, "Traceback" in done.stderr) == (11, False), done.stderr
    assert spent < 5 + 4  # the interpreter's own start included, beside other tests
    assert host.removeprefix("unix://") in done.stderr
    assert "(DOCKER_HOST) does not answer: " in done.stderr
    assert not (dock.root / "logs").exists()


def test_an_unknown_context_is_ten(dock: Dock) -> None:
    """A Docker context that does not exist must be exit 10 with those there are."""
    dock.stack("s", {"web": dock.up()})
    dock.environ.pop("DOCKER_HOST", None)
    dock.environ |= {"DOCKER_CONTEXT": "nope", "DOCKER_CONFIG": str(dock.state)}
    done = run_in(dock, *HARNESS, "up", "--stack", "s", "--engine", "compose")
    assert done.code == 10, done.stderr
    assert "Docker context 'nope' (DOCKER_CONTEXT) does not exist; there are: default" in done.stderr


# -- what is not ours ------------------------------------------------------------------------------------------------


def test_a_foreign_container_on_our_network_is_named_not_forced(dock: Dock) -> None:
    """A stranger's container on our network must be named by teardown and left alone; the next start clears up."""
    dock.stack("s", {"web": dock.up()})
    run = dock.run()
    run.bring("s")
    (network,) = [one for one in dock.objects() if one.kind == "network"]
    stranger = dock.bystander({}, network=network.name)
    with pytest.raises(LeftoverError) as caught, running(run):
        pass
    name = dock.client.inspect_container(stranger)["Name"].lstrip("/")
    assert caught.value.exit_code == 14
    assert f"network {network.name}: it is used by container {name}, not ours" in str(caught.value)
    assert dock.client.inspect_container(stranger)["State"]["Running"]
    assert dock.left() == [f"network {network.name}"]
    assert len(dock.ledgers()) == 1
    assert dock.dismiss_bystanders() == []
    dock.wait_until_gone(10)
    again = dock.run()
    with running(again):
        again.bring("s")
    assert dock.left() == []
    assert dock.ledgers() == []


def test_down_with_a_foreign_container_on_our_network_is_fourteen(dock: Dock) -> None:
    """``down`` must end with 14 and name who is in the way; after he is gone, ``down`` must clear the rest."""
    dock.stack("s", {"web": dock.up()})
    settings = dock.settings(stack="s")
    up_down.up(settings, dock.said.append, ttl=600)
    (network,) = [one for one in dock.objects() if one.kind == "network"]
    dock.bystander({}, network=network.name)
    done = run_in(dock, *HARNESS, "down")
    assert done.code == 14, done.stderr
    assert "not ours" in done.stderr
    assert dock.containers() == {}
    dock.dismiss_bystanders()
    dock.wait_until_gone(10)
    done = run_in(dock, *HARNESS, "down")
    assert done.code == 0, done.stderr
    assert dock.left() == []


def test_bystanders_with_labels_like_ours_are_untouched(dock: Dock) -> None:
    """Nothing with labels like ours, but without our nonce or a dead owner, may be touched by runs, down or sweep."""
    dock.stack("s", {"web": dock.web()})
    settings = dock.settings(stack="s")
    up_down.up(settings, dock.said.append, ttl=600)
    labels = dict(dock.container("web")["Config"]["Labels"])
    labels.pop(objects.CHECKOUT)  # by which this test finds what is left
    alike = [
        {**labels, objects.NONCE: "0" * 32, objects.OWNER: _owner()},
        {key: value for key, value in labels.items() if key != objects.NONCE},
        {key: value for key, value in labels.items() if key.startswith("com.docker.compose")},
        {**labels, objects.NONCE: "1" * 32, objects.RUN: "other", objects.OWNER: _owner()},
        {objects.RUN: "another", objects.NONCE: "2" * 32, objects.OWNER: "no json", objects.SCHEMA_LABEL: "1"},
    ]
    ids = [dock.bystander(one, kind=kind) for one in alike for kind in ("container", "volume", "network")]
    run = dock.run()
    with running(run):
        run.bring("s")
    sweep(settings.state)
    up_down.down(settings, dock.said.append)
    with running(dock.run()) as again:
        again.bring("s")
    running_now = [one["Id"] for one in dock.client.containers()]
    assert [one for one in ids[::3] if one not in running_now] == []
    assert dock.dismiss_bystanders() == []


@pytest.mark.parametrize("end", ["run", "keeper", "both", "both, and the ledger is lost"])
def test_what_was_made_of_our_things_is_not_ours(dock: Dock, end: str) -> None:
    """What somebody made with all the labels of ours must outlive any end: a container of a committed image, copies."""
    dock.stack("s", {"web": dock.up(volumes=["data:/data"])}, volumes={"data": None})
    process, keeper = started(dock, dock.root / "out")
    for _ in clock.poll(clock.Deadline.after(60)):
        if "UP" in (dock.root / "out").read_text():
            break
    bystanders = copies(dock, dock.container("web"))
    if end != "run":
        os.kill(keeper, signal.SIGKILL)
    process.send_signal(signal.SIGINT if end == "keeper" else signal.SIGKILL)
    process.wait(30)
    if end.startswith("both"):
        wait_until_dead(dock)
    if "lost" in end:
        dock.ledgers()[0].unlink()
    with running(dock.run()) as again:
        again.bring("s")
    for _ in clock.poll(clock.Deadline.after(20)):
        if dock.left() == []:
            break
    assert (dock.left(), [dock.client.inspect_container(one)["State"]["Running"] for one in bystanders]) == (
        [],
        [True] * 2,
    )
    assert dock.dismiss_bystanders() == []
    dock.client.remove_image(f"harness-test-committed:{dock.checkout}", force=True)


def copies(dock: Dock, web: dict[str, Any]) -> list[str]:
    """Make an image of a container and run it, and make a container, volume and network with its labels.

    Returns:
        The ids of the two containers.
    """
    mark = {objects.CHECKOUT: "a copy", "harness.test.bystander": dock.checkout}  # not what this test looks for
    dock.client.commit(web["Id"], "harness-test-committed", dock.checkout)
    image, name = f"harness-test-committed:{dock.checkout}", f"mine-{dock.checkout}"
    inherits = dock.client.create_container(image, ["wait"], name=name, labels=mark)["Id"]
    dock.bystanders.append(("container", inherits))
    dock.client.start(inherits)
    assert dock.client.inspect_container(inherits)["Config"]["Labels"][objects.SEAL]
    labels = {**web["Config"]["Labels"], **mark}
    return [inherits, *[dock.bystander(labels, kind=kind) for kind in ("container", "volume", "network")][:1]]


def _owner() -> str:
    return json.dumps(this_process().as_dict())


# -- kills -----------------------------------------------------------------------------------------------------------


def started(dock: Dock, output: Path) -> tuple[procs.Popen[bytes], int]:
    """Start another process that brings up ``s``; return it and the pid of its keeper, as soon as there is one."""
    process = spawn(dock, output, "-c", HOLD, str(dock.root))
    for _ in clock.poll(clock.Deadline.after(20)):
        if found := re.search(r"^OPEN (\d+)$", output.read_text(), re.MULTILINE):
            return process, int(found[1])
    raise AssertionError(output.read_text())


@pytest.mark.parametrize("victim", ["run", "keeper", "both"])
@pytest.mark.parametrize("batch", range(5))
def test_nothing_is_left_whoever_is_killed_whenever(dock: Dock, victim: str, batch: int, tmp_path: Path) -> None:
    """After KILL of run, keeper or both at a random moment of ``up``, nothing may be left (both: at the next start)."""
    dock.stack(
        "s",
        {"web": dock.web("daemon", volumes=["data:/data", "/anonymous"]), "user": dock.up(networks=["own", "default"])},
        volumes={"data": {}},
        networks={"own": {}},
    )
    seed = int(os.environ.get("HARNESS_TEST_SEED") or random.SystemRandom().randrange(1 << 30))
    dice = random.Random(seed)  # noqa: S311 - spreads the kills, hides nothing
    before = anonymous(dock)
    for number in range(2):
        delay = dice.uniform(0, 2.2)
        print(f"seed {seed}, batch {batch}.{number}: {victim} is killed {delay:.3f} s after it opened")
        process, keeper = started(dock, tmp_path / f"out-{number}")
        pause(delay)
        if victim != "run":
            os.kill(keeper, signal.SIGKILL)
        if victim == "keeper":
            pause(1)  # the run must notice by itself
            process.send_signal(signal.SIGINT)
            process.wait(15)
        else:
            process.kill()
            process.wait(10)
        if victim == "run":
            assert dock.wait_until_clear(20) == []
        else:
            wait_until_dead(dock)
            print(sweep(dock.settings().state))
            assert dock.wait_until_clear(5) == []
    for _ in clock.poll(clock.Deadline.after(15)):  # other tests make and remove some at the same time
        if not anonymous(dock) - before:
            break
    assert anonymous(dock) - before == set()


def wait_until_dead(dock: Dock) -> None:
    """Wait until no keeper holds its ledger: of a killed process with threads, the last one gives that back."""
    for _ in clock.poll(clock.Deadline.after(10)):
        if not any(ledger.keeper_is_alive(path) for path in dock.ledgers()):
            break


def pause(seconds: float) -> None:
    """Let time pass."""
    for _ in clock.poll(clock.Deadline.after(seconds)):
        pass


def anonymous(dock: Dock) -> set[str]:
    """Return the anonymous volumes that no container uses."""
    volumes = {one["Name"] for one in dock.client.volumes()["Volumes"] or ()}
    used = {mount.get("Name", "") for one in dock.client.containers(all=True) for mount in one.get("Mounts") or ()}
    return {name for name in volumes - used if re.fullmatch(r"[0-9a-f]{64}", name)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 2)], ids=["TERM", "INT"])
def test_a_signal_to_pytest_removes_its_containers(
    dock: Dock, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """After TERM or INT to pytest in mid-test its containers must be gone soon, not when the test ends."""
    dock.stack("s", {"web": dock.web(), "user": dock.up()})
    (dock.root / "test_it.py").write_text(
        "import harness\nfrom harness import clock\nweb = harness.stack_fixture('s')\ndef test_it(web):\n"
        "    print('RUNNING', flush=True)\n    for _ in clock.poll(clock.Deadline.after(600)):\n        pass\n"
    )
    output = tmp_path / "out"
    # Hypothesis would be imported when a session is interrupted, which takes it seconds.
    words = ("-s", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    process = spawn(dock, output, "-m", "pytest", *words, "test_it.py")
    for _ in clock.poll(clock.Deadline.after(60)):
        if b"RUNNING" in output.read_bytes():
            break
    process.send_signal(number)
    assert process.wait(60) == code, output.read_text()
    assert dock.left() == []
    assert run_json(dock)["exit_code"] == code


def test_compose_killed_in_mid_up_breaks_the_stack(dock: Dock) -> None:
    """When Compose is killed from outside while it creates things, the stack must break and be rolled back."""
    dock.stack("s", {f"s{number}": dock.up() for number in range(12)})
    run = dock.run()
    caught: list[Any] = []

    def bring() -> None:
        try:
            run.bring("s")
        except HarnessError as error:
            caught.append(error)

    thread = threading.Thread(target=bring)
    thread.start()
    killed = False
    for _ in clock.poll(clock.Deadline.after(10)):
        mine = {pid for pid, line in dock.processes().items() if "docker-compose" in line and " up " in line}
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed = True
        if killed:
            break
    thread.join(20)
    assert (killed, len(caught)) == (True, 1)
    assert isinstance(caught[0], BrokenStack)
    assert dock.containers() == {}


def test_a_run_finishes_what_its_keeper_was_killed_over(dock: Dock) -> None:
    """When the keeper is killed while it tears containers down, the run must remove the rest itself."""
    late = dock.up("slow:4", stop_grace_period="6s", harness={"subject": "late"})
    dock.stack("s", {"late": late, "web": dock.web(volumes=["data:/data"])}, volumes={"data": {}})
    run = dock.run()
    run.bring("s")
    assert run.environment is not None
    facts = run.environment.link.facts
    other = KeeperLink(f"harness-{os.getuid()}-{run.environment.env}", lease=False)
    with closing(other), ThreadPoolExecutor(1) as pool:
        closed = pool.submit(run.close)
        for _ in clock.poll(clock.Deadline.after(20)):
            if any(one["expected"] for one in other.ask(Services())["services"]):
                break
        procs.kill(facts["pid"], signal.SIGKILL, start_time=facts["start"])
        assert closed.result(30) == []
    assert dock.left() == []
    assert dock.ledgers() == []


# Hypothesis loads itself when a session is interrupted, which takes a busy machine longer than a teardown may take.
TEST_WORDS = ["--", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "test_it.py"]
BUILT = "FROM {base}\nRUN echo begun && {command}\n"


@pytest.mark.parametrize("presses", [1, 3])
@pytest.mark.parametrize("task", ["up", "build", "test"])
def test_a_signal_during_a_build_ends_it_at_once(dock: Dock, task: str, presses: int, tmp_path: Path) -> None:
    """After TERM in the middle of a step that never ends, the command must end soon, and nothing be started or left."""
    (dock.root / "image").mkdir()
    (dock.root / "image" / "Dockerfile").write_text(BUILT.format(base=dock.image, command="sleep infinity"))
    service = dock.up(build=str(dock.root / "image"))
    del service["image"]
    dock.stack("s", {"built": service})
    (dock.root / "test_it.py").write_text("def test_it(stack): pass\n")
    output = tmp_path / "out"
    words = TEST_WORDS if task == "test" else []
    process = spawn(dock, output, *HARNESS, task, "--stack", "s", *words)
    for _ in clock.poll(clock.Deadline.after(60)):
        if any("begun" in path.read_text() for path in dock.root.glob("logs/*/compose/s.build.log")):
            break
    else:
        raise AssertionError(output.read_text())
    for number in range(presses):
        process.send_signal(signal.SIGTERM)
        if number + 1 < presses:
            pause(0.5)
    assert process.wait(30) in (143, -signal.SIGTERM), output.read_text()
    assert dock.wait_until_clear(10) == []
    assert not list(dock.root.glob("logs/*/services/*.log"))
    for _ in clock.poll(clock.Deadline.after(10)):  # the engine removes it when its client has gone
        made = dock.client.containers(all=True, filters={"ancestor": dock.image})
        steps = [one["Names"] for one in made if "sleep infinity" in one["Command"]]
        if not steps:
            break
    assert steps == []


@pytest.mark.parametrize("task", ["up", "test"])
def test_a_signal_during_a_pull_ends_it_at_once(dock: Dock, task: str, tmp_path: Path) -> None:
    """After TERM while a registry is silent, the command must end at once, and nothing be started or left."""
    (dock.root / "test_it.py").write_text("def test_it(stack): pass\n")
    output = tmp_path / "out"
    words = TEST_WORDS if task == "test" else []
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.settimeout(60)
        dock.stack("s", {"pulled": {"image": f"127.0.0.1:{registry.getsockname()[1]}/none:1"}, "up": dock.up()})
        process = spawn(dock, output, *HARNESS, task, "--stack", "s", *words)
        asked, _ = registry.accept()
        with asked:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (143, -signal.SIGTERM), output.read_text()
    assert dock.wait_until_clear(10) == []
    assert not list(dock.root.glob("logs/*/services/*.log"))


class Waiting(Api):
    """An engine that removes a container only when that has ended by itself."""

    def call(self, method: str, path: str, body: object = None, *, within: float | None = None) -> Reply:
        if method == "DELETE":
            container = path.partition("?")[0]
            for _ in clock.poll(clock.Deadline.after(90)):
                if not super().call("GET", f"{container}/json").document["State"]["Running"]:
                    break
        return super().call(method, path, body, within=within)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may signal what runs in containers")
def test_a_container_that_the_engine_does_not_kill_is_killed_here(dock: Dock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that waits for what runs in a container (20.10 does for some healthchecks) must not hold up removal."""
    monkeypatch.setattr(objects, "KILL_PATIENCE", 0.2)
    container = dock.client.create_container(dock.image, ["wait"], labels={"harness.test": "1"})["Id"]
    dock.client.start(container)
    began = clock.now()
    thing = objects.Object("container", container, "c", {})
    assert objects.remove(Waiting(find_daemon(os.environ)), thing, lambda _: True) is None
    assert clock.now() - began < 45
    assert dock.client.containers(all=True, filters={"id": container}) == []
