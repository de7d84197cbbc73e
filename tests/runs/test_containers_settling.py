"""Containers on their way up: what their file says of order, health, restarts and hooks holds, by our own hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from containers import ask

from harness import clock
from harness.errors import BrokenStack, ConfigError
from harness.runs import running

if TYPE_CHECKING:
    from pathlib import Path

    from containers import Dock

SLOW = 60.0  # seconds that are far more than what is measured, and far less than what would be if it did not hold


def test_a_probe_of_ours_is_what_healthy_means(dock: Dock) -> None:
    """A service that waits until another is healthy must start when that one's probes hold, without a healthcheck."""
    web = dock.web(depends_on={"db": {"condition": "service_healthy"}})
    dock.stack("s", {"db": dock.up("after:1.5:say:ready", harness={"ready": [{"log": "ready"}]}), "web": web})
    with running(dock.run()) as run:
        stack = run.bring("s")
        assert ask(stack, "web")["status"] == "green"
        started = [dock.container(name)["State"]["StartedAt"] for name in ("db", "web")]
        assert "ready" in stack.service("db").logs()
    assert (clock_of(started[1]) - clock_of(started[0])) >= 1.5


def clock_of(text: str) -> float:
    """Return the engine's time stamp as seconds."""
    from containers import moment  # noqa: PLC0415

    return moment(text)


@pytest.mark.parametrize("test", [["CMD", "sh", "-c", "[ -e /up ]"], "[ -e /up ]"], ids=["CMD", "CMD-SHELL"])
def test_a_healthcheck_that_is_asked_seldom_holds_soon(dock: Dock, test: Any) -> None:
    """With an interval of minutes a service must be usable when its check would succeed, not when it is asked."""
    check = {"test": test, "interval": "300s", "timeout": "5s"}
    dock.stack("s", {"db": dock.box("after:1:touch:/up", "wait", healthcheck=check)})
    began = clock.now()
    with running(dock.run()) as run:
        assert run.bring("s").service("db").state == "running"
    assert clock.now() - began < SLOW


def test_a_container_is_started_again_until_what_it_needs_is_there(dock: Dock) -> None:
    """``restart`` must be heeded while a stack settles, and the engine be told nothing of it."""
    app = dock.box("once:/tried:exit:9", "say:found", "wait", restart="always", depends_on=["db"])
    dock.stack("s", {"db": dock.box("wait", restart="always"), "app": app})
    with running(dock.run()) as run:
        stack = run.bring("s")
        assert stack.service("app").state == "running"
        assert "found" in stack.service("app").logs()
        assert dock.container("app")["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert [line for line in dock.said if "service 'app' ended with exit code 9 and is started again" in line]


def hook(*words: str, **more: Any) -> dict[str, Any]:
    """Return a hook that runs a line of shell."""
    return {"command": ["sh", "-c", *words], **more}


def test_a_stack_is_up_when_its_hooks_have_ended(dock: Dock) -> None:
    """What a hook makes after the start must be there when a stack is, made with the hook's own variables."""
    made = hook("sleep 1; echo $$WHO > /made", environment={"WHO": "hook"})
    dock.stack("s", {"web": dock.web(post_start=[made])})
    with running(dock.run()) as run:
        done = run.bring("s").service("web").exec(["cat", "/made"])
    assert done.stdout == "hook\n"


def test_a_hook_that_fails_is_told(dock: Dock) -> None:
    """A hook that fails must be a service that could not be started, with the hook's own words."""
    dock.stack("s", {"web": dock.web(post_start=[hook("echo no such role >&2; exit 3")]), "db": dock.up()})
    with pytest.raises(BrokenStack) as caught:
        dock.run().bring("s")
    assert caught.value.service == "web"
    assert "ended with exit code 3: no such role" in caught.value.summary


@pytest.mark.parametrize("end", ["stop", "restart", "release"])
def test_what_is_to_run_before_an_end_runs(dock: Dock, tmp_path: Path, end: str) -> None:
    """A hook before the end must run whenever a service is asked to end, while it still runs."""
    mount = f"{tmp_path}:/out"
    before = hook("kill -0 1 && echo left >> /out/said")
    after = hook("echo came >> /out/said")
    dock.stack("s", {"web": dock.web(volumes=[mount], pre_stop=[before], post_start=[after])})
    with running(dock.run()) as run:
        service = run.bring("s").service("web")
        if end == "stop":
            service.stop()
        elif end == "restart":
            service.restart()
    said = (tmp_path / "said").read_text().split()
    assert said == {"stop": ["came", "left"], "restart": ["came", "left"] * 2, "release": ["came", "left"]}[end]


def test_a_hook_that_does_not_end_holds_up_nothing_for_long(dock: Dock) -> None:
    """A hook before the end gets the service's grace, and then the service ends all the same."""
    dock.stack("s", {"web": dock.web(pre_stop=[hook("sleep 600")], stop_grace_period="1s")})
    began = clock.now()
    with running(dock.run()) as run:
        run.bring("s")
    assert clock.now() - began < SLOW


def test_a_hook_before_the_end_that_fails_is_told(dock: Dock) -> None:
    """What was to run before a service's end and failed must be told, with its words, and leave nothing."""
    dock.stack("s", {"web": dock.web(pre_stop=[hook("echo no way out; exit 3")])})
    with running(dock.run()) as run:
        run.bring("s")
    (line,) = [line for line in dock.said if "pre_stop" in line]
    assert line.startswith("warning: service 'web': before its end its hook 'sh' ended with exit code 3: no way out")
    assert not run.left


def test_a_fixed_address_on_the_default_network_is_had(dock: Dock) -> None:
    """A service must have the address that its file says, where the file says a subnet, and be reached by tests too."""
    subnet = {"default": {"ipam": {"config": [{"subnet": "10.77.70.0/24"}]}}}
    web = dock.web(networks={"default": {"ipv4_address": "10.77.70.10"}})
    look = "import urllib.request as u; print(u.urlopen('http://10.77.70.10:80', timeout=30).status)"
    dock.stack("s", {"web": web, "app": dock.up()}, networks=subnet)
    with running(dock.run()) as run:
        stack = run.bring("s")
        assert ask(stack, "web")["status"] == "green"
        assert stack.service("app").exec(["python3", "-c", look]).stdout == "200\n"


def test_two_subnets_that_overlap_are_told(dock: Dock) -> None:
    """Where another network of the engine has the subnet, that must be told by its name before anything is made."""
    subnet = {"default": {"ipam": {"config": [{"subnet": "10.77.71.0/24"}]}}}
    network = dock.client.create_network(
        f"bystander-{dock.checkout}", ipam={"Config": [{"Subnet": "10.77.71.0/24"}]}, labels={"harness.test": "1"}
    )["Id"]
    dock.stack("s", {"web": dock.web()}, networks=subnet)
    try:
        with pytest.raises(ConfigError) as caught:
            dock.run().bring("s")
        assert "default overlaps 10.77.71.0/24 of bystander-" in caught.value.summary
    finally:
        dock.client.remove_network(network)
