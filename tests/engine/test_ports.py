"""Which of a service's ports a number means: everybody who asks must get the same answer."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from projects import Project, run_in, service

from harness.engine import Endpoint
from harness.engine.attach.plan import locate
from harness.engine.layout import Local
from harness.stack import Port, Service, Stack, Tree, by_number, numbers_of

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")
CROSSED = ("18080:18081", "18081:18080")
# Only the port whose left number is 18081 is served, so whoever takes it for the other one is refused.
SEED = {"key": "one", "http": {"service": "web", "port": 18081, "path": "/a", "method": "GET"}}
READY = [{"http": {"port": 18081, "json": {"status": "green"}}}]


@pytest.mark.parametrize(
    ("ports", "number", "meant"),
    [
        ([(80, 8080), (8080, 80)], 80, 0),
        ([(80, 8080), (8080, 80)], 8080, 1),
        ([(9092, 19092)], 19092, 0),
        ([(1, 3), (2, 3)], 3, 0),
        ([(1, 2)], 5, None),
    ],
)
def test_a_left_number_goes_before_any_right_one(ports: list[tuple[int, int]], number: int, meant: int | None) -> None:
    """A number must mean the port whose left number it is, and the right one of a port only where no left one is it."""
    written = [Port(left=left, right=right) for left, right in ports]
    assert by_number(written).get(number) is (None if meant is None else written[meant])


def test_the_numbers_of_a_port_mean_no_other() -> None:
    """A port may be named by its right number only if that is no left number of another port."""
    first, second, both = (
        Port(left=80, right=8080),
        Port(left=8080, right=90),
        Port(left=80, right=8080, protocol="udp"),
    )
    assert numbers_of(first, (first, second)) == (80,)
    assert numbers_of(second, (first, second)) == (8080, 90)
    assert numbers_of(both, (first, both)) == (80, 8080)


def test_where_somebody_else_started_it() -> None:
    """The address that is given for one port must not be taken for another whose right number it has."""
    web = Service(name="web", ports=(Port(left=80, right=8080), Port(left=8080, right=80)))
    tree = Tree(stacks=(Stack(name="s", files=(), services=(web,)),))
    given = {"web:80": "127.0.0.1:1", "web:8080": "127.0.0.1:2"}
    assert locate(tree, {}, {"s": given}, Local())["s/web"] == (
        Endpoint("web", 80, 8080, "127.0.0.1", 1),
        Endpoint("web", 8080, 80, "127.0.0.1", 2),
    )
    with pytest.raises(Exception, match=r"missing: web:80 \(HARNESS_ENDPOINT_WEB_80\)"):
        locate(tree, {}, {"s": {"web:8080": "127.0.0.1:2"}}, Local())


def _asked_everywhere(project: Project) -> None:
    """Seed, restart and seed again a stack that is up, and ask for its endpoint."""
    done = run_in(project, *HARNESS, "up", "--json")
    assert done.code == 0, done.stderr
    try:
        assert set(json.loads(done.stdout)["endpoints"]) == {"web:18080", "web:18081"}
        for words in (("seed", "--fresh"), ("restart", "--service", "web")):
            again = run_in(project, *HARNESS, *words)
            assert again.code == 0, again.stderr
    finally:
        run_in(project, *HARNESS, "down")


def _crossed(words: list[str], **table: Any) -> dict[str, Any]:
    return service(*words, ports=CROSSED, ready=READY, **table)


def test_a_seed_goes_where_the_endpoint_is(project: Project) -> None:
    """Seeds, probes and endpoints must mean the same port of a local process when numbers cross."""
    project.stack("s", {"web": _crossed(["serve:{address}:{port:18081}:0", "wait"])}, **{"x-harness": {"seed": [SEED]}})
    _asked_everywhere(project)


def test_a_seed_goes_where_the_endpoint_is_in_a_container(dock: Dock) -> None:
    """Seeds, probes and endpoints must mean the same port of a container when numbers cross."""
    box = dock.box("serve:0.0.0.0:18080:0", "wait", ports=list(CROSSED), harness={"ready": READY})
    dock.stack("s", {"web": box}, **{"x-harness": {"seed": [SEED]}})
    _asked_everywhere(dock)


def test_a_port_that_moves_may_be_named_by_its_right_number(project: Project) -> None:
    """A command that says ``{port:RIGHT}`` follows its port when a stranger holds the left number."""
    with socket.create_server(("0.0.0.0", 0)) as stranger:  # noqa: S104 - it must be in the way
        left = stranger.getsockname()[1]
        words = ["serve:{address}:{port:81}:0", "wait"]
        ready = [{"http": {"port": 81, "json": {"status": "green"}}}]
        project.stack("s", {"web": service(*words, ports=(f"{left}:81",), ready=ready)})
        done = run_in(project, *HARNESS, "run", "--", "true")
    assert done.code == 0, done.stderr
