"""A stack as containers, decided before anything is created; Compose itself says what the override makes of a file."""

from __future__ import annotations

import io
import re
import shutil
import socket
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from checkout import ROOT
from fake_engine import FakeEngine

from harness import procs
from harness.artifacts import is_missing
from harness.daemon import Daemon
from harness.engine import ContainerPlan, Endpoint, Image, ProcessPlan
from harness.engine.compose import log_drivers
from harness.engine.compose.copies import MOST_BYTES, archive_of
from harness.engine.compose.driver import Compose
from harness.engine.compose.log_drivers import MAX_LOG
from harness.engine.compose.plan import DROPPED, NAME, PIDS, plan_stack
from harness.engine.compose.recipes import build_keys
from harness.engine.identity import Identity
from harness.engine.layout import Layout, Local, Stranger, dry_layout, endpoints, needs
from harness.engine.process import plan as embedded
from harness.errors import CONFIGURATION, ConfigError
from harness.keeper.networks import Network
from harness.ownership.objects import sealed
from harness.stack import compose_environment, find_compose, read_tree
from harness.stack.apart import set_apart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.engine import StackPlan
    from harness.stack import Tree

NETWORK = Network("harness-e", "10.213.7.0/24", "10.213.7.1")
LABELS = {"harness.run": "e", "harness.nonce": "0f", "harness.checkout": "cc"}
OURS = Identity("/src/My Checkout!", "20260102-030405-abcdef", LABELS)
PROJECT = "my-checkout-5270b558-abcdef"
API, DB = "127.7.8.2", "127.7.8.3"


def service(**keys: Any) -> dict[str, Any]:
    """Return a service with these keys."""
    return {"image": "x", **keys}


def tree_of(folder: Path, services: dict[str, Any], **top: Any) -> Tree:
    """Write the stack ``s`` and read it."""
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({**top, "services": services}, sort_keys=False))
    return read_tree([path], {})


def layout_of(tree: Tree, folder: Path, **more: Any) -> Layout:
    """Return a layout: an address for every service, a number from 41000 on for every port name."""
    wanted = needs(tree, more.get("strangers", {}), NAME, more.get("local", Local()))
    made = Layout(
        engine=NAME,
        work=folder / "work",
        logs=folder / "logs",
        environ={"PATH": "/usr/bin:/bin"},
        addresses={name: f"127.7.8.{number}" for number, name in enumerate(wanted.addresses, 2)},
        ports={name: number for number, name in enumerate(wanted.ports, 41000)},
        network=NETWORK,
    )
    return replace(made, **more)


def plan(folder: Path, services: dict[str, Any], *, top: Mapping[str, Any] | None = None, **layout: Any) -> StackPlan:
    """Return the plan of a stack with these services."""
    tree = tree_of(folder, services, **(top or {}))
    return plan_stack(tree, "s", layout_of(tree, folder, **layout), OURS)


def text_of(made: StackPlan) -> str:
    """Return the override of a plan."""
    assert made.containers is not None
    return made.containers.override


class _Loader(yaml.SafeLoader):
    """Keeps the tags that Compose acts upon."""


def _keep(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> tuple[str, Any]:
    if isinstance(node, yaml.MappingNode):
        return tag, loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return tag, loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return tag, node.value


_Loader.add_multi_constructor("!", _keep)


def override_of(made: StackPlan) -> dict[str, Any]:
    """Return the override as a document; what has a tag is (tag without "!", value)."""
    document: dict[str, Any] = yaml.load(text_of(made), Loader=_Loader)  # noqa: S506 - a safe loader
    return document


def one(folder: Path, keys: dict[str, Any], *, top: Mapping[str, Any] | None = None, **layout: Any) -> dict[str, Any]:
    """Return what the override says of ``api`` as the only service of a stack."""
    made: dict[str, Any] = override_of(plan(folder, {"api": service(**keys)}, top=top, **layout))["services"]["api"]
    return made


def merged(made: StackPlan, folder: Path) -> dict[str, Any]:
    """Return what Compose makes of a stack's file and its override, as it would be started."""
    assert made.containers is not None
    path = folder / f"{made.stack}.override.yaml"
    path.write_text(made.containers.override)
    argv = [find_compose({}), *made.containers.arguments, "--file", str(path), "config"]
    env = {**compose_environment({"PATH": "/usr/bin:/bin"}), **made.containers.env}
    done = procs.run(argv, timeout=20, env=env, cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def refused(folder: Path, services: dict[str, Any], **top: Any) -> list[str]:
    """Return what the plan is refused for, after checking that nothing is created."""
    tree = tree_of(folder, services, **top)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        plan_stack(tree, "s", layout_of(tree, folder), OURS)
    assert caught.value.exit_code == 10
    assert sorted(folder.rglob("*")) == before
    said = caught.value.problems
    return [line.replace(f"{folder}/", "") for line in said]


FULL: dict[str, Any] = {
    "image": "somebody/api:1",
    "container_name": "the-api",
    "restart": "always",
    "ports": ["8080:80", "0.0.0.0:9090:90/udp", "7000"],
    "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
    "networks": {"default": {"aliases": ["gate"]}, "own": {}},
    "volumes": ["data:/d"],
    "command": ["serve", "--verbose"],
    "environment": {"HOME_PAGE": "http://db"},
    "cap_drop": ["NET_RAW"],
    "x-harness": {},
}
TOP: dict[str, Any] = {"networks": {"own": {}}, "volumes": {"data": {}}}


def test_compose_makes_of_it_what_may_be_started(tmp_path: Path) -> None:
    """What Compose merges must be on loopback, under no fixed name, never restarted, labelled, else as written."""
    made = plan(tmp_path, {"api": FULL, "db": service()}, top=TOP)
    result = merged(made, tmp_path)
    assert result["name"] == f"{PROJECT}-s"
    api = result["services"]["api"]
    assert [(port["host_ip"], port["published"], port["target"], port["protocol"]) for port in api["ports"]] == [
        (API, "8080", 80, "tcp"),
        (API, "9090", 90, "udp"),
        (API, "7000", 7000, "tcp"),
    ]
    assert "container_name" not in api
    assert (api["restart"], api["pull_policy"], api["pids_limit"]) == ("no", "never", PIDS)
    assert api["healthcheck"] == {"test": ["CMD", "true"], "interval": "1s"}
    assert (api["command"], api["environment"]) == (["serve", "--verbose"], {"HOME_PAGE": "http://db"})
    assert api["networks"] == {"default": {"aliases": ["gate", "the-api"]}, "own": {"aliases": ["the-api"]}}
    assert sorted(api["cap_drop"]) == sorted(DROPPED)
    assert api["security_opt"] == ["no-new-privileges:true"]
    ours = {**LABELS, "harness.stack": "s"}
    for table in (api, result["services"]["db"], result["networks"]["own"], result["volumes"]["data"]):
        assert table["labels"] == ours
    assert result["networks"]["default"] == {"name": "harness-e", "external": True}
    assert result["networks"]["own"]["name"] == f"{PROJECT}-s_own"
    assert result["volumes"]["data"]["name"] == f"{PROJECT}-s_data"


def test_each_thing_has_a_seal_for_its_own_name(tmp_path: Path) -> None:
    """Each container, network and volume must carry the seal of just its name; all other labels are the same."""
    tree = tree_of(tmp_path, {"api": FULL, "db": service()}, **TOP)
    result = merged(plan_stack(tree, "s", layout_of(tree, tmp_path), replace(OURS, key="k")), tmp_path)
    names = {
        "container": {f"{PROJECT}-s-api-1": result["services"]["api"], f"{PROJECT}-s-db-1": result["services"]["db"]},
        "network": {f"{PROJECT}-s_own": result["networks"]["own"]},
        "volume": {f"{PROJECT}-s_data": result["volumes"]["data"]},
    }
    for kind, tables in names.items():
        for name, table in tables.items():
            assert table["labels"] == sealed({**LABELS, "harness.stack": "s"}, "k", kind, name), name
            assert table.get("name", name) == name


def test_the_override_replaces_and_drops_by_composes_own_tags(tmp_path: Path) -> None:
    """Ports and networks must replace those of the file, a container's name must be dropped: both need tags."""
    api = one(tmp_path, FULL, top=TOP)
    assert api["container_name"][0] == "reset"
    assert (api["ports"][0], api["networks"][0]) == ("override", "override")
    text = text_of(plan(tmp_path, {"api": FULL}, top=TOP))
    assert "ports: !override\n" in text
    assert "container_name: !reset" in text
    assert "default: !override\n" in text


def test_what_a_service_does_not_have_is_not_in_the_override(tmp_path: Path) -> None:
    """A plain service must get labels, an image, its network and a bounded log, and nothing else."""
    assert one(tmp_path, {}) == {
        "image": "x",
        "labels": {**LABELS, "harness.stack": "s"},
        "restart": "no",
        "pull_policy": "never",
        "networks": ("override", {"default": None}),
        "logging": {"driver": "local", "options": {"max-size": MAX_LOG, "max-file": "2"}},
    }


def test_own_logging_is_kept(tmp_path: Path) -> None:
    """A service that says where its log goes must be left alone there."""
    assert "logging" not in one(tmp_path, {"logging": {"driver": "local"}})


def test_podman_keeps_logs_by_a_driver_that_it_has(tmp_path: Path) -> None:
    """On Podman no service may get a driver that it lacks, its file's own neither, and that must be said."""
    drivers = ("", "local", "json-file", "none", "fluentd")
    services = {f"s{at}": service(logging={"driver": name} if name else {}) for at, name in enumerate(drivers)}
    tree = tree_of(tmp_path, {**services, "plain": service()})
    made = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, logs=log_drivers.PODMAN)
    ours = {"driver": "k8s-file", "options": {"max-size": MAX_LOG}}
    overridden = {name: table["logging"] for name, table in override_of(made)["services"].items() if "logging" in table}
    assert overridden == {"plain": ours, **dict.fromkeys(("s1", "s3", "s4"), ("override", ours))}
    assert [note for note in made.notes if "log driver" in note] == [
        "service 's1': log driver 'local' is not Podman's, k8s-file is used instead",
        "service 's3': its log is kept for this run all the same (log driver 'none')",
        "service 's4': log driver 'fluentd' is not Podman's, k8s-file is used instead",
    ]


def test_a_local_process_beside_containers_of_podman_is_refused(tmp_path: Path) -> None:
    """What would have no address on Podman must be refused before anything is made, by the service's name."""
    tree = tree_of(tmp_path, {"api": service(), "db": service()})
    layout = layout_of(tree, tmp_path, local=Local(commands={"db": ("sleep", "1")}))
    for kind, refused in (("Docker/28.5.2", False), ("Libpod/5.4.2", True)):
        with FakeEngine(tmp_path / kind.partition("/")[0], kind=kind).running() as engine:
            if not refused:
                assert Compose(engine.daemon).plan(tree, "s", layout, OURS, {}).services
                continue
            with pytest.raises(ConfigError, match="Service 'db' cannot be a local process on Podman"):
                Compose(engine.daemon).plan(tree, "s", layout, OURS, {})


def test_what_answers_decides_how_logs_are_kept(tmp_path: Path) -> None:
    """The engine that is in use must be asked for its kind, and one that does not answer be planned for as Docker."""
    tree = tree_of(tmp_path, {"api": service()})
    kinds = {"Docker/28.5.2": "local", "Libpod/5.4.2": "k8s-file"}
    for kind, driver in kinds.items():
        with FakeEngine(tmp_path / f"{driver}.sock", kind=kind).running() as engine:
            made = Compose(engine.daemon).plan(tree, "s", layout_of(tree, tmp_path), OURS, {})
        assert override_of(made)["services"]["api"]["logging"]["driver"] == driver
    made = Compose(Daemon(f"unix://{tmp_path}/none.sock", "a test")).plan(
        tree, "s", layout_of(tree, tmp_path), OURS, {}
    )
    assert override_of(made)["services"]["api"]["logging"]["driver"] == "local"


# -- addresses -------------------------------------------------------------------------------------------------------


def test_a_log_file_of_its_own_is_mounted_beside_what_the_file_mounts(tmp_path: Path) -> None:
    """A container must see a file of the run's folder where it writes its log, and keep its other mounts."""
    (tmp_path / "a.ini").touch()
    keys = {"volumes": ["./a.ini:/etc/a.ini:ro"], "x-harness": {"log_file": "/var/log/api.log"}}
    made = plan(tmp_path, {"api": service(**keys)})
    here = tmp_path / "logs/api@s.file.log"
    mounts = merged(made, tmp_path)["services"]["api"]["volumes"]
    assert [(mount["source"], mount["target"]) for mount in mounts] == [
        (str(tmp_path / "a.ini"), "/etc/a.ini"),
        (str(here), "/var/log/api.log"),
    ]
    (api,) = made.services
    assert isinstance(api, ContainerPlan)
    assert api.log_file == here


def test_ports_are_published_on_the_leased_address(tmp_path: Path) -> None:
    """Each port must be at the service's own address under its left number, and its variables must say so."""
    made = plan(tmp_path, {"api": service(ports=["8080:80", "53:53/udp"]), "my-db": service(ports=["5432"])})
    assert made.services[0].endpoints == (
        Endpoint("api", 8080, 80, API, 8080),
        Endpoint("api", 53, 53, API, 53, "udp"),
    )
    assert made.services[1].endpoints == (Endpoint("my-db", 5432, 5432, DB, 5432),)
    assert made.containers
    assert made.containers.env == {
        "HARNESS_HOST_API": API,
        "HARNESS_PORT_API_8080": "8080",
        "HARNESS_PORT_API_80": "8080",
        "HARNESS_PORT_API_53": "53",
        "HARNESS_HOST_MY_DB": DB,
        "HARNESS_PORT_MY_DB_5432": "5432",
    }


def test_a_strangers_port_moves(tmp_path: Path) -> None:
    """A port that somebody holds on every address must move to 127.0.0.1 and a free number, the others must stay."""
    strangers = {(8080, "tcp"): Stranger(8080, "tcp", 7, "stranger")}
    made = plan(tmp_path, {"api": service(ports=["8080:80", "8080:80/udp"])}, strangers=strangers)
    assert made.services[0].endpoints == (
        Endpoint("api", 8080, 80, "127.0.0.1", 41000),
        Endpoint("api", 8080, 80, API, 8080, "udp"),
    )
    published = [(port["host_ip"], port["published"]) for port in merged(made, tmp_path)["services"]["api"]["ports"]]
    assert published == [("127.0.0.1", "41000"), (API, "8080")]
    assert made.notes == (f"{strangers[8080, 'tcp']}; service 'api' is on 127.0.0.1 with a free port instead of 8080",)


def test_a_fixed_port_of_a_stranger_is_refused(tmp_path: Path) -> None:
    """A port that may not move must be refused with who holds it, except where nothing is published."""
    strangers = {(8080, "tcp"): Stranger(8080, "tcp", 7, "stranger")}
    tree = tree_of(tmp_path, {"api": service(ports=["8080:80"], **{"x-harness": {"fixed": True}})})
    with pytest.raises(ConfigError) as caught:
        plan_stack(tree, "s", layout_of(tree, tmp_path, strangers=strangers), OURS)
    assert "port 8080/tcp is held on every address by pid 7 (stranger)" in caught.value.summary
    assert "it cannot move: it is fixed" in caught.value.summary
    elsewhere = layout_of(tree, tmp_path, strangers=strangers, container_addresses=True)
    assert plan_stack(tree, "s", elsewhere, OURS).notes == ()


def test_compose_reads_the_variables(tmp_path: Path) -> None:
    """A file that advertises ``HARNESS_HOST_*`` and ``HARNESS_PORT_*`` must be started with the planned address."""
    made = plan(
        tmp_path,
        {
            "api": service(
                ports=["${HARNESS_HOST_API:-127.0.0.1}:8080:80"],
                environment={"AT": "${HARNESS_HOST_API:-127.0.0.1}:${HARNESS_PORT_API_8080:-8080}"},
            )
        },
        strangers={(8080, "tcp"): Stranger(8080, "tcp", 7, "stranger")},
    )
    result = merged(made, tmp_path)["services"]["api"]
    assert result["environment"] == {"AT": f"{result['ports'][0]['host_ip']}:41000"}


def test_containers_can_be_reached_at_their_own_addresses(tmp_path: Path) -> None:
    """With container addresses nothing must be published, and the right numbers must be used on a fixed address."""
    made = plan(
        tmp_path,
        {"api": service(ports=["8080:80"], networks={"default": {"aliases": ["gate"]}, "own": {}}), "db": service()},
        top={"networks": {"own": {}}},
        container_addresses=True,
        strangers={(8080, "tcp"): Stranger(8080, "tcp", 7, "stranger")},
    )
    assert made.services[0].endpoints == (Endpoint("api", 8080, 80, "10.213.7.2", 80),)
    result = merged(made, tmp_path)["services"]
    assert "ports" not in result["api"]
    assert result["api"]["networks"] == {"default": {"aliases": ["gate"], "ipv4_address": "10.213.7.2"}, "own": None}
    assert result["db"]["networks"] == {"default": {"ipv4_address": "10.213.7.3"}}


DEFAULTS: dict[str, dict[str, Any]] = {
    "ipam": {"ipam": {"config": [{"subnet": "10.9.8.0/24"}]}},
    "driver_opts": {"driver_opts": {"com.docker.network.bridge.enable_icc": "true"}},
    "enable_ipv6": {"enable_ipv6": True},
    "labels": {"labels": {"a": "b"}},
}


@pytest.mark.parametrize("said", DEFAULTS.values(), ids=list(DEFAULTS))
def test_a_default_network_with_options_is_the_stacks_own(tmp_path: Path, said: dict[str, Any]) -> None:
    """What a file says of ``default`` must hold; the environment's network is joined beside it, by the same names."""
    keys = {"networks": {"default": {"aliases": ["gate"]}}}
    made = merged(
        plan(tmp_path, {"api": service(**keys), "db": service()}, top={"networks": {"default": said}}), tmp_path
    )
    api, db = made["services"]["api"]["networks"], made["services"]["db"]["networks"]
    assert api == {"default": {"aliases": ["gate"]}, "harness-environment": {"aliases": ["gate"]}}
    assert set(db) == {"default", "harness-environment"}
    assert made["networks"]["harness-environment"] == {"name": "harness-e", "ipam": {}, "external": True} or (
        made["networks"]["harness-environment"] == {"name": "harness-e", "external": True}
    )
    own = made["networks"]["default"]
    assert own["name"] == f"{PROJECT}-s_default"
    assert own["labels"]["harness.run"] == "e"
    (key, value), *_ = said.items()
    assert own[key] == (value if key != "labels" else own["labels"] | value)


def test_a_default_network_of_a_stack_that_includes_another_is_its_own(tmp_path: Path) -> None:
    """Each stack has a ``default`` in what Compose makes of it; only one with options has its own network."""
    (tmp_path / "low.yaml").write_text(yaml.safe_dump({"services": {"db": service()}}))
    top = {"include": ["low.yaml"], "networks": {"default": DEFAULTS["ipam"]}}
    made = merged(plan(tmp_path, {"api": service()}, top=top), tmp_path)
    assert made["networks"]["default"]["name"] == f"{PROJECT}-s_default"
    assert "external" not in made["networks"]["default"]


def test_hooks_of_a_service_that_compose_starts_are_run_by_it(tmp_path: Path) -> None:
    """Where Compose makes more of a service at its start, its first hooks after that must be Compose's to run."""
    hooks = {"post_start": [{"command": ["migrate"]}], "pre_stop": [{"command": ["drain"]}]}
    made = plan(tmp_path, {"api": service(configs=["c"], **hooks)}, top={"configs": {"c": {"content": "x"}}})
    api = merged(made, tmp_path)["services"]["api"]
    assert [hook["command"] for hook in api["post_start"]] == [["migrate"]]
    assert "pre_stop" not in api


def test_an_address_of_the_file_is_kept_on_its_network(tmp_path: Path) -> None:
    """An address written for the default network, or for another of the stack's own, must stay."""
    keys = {"networks": {"default": {"ipv4_address": "10.1.2.3"}, "own": {"ipv4_address": "10.9.9.9"}}}
    subnets = {"default": "10.1.2.0/24", "own": "10.9.9.0/24"}
    top = {"networks": {name: {"ipam": {"config": [{"subnet": subnet}]}} for name, subnet in subnets.items()}}
    assert one(tmp_path, keys, top=top)["networks"] == (
        "override",
        {
            "default": {"ipv4_address": "10.1.2.3"},
            "own": {"ipv4_address": "10.9.9.9"},
            "harness-environment": None,
        },
    )


def test_a_default_network_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """``internal`` at the network that all services share must be refused, since nothing could be reached."""
    (line,) = refused(tmp_path, {"api": service()}, networks={"default": {"internal": True}})
    assert line.startswith("s.yaml: network 'default' is internal, so no port of its services could be reached")


@pytest.mark.parametrize(
    ("who", "variable", "value", "told"),
    [
        ("api", "KAFKA_ADVERTISED_LISTENERS", "IN://api:1,OUT://localhost:9092", "localhost:9092, where 'api' is not"),
        ("api", "HEALTH_URL", "http://localhost:9092/", ""),
        ("db", "BROKER", "127.0.0.1:9092", "127.0.0.1:9092, where 'api' is not"),
        ("db", "OTHER", "localhost:9093", ""),
        ("db", "HOST", "xlocalhost:9092", ""),
    ],
)
def test_clients_that_are_sent_to_localhost_are_told(
    tmp_path: Path, who: str, variable: str, value: str, told: str
) -> None:
    """A variable that sends clients where nothing of an environment is must be named, with what to write."""
    services = {"api": service(ports=["9092:9092"]), "db": service()}
    services[who]["environment"] = {variable: value}
    notes = plan(tmp_path, services).notes
    way = "write ${HARNESS_HOST_API:-localhost}:${HARNESS_PORT_API_9092:-9092}"
    assert notes == ((f"service {who!r}: {variable} names {told}: {way}",) if told else ())


def test_an_address_that_is_written_by_our_variables_is_not_told(tmp_path: Path) -> None:
    """Where a file takes the address from the environment, what is read of it is only its default, and no fault."""
    way = "${HARNESS_HOST_API:-localhost}:${HARNESS_PORT_API_9092:-9092}"
    assert not plan(tmp_path, {"api": service(ports=["9092:9092"], environment={"KAFKA_ADVERTISED": way})}).notes


def test_a_log_that_is_to_be_kept_nowhere_is_kept_for_the_run(tmp_path: Path) -> None:
    """Without its log nobody could say why a service died: the logging driver ``none`` must be replaced, and told."""
    made = plan(tmp_path, {"api": service(logging={"driver": "none"})})
    assert made.notes == ("service 'api': its log is kept for this run all the same (log driver 'none')",)
    assert merged(made, tmp_path)["services"]["api"]["logging"]["driver"] == "local"


def test_an_engine_makes_no_folder_of_a_log(tmp_path: Path) -> None:
    """An engine that does not see the file for a log must say so, and not make a folder of that name."""
    made = merged(plan(tmp_path, {"api": service(**{"x-harness": {"log_file": "/var/log/a"}})}), tmp_path)
    (mount,) = made["services"]["api"]["volumes"]
    assert not mount["bind"].get("create_host_path")


def subnets(**written: str) -> dict[str, dict[str, Any]]:
    return {name: {"ipam": {"config": [{"subnet": subnet}]}} for name, subnet in written.items()}


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        (subnets(a="10.1.0.0/16", b="10.1.2.0/24"), "networks 'a' and 'b': subnet 10.1.0.0/16 overlaps 10.1.2.0/24"),
        (subnets(a="10.1.2.0/24", b="fd00::/64", default="10.1.2.0/24"), "'default': subnet 10.1.2.0/24 overlaps"),
        (subnets(a="10.1.2/24"), "network 'a': ipam: subnet: '10.1.2/24' does not appear to be"),
    ],
)
def test_subnets_that_no_engine_can_have_are_refused(
    tmp_path: Path, networks: dict[str, dict[str, Any]], why: str
) -> None:
    """Networks of one file whose subnets overlap, or are none, must be refused before anything is made."""
    api = service(networks=dict.fromkeys(networks))
    (line,) = refused(tmp_path, {"api": api}, networks=networks)
    assert line.startswith("s.yaml: ")
    assert why in line


def test_a_network_that_nobody_is_on_needs_no_subnet(tmp_path: Path) -> None:
    """Compose does not make a network that no service uses, so it must be in nobody's way."""
    top = {"networks": subnets(a="10.1.2.0/24", b="10.1.2.0/24")}
    made = plan(tmp_path, {"api": service(networks=["a"])}, top=top)
    assert made.containers
    assert made.containers.subnets == {f"{PROJECT}-s_a": ("10.1.2.0/24",)}


def test_a_proxy_is_not_asked_for_other_services(tmp_path: Path) -> None:
    """A service that is told of a proxy must be told too for whom it is not; one that is not, nothing."""
    proxied = service(environment={"http_proxy": "http://p:3128", "no_proxy": "corp"})
    made = override_of(plan(tmp_path, {"api": proxied, "db": service()}))["services"]
    assert made["api"]["environment"] == {"NO_PROXY": "corp,api,db", "no_proxy": "corp,api,db"}
    assert "environment" not in made["db"]


def test_hooks_are_the_keepers(tmp_path: Path) -> None:
    """Hooks must be taken from Compose, be planned with all that they say, and leave time before the end."""
    hook = {"command": ["sh", "-c", "migrate"], "user": "app", "working_dir": "/w", "environment": {"A": "1"}}
    made = plan(tmp_path, {"api": service(post_start=[hook], pre_stop=[{"command": ["drain"]}])})
    (api,) = made.services
    assert isinstance(api, ContainerPlan)
    plain = {"user": "", "working_dir": "", "privileged": False, "environment": []}
    assert api.hooks == {
        "post_start": [{**plain, **hook, "environment": ["A=1"]}],
        "pre_stop": [{**plain, "command": ["drain"]}],
    }
    assert api.grace > 0
    assert {"post_start", "pre_stop"}.isdisjoint(merged(made, tmp_path)["services"]["api"])
    assert "    after its start: sh and 2 words" in str(made).splitlines()  # they may hold a password
    assert "    before its end: drain and 0 words" in str(made).splitlines()


@pytest.mark.parametrize(("policy", "pulled"), [("never", False), ("always", True), ("missing", True)])
def test_an_image_that_is_not_to_be_pulled_is_not(tmp_path: Path, policy: str, pulled: bool) -> None:
    """``pull_policy: never`` of a file must be heeded."""
    (api,) = plan(tmp_path, {"api": service(pull_policy=policy)}).services
    assert isinstance(api, ContainerPlan)
    assert api.is_pulled == pulled


def test_a_service_outside_of_networks_is_left_there(tmp_path: Path) -> None:
    """A service with ``network_mode`` must join no network."""
    made = plan(tmp_path, {"api": service(network_mode="none"), "db": service(network_mode="service:api")})
    result = merged(made, tmp_path)["services"]
    assert [(table["network_mode"], table.get("networks")) for table in result.values()] == [
        ("none", None),
        ("service:api", None),
    ]


def test_settled_services_stay_where_they_are(tmp_path: Path) -> None:
    """Variables for a service that is up already must name the address that it has, not the one it would get."""
    (tmp_path / "low.yaml").write_text(yaml.safe_dump({"services": {"db": service(ports=["5432"])}}))
    tree = tree_of(tmp_path, {"api": service()}, include=["low.yaml"])
    there = Endpoint("db", 5432, 5432, "127.0.0.1", 40404)
    made = plan_stack(tree, "s", layout_of(tree, tmp_path, settled={"low/db": (there,)}), OURS)
    assert made.containers
    assert made.containers.env == {"HARNESS_HOST_DB": "127.0.0.1", "HARNESS_PORT_DB_5432": "40404"}


def test_a_dry_layout_is_enough_to_find_mistakes(tmp_path: Path) -> None:
    """Before anything is leased, a stack must be plannable, on either kind of address."""
    tree = tree_of(tmp_path, {"api": service(ports=["80"])})
    for container_addresses in (False, True):
        layout = dry_layout(tree, {}, {}, NAME, container_addresses=container_addresses)
        assert plan_stack(tree, "s", layout, OURS).services[0].endpoints[0].left == 80


# -- names, networks, volumes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checkout", "stack", "project"),
    [
        ("/src/My Checkout!", "s", f"{PROJECT}-s"),
        ("/src/My Checkout!", "Fake PVs.2", f"{PROJECT}-fake-pvs-2"),
        ("/", "s", "project-8a5edab2-abcdef-s"),
        ("/a/" + "x" * 40, "s", "x" * 20 + "-4ed32fc3-abcdef-s"),
    ],
)
def test_project_names_are_composes_own_kind(checkout: str, stack: str, project: str) -> None:
    """A project's name must tell checkout, run and stack, in characters that Compose takes."""
    assert replace(OURS, checkout=checkout).project(stack) == project


def test_two_checkouts_have_different_names() -> None:
    """Two checkouts whose folders are called alike must share neither projects nor built images."""
    other = replace(OURS, checkout="/elsewhere/My Checkout!")
    assert other.project("s") != OURS.project("s")
    assert other.image("s", "api") != OURS.image("s", "api")
    assert OURS.image("s", "My_API") == "harness-build/s/my-api-3f179e:5270b558"


def test_no_two_services_have_one_image_name() -> None:
    """Services of two stacks, and such as differ in signs only, must be built under names of their own."""
    services = [("s", "web_1"), ("s", "web-1"), ("s", "web.1"), ("s", "Web-1"), ("t", "web-1"), ("T", "web-1")]
    assert len({OURS.image(*service) for service in services}) == len(services)


def test_a_volume_belongs_to_the_lowest_stack_that_declares_it(tmp_path: Path) -> None:
    """A stack must use the volumes of the stacks that it includes, and call its own by its own name."""
    low = {"services": {"db": service(volumes=["data:/d"])}, "volumes": {"data": {}}}
    (tmp_path / "low.yaml").write_text(yaml.safe_dump(low))
    services = {"api": service(volumes=["data:/d", "mine:/m"])}
    tree = tree_of(tmp_path, services, include=["low.yaml"], volumes={"mine": {}})
    layout = layout_of(tree, tmp_path)
    shared = {"name": f"{PROJECT}-low_data", "labels": {**LABELS, "harness.stack": "low"}}
    assert override_of(plan_stack(tree, "low", layout, OURS))["volumes"] == {"data": shared}
    top = plan_stack(tree, "s", layout, OURS)
    mine = {"name": f"{PROJECT}-s_mine", "labels": {**LABELS, "harness.stack": "s"}}
    assert override_of(top)["volumes"] == {"data": shared, "mine": mine}
    assert list(override_of(top)["services"]) == ["api"]
    assert [plan.service for plan in top.services] == ["api"]
    assert merged(top, tmp_path)["volumes"] == {"data": shared, "mine": mine}


def test_a_network_belongs_to_the_lowest_stack_that_declares_it(tmp_path: Path) -> None:
    """A stack that joins a network of a stack that it includes must join that very network."""
    low = {"services": {"db": service(networks=["back"])}, "networks": {"back": {}}}
    (tmp_path / "low.yaml").write_text(yaml.safe_dump(low))
    tree = tree_of(tmp_path, {"api": service(networks=["back"])}, include=["low.yaml"])
    layout = layout_of(tree, tmp_path)
    names = [
        merged(plan_stack(tree, name, layout, OURS), tmp_path)["networks"]["back"]["name"] for name in ("low", "s")
    ]
    assert names == [f"{PROJECT}-low_back"] * 2


# -- images ----------------------------------------------------------------------------------------------------------


def test_what_is_built_gets_a_name_of_this_checkout(tmp_path: Path) -> None:
    """A service with ``build`` must be built under our own name, with its arguments beside those of the file."""
    tree = tree_of(tmp_path, {"api": service(build={"context": ".", "args": {"A": "1"}}), "db": service()})
    images = {"api": Image("x", builds=True, arguments={"BASE": "harness-base:1"}), "db": Image("y")}
    made = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, images)
    assert made.containers
    assert made.containers.build == ("api",)
    api = merged(made, tmp_path)["services"]["api"]
    assert api["image"] == "harness-build/s/api:5270b558"
    assert api["build"]["args"] == {"A": "1", "BASE": "harness-base:1"}
    assert api["build"]["labels"] == {
        "harness.checkout": "cc",
        "harness.checkout.path": OURS.checkout,
        "harness.built": api["image"].rpartition(":")[0],
    }
    assert [plan.image for plan in made.services if isinstance(plan, ContainerPlan)] == [api["image"], "y"]


def test_a_dockerfile_names_what_this_checkout_has_built(tmp_path: Path) -> None:
    """Images of the file's other services must be named as ours in a Dockerfile, and contexts be left that are none."""
    (tmp_path / "Dockerfile").write_text("FROM me/base AS x\nCOPY --from=tool / /\nCOPY --from=dir / /\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("secret\n")
    services = {
        "web": service(build={"context": ".", "additional_contexts": {"tool": "service:tool", "dir": "./dir"}}),
        "base": service(image="me/base", build={"context": ".", "dockerfile_inline": "FROM a"}, profiles=["never"]),
        "tool": service(image="fixed", build={"context": ".", "dockerfile_inline": "FROM b"}),
    }
    tree = tree_of(tmp_path, services)
    images = {"web": Image("x", builds=True), "tool": Image("prebuilt:1"), "base": Image("y", builds=True)}
    containers = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, images).containers
    assert containers
    assert (containers.build, sorted(containers.recipes)) == (("web",), ["base", "web"])
    web, base = containers.recipes["web"], containers.recipes["base"]
    assert web.text == "FROM harness-build/s/base:5270b558 AS x\nCOPY --from=prebuilt:1 / /\nCOPY --from=dir / /\n"
    assert (web.ignored, web.contexts, web.alone) == ("secret\n", {"dir": str(tmp_path / "dir")}, {})
    assert base.alone["image"] == "harness-build/s/base:5270b558"
    assert base.alone["build"]["labels"]["harness.checkout"] == "cc"
    assert build_keys(base, tmp_path / "f").keys() == {"dockerfile", "dockerfile_inline"}


def test_what_is_built_for_others_gets_no_power(tmp_path: Path) -> None:
    """A base that is never started must be refused what a build may not have."""
    base = service(image="base", build={"context": ".", "network": "host"}, profiles=["never"])
    web = service(build={"context": ".", "dockerfile_inline": "FROM base"})
    (said,) = refused(tmp_path, {"web": web, "base": base})
    assert "build: {network: host}" in said


def test_a_dollar_in_a_build_argument_is_a_dollar(tmp_path: Path) -> None:
    """An argument that we add must reach the build as it is."""
    tree = tree_of(tmp_path, {"api": service(build=".")})
    images = {"api": Image("x", builds=True, arguments={"PROXY": "http://me:pa$$word$HOME@proxy"})}
    made = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, images)
    assert merged(made, tmp_path)["services"]["api"]["build"]["args"] == {"PROXY": "http://me:pa$$$$word$$HOME@proxy"}


def test_values_of_build_arguments_are_not_written_down(tmp_path: Path) -> None:
    """An argument of ours, such as a proxy with its password, must reach the build and be in no file."""
    tree = tree_of(tmp_path, {"api": service(build=".")})
    images = {"api": Image("x", builds=True, arguments={"HTTP_PROXY": "http://me:secret@proxy"})}
    made = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, images)
    assert merged(made, tmp_path)["services"]["api"]["build"]["args"] == {"HTTP_PROXY": "http://me:secret@proxy"}
    assert "secret" not in text_of(made)


def test_a_prebuilt_image_is_not_built(tmp_path: Path) -> None:
    """A service whose image is chosen must lose its ``build`` and run what was chosen."""
    tree = tree_of(tmp_path, {"api": service(build=".")})
    images = {"api": Image("somebody/api:2", variable="API_CONTAINER")}
    made = plan_stack(tree, "s", layout_of(tree, tmp_path), OURS, images)
    assert made.containers
    assert made.containers.build == ()
    api = merged(made, tmp_path)["services"]["api"]
    assert (api["image"], "build" in api) == ("somebody/api:2", False)
    planned = made.services[0]
    assert isinstance(planned, ContainerPlan)
    assert (planned.image, planned.variable) == ("somebody/api:2", "API_CONTAINER")


# -- local processes beside containers -------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> tuple[Tree, Layout]:
    """A stack with a local build that stands on a database and is used by another stack; and where things are."""
    (tmp_path / "build").mkdir()
    (tmp_path / "low.yaml").write_text(yaml.safe_dump({"services": {"db": service(ports=["5432:15432"])}}))
    subject = {
        **service(ports=["80:8080"], environment={"DB": "db:5432"}),
        "x-harness": {"subject": "api", "local": {"command": ["sh", "{build}", "{address}", "{port:80}"]}},
    }
    middle = {"include": ["low.yaml"], "services": {"api": subject, "side": service()}}
    (tmp_path / "middle.yaml").write_text(yaml.safe_dump(middle))
    tree = tree_of(tmp_path, {"page": service()}, include=["middle.yaml"])
    return tree, layout_of(tree, tmp_path, local=Local(tmp_path / "build"))


def test_a_local_build_is_a_process_at_the_gateway(local: tuple[Tree, Layout], tmp_path: Path) -> None:
    """A local build must be planned as a process at the network's gateway, where containers can reach it."""
    tree, layout = local
    made = plan_stack(tree, "middle", layout, OURS)
    api, side = made.services
    assert isinstance(api, ProcessPlan)
    assert isinstance(side, ContainerPlan)
    assert api.argv == ("sh", str(tmp_path / "build"), "10.213.7.1", "80")
    assert api.env["DB"] == f"{layout.addresses['low/db']}:5432"
    assert api.endpoints == (Endpoint("api", 80, 8080, "10.213.7.1", 80),)
    assert list(override_of(made)["services"]) == ["side"]


def test_containers_around_a_local_build_know_its_name(local: tuple[Tree, Layout], tmp_path: Path) -> None:
    """Containers of its own stack, of those below and of those above must find a local build by its name."""
    tree, layout = local
    for stack, name in (("low", "db"), ("middle", "side"), ("s", "page")):
        made = merged(plan_stack(tree, stack, layout, OURS), tmp_path)
        assert made["services"][name]["extra_hosts"] == ["api=10.213.7.1"]


def test_a_stack_of_local_processes_needs_no_compose(tmp_path: Path) -> None:
    """Where every service is a local process there must be nothing for Compose to do."""
    api = service(**{"x-harness": {"local": {"command": ["sh"]}}})
    made = plan(tmp_path, {"api": api}, local=Local(tmp_path))
    assert made.containers is None
    assert isinstance(made.services[0], ProcessPlan)


def test_mistakes_of_local_processes_and_of_containers_are_told_together(tmp_path: Path) -> None:
    """Everything that is wrong with a stack must be told at once, whatever its services are."""
    api = service(**{"x-harness": {"local": {"command": ["no-such-program"]}}})
    tree = tree_of(tmp_path, {"api": api, "db": service(privileged=True)})
    with pytest.raises(ConfigError) as caught:
        plan_stack(tree, "s", layout_of(tree, tmp_path, local=Local(tmp_path)), OURS)
    assert [word in str(caught.value) for word in ("no-such-program", "privileged")] == [True, True]


# -- privileges, notes, refusals -------------------------------------------------------------------------------------


RESTRICTIONS = {"security_opt", "cap_drop", "pids_limit"}


def test_services_that_are_not_made_for_this_keep_their_privileges(tmp_path: Path) -> None:
    """Only a service with ``x-harness`` must lose privileges; one that is allowed to be privileged keeps them."""
    assert not RESTRICTIONS & set(one(tmp_path, {}))
    assert set(one(tmp_path, {"x-harness": {}})) >= RESTRICTIONS
    allowed = {"privileged": True, "x-harness": {"allow": ["privileged"]}}
    assert not RESTRICTIONS & set(one(tmp_path, allowed))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"cap_add": ["NET_RAW", "CAP_MKNOD"]}, {"cap_drop": [c for c in DROPPED if c not in ("NET_RAW", "MKNOD")]}),
        ({"cap_add": ["ALL"]}, {"cap_drop": []}),
        ({"security_opt": ["no-new-privileges:false"]}, {"security_opt": None}),
        ({"security_opt": ["label:disable"]}, {"security_opt": ["no-new-privileges:true"]}),
        ({"pids_limit": 9}, {"pids_limit": None}),
        ({"deploy": {"resources": {"limits": {"pids": 9}}}}, {"pids_limit": None}),
        ({"deploy": {"resources": {"limits": {"memory": "64m"}}}}, {"pids_limit": PIDS}),
    ],
)
def test_what_a_service_says_of_its_privileges_holds(
    tmp_path: Path, keys: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A privilege or limit that a file writes out must not be taken back."""
    made = one(tmp_path, {**keys, "x-harness": {"allow": ["cap_add"]}})
    assert {key: made.get(key) for key in expected} == expected


def test_what_is_rewritten_is_said(tmp_path: Path) -> None:
    """Each thing of the file that is not done as written must have its line, and nothing else may have one."""
    quiet = service(restart="no", ports=["127.0.0.1:80:80", "81:81"])
    made = plan(tmp_path, {"api": FULL, "db": quiet}, top=TOP)
    assert made.notes == ("service 'api': ports are published on loopback only, not on 0.0.0.0",)


def test_a_restart_policy_of_deploy_goes_too(tmp_path: Path) -> None:
    """No way of writing it may have a container restarted."""
    made = plan(tmp_path, {"api": service(deploy={"restart_policy": {"condition": "any"}})})
    assert "restart_policy" not in merged(made, tmp_path)["services"]["api"].get("deploy", {})


DANGEROUS: dict[str, tuple[dict[str, Any], str, str]] = {
    "privileged": ({"privileged": True}, "privileged", "privileged: true"),
    "capability": ({"cap_add": ["SYS_ADMIN", "CHOWN"]}, "cap_add", "cap_add SYS_ADMIN"),
    "capability in long": ({"cap_add": ["cap_net_admin"]}, "cap_add", "cap_add NET_ADMIN"),
    "host network": ({"network_mode": "host"}, "host-namespace", "network_mode: host"),
    "host processes": ({"pid": "host"}, "host-namespace", "pid: host"),
    "host ipc": ({"ipc": "host"}, "host-namespace", "ipc: host"),
    "host uts": ({"uts": "host"}, "host-namespace", "uts: host"),
    "host users": ({"userns_mode": "host"}, "host-namespace", "userns_mode: host"),
    "host cgroup": ({"cgroup": "host"}, "host-namespace", "cgroup: host"),
    "engine socket": (
        {"volumes": ["/var/run/docker.sock:/s"]},
        "engine-socket",
        "mounting /var/run/docker.sock",
    ),
    "containerd socket": (
        {"volumes": ["/run/containerd/containerd.sock:/s:ro"]},
        "engine-socket",
        "mounting /run/containerd/containerd.sock",
    ),
    "podman socket": (
        {"volumes": ["/run/user/1000/podman/podman.sock:/s"]},
        "engine-socket",
        "mounting /run/user/1000/podman/podman.sock",
    ),
    "root": ({"volumes": ["/:/host:ro"]}, "root-filesystem", "mounting / of this machine"),
    "engine in a container": (
        {"image": "docker:27-dind"},
        "docker-in-docker",
        "image 'docker:27-dind', a container engine,",
    ),
}


ABSOLUTE = re.compile(r"mounting (/\S+)")


@pytest.mark.parametrize("name", DANGEROUS)
def test_danger_is_refused_unless_it_is_allowed(tmp_path: Path, name: str) -> None:
    """What could harm this machine must be refused by name, and accepted when ``allow`` has that name only."""
    keys, permission, what = DANGEROUS[name]
    assert refused(tmp_path, {"api": service(**keys)}) == [
        f"s.yaml: service 'api': {what} is refused; if it must be, write x-harness: {{allow: [{permission}]}}"
    ]
    other = "external" if permission != "external" else "privileged"
    assert refused(tmp_path, {"api": service(**keys, **{"x-harness": {"allow": [other]}})})
    allowed = service(**keys, **{"x-harness": {"allow": [permission]}})
    if any(is_missing(path) for path in ABSOLUTE.findall(what)):  # such as a socket of an engine that is not here
        assert ["does not exist; make it" in line for line in refused(tmp_path, {"api": allowed})] == [True]
    else:
        assert plan(tmp_path, {"api": allowed}).containers


HARMLESS: dict[str, dict[str, Any]] = {
    "default capability": {"cap_add": ["NET_RAW", "CAP_CHOWN"]},
    "a named volume called docker": {"volumes": ["docker.sock:/d"]},
    "network of another service": {"network_mode": "none"},
    "folder": {"volumes": ["./here:/etc/here"]},
    "an image with docker in its name": {"image": "somebody/docker-registry:2"},
    "private namespaces": {"ipc": "private", "cgroup": "private"},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_needs_no_permission(tmp_path: Path, name: str) -> None:
    """What any container may do must not be refused."""
    (tmp_path / "here").mkdir()
    assert plan(tmp_path, {"api": service(**HARMLESS[name])}, top={"volumes": {"docker.sock": {}}}).containers


WAYS_ROUND: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "folder of the engine's socket": ({"volumes": ["/var/run:/r"]}, {}),
    "compose's own word for the socket": ({"use_api_socket": True}, {}),
    "socket as a config": ({"configs": ["c"]}, {"configs": {"c": {"file": "/var/run/docker.sock"}}}),
    "root as a driver's option": (
        {"volumes": ["vol:/v"]},
        {"volumes": {"vol": {"driver_opts": {"type": "none", "o": "bind", "device": "/"}}}},
    ),
    "privileged hook": ({"post_start": [{"command": ["true"], "privileged": True}]}, {}),
    "device": ({"devices": ["/dev/mem:/dev/mem"]}, {}),
    "no seccomp": ({"security_opt": ["seccomp:unconfined"]}, {}),
    "namespace of a stranger": ({"network_mode": "container:stranger"}, {}),
    "volumes of a stranger": ({"volumes_from": ["container:stranger"]}, {}),
    "privileged build": ({"build": {"context": ".", "privileged": True}}, {}),
}


@pytest.mark.parametrize("name", WAYS_ROUND)
def test_ways_round_the_list_are_refused_too(tmp_path: Path, name: str) -> None:
    """The same danger in other words must be refused as well."""
    keys, top = WAYS_ROUND[name]
    tree = tree_of(tmp_path, {"api": service(**keys)}, **top)
    with pytest.raises(ConfigError):
        plan_stack(tree, "s", layout_of(tree, tmp_path), OURS)


@pytest.mark.parametrize("source", ["/.", "//", "/../", "/tmp/..", "/run/../run"])
def test_the_root_is_the_root_however_it_is_written(tmp_path: Path, source: str) -> None:
    """A path that is the root, or holds the engine's socket, must be refused in any spelling."""
    assert refused(tmp_path, {"api": service(volumes=[f"{source}:/h"])})


def test_all_that_is_refused_is_told_together(tmp_path: Path) -> None:
    """Several dangers, of several services, must be told at once."""
    said = refused(tmp_path, {"api": service(privileged=True, pid="host"), "db": service(ipc="host")})
    assert [line.partition(" is refused")[0] for line in said] == [
        "s.yaml: service 'api': privileged: true",
        "s.yaml: service 'api': pid: host",
        "s.yaml: service 'db': ipc: host",
    ]


EXTERNAL: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "volume": ({"volumes": ["data:/d"]}, {"volumes": {"data": {"external": True}}}, "volume 'data'"),
    "named volume": (
        {"volumes": ["data:/d"]},
        {"volumes": {"data": {"external": True, "name": "theirs"}}},
        "volume 'theirs'",
    ),
    "network": ({"networks": ["web"]}, {"networks": {"web": {"external": True}}}, "network 'web'"),
}


@pytest.mark.parametrize("name", EXTERNAL)
def test_what_belongs_to_others_is_refused_unless_it_is_allowed(tmp_path: Path, name: str) -> None:
    """An external volume or network must be refused by name, and left exactly as it is where it is allowed."""
    keys, top, what = EXTERNAL[name]
    assert refused(tmp_path, {"api": service(**keys)}, **top) == [
        (
            f"s.yaml: {what} is external, not ours to use or to keep clean; it is refused. "
            "If it must be, write x-harness: {allow: [external]} at a service that uses it"
        )
    ]
    made = plan(tmp_path, {"api": service(**keys, **{"x-harness": {"allow": ["external"]}})}, top=top)
    kind = next(iter(top))
    table = next(iter(top[kind].values()))
    assert merged(made, tmp_path)[kind][next(iter(top[kind]))] == {"name": next(iter(top[kind])), **table}


# -- what the plan itself says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "grace"),
    [
        ({}, 0.0),
        ({"x-harness": {"subject": "api"}}, 2.0),
        ({"stop_grace_period": "1500ms"}, 1.5),
        ({"stop_grace_period": "0s", "x-harness": {"subject": "api"}}, 0.0),
        ({"stop_grace_period": "1m"}, 7.0),
    ],
)
def test_grace_is_bounded_by_the_stacks_budget(tmp_path: Path, keys: dict[str, Any], grace: float) -> None:
    """Only a subject, or a service that asks for it, must be given time to end, and never more than ``down``."""
    assert plan(tmp_path, {"api": service(**keys)}).services[0].grace == grace


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (None, (False, False)),
        ({"test": ["CMD", "true"]}, (True, False)),
        ({"disable": True}, (False, True)),
        ({"test": ["NONE"]}, (False, True)),
    ],
)
def test_a_healthcheck_can_be_declared_and_switched_off(
    tmp_path: Path, check: dict[str, Any] | None, expected: tuple[bool, bool]
) -> None:
    """A plan must tell a declared healthcheck, a missing one, and one that switches off the image's."""
    keys = {"healthcheck": check} if check else {}
    api = plan(tmp_path, {"api": service(**keys)}).services[0]
    assert isinstance(api, ContainerPlan)
    assert (api.has_health, api.health_off) == expected


def test_env_files_and_folders_are_given_to_compose(tmp_path: Path) -> None:
    """Compose must be given the stack's files, folder and env files, every profile, and a project of ours."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "low.env").write_text("WORD=said\n")
    low = {"services": {"db": service(environment={"WORD": "${WORD}"})}}
    (tmp_path / "low.yaml").write_text(yaml.safe_dump(low))
    include = [{"path": "low.yaml", "project_directory": "sub", "env_file": "low.env"}]
    tree = tree_of(tmp_path, {"api": service()}, include=include)
    made = plan_stack(tree, "low", layout_of(tree, tmp_path), OURS)
    assert made.containers
    assert made.containers.project == f"{PROJECT}-low"
    assert made.containers.arguments == (
        *("--project-name", f"{PROJECT}-low", "--file", str(tmp_path / "low.yaml")),
        *("--project-directory", str(tmp_path / "sub"), "--profile", "*", "--env-file", str(tmp_path / "low.env")),
    )
    assert merged(made, tmp_path)["services"]["db"]["environment"] == {"WORD": "said"}


def test_a_plan_prints(tmp_path: Path) -> None:
    """A printed plan must say what runs where, how it is stopped, and what is not done as written; no environment."""
    made = plan(
        tmp_path,
        {
            "api": service(
                ports=["8080:80"], environment={"TOKEN": "secret"}, restart="always", stop_grace_period="3s"
            ),
            "db": service(),
        },
    )
    assert str(made).splitlines() == [
        "stack s on compose",
        "  api: image x",
        f"    8080 -> {API}:8080 (tcp)",
        "    stop: TERM, 3 s, KILL",
        "  db: image x",
        "    stop: KILL",
    ]
    assert "secret" not in repr(made)
    assert "secret" not in text_of(made)


def test_planning_writes_nothing(tmp_path: Path) -> None:
    """A plan must be decided without touching the stack's folder."""
    tree = tree_of(tmp_path, {"api": FULL}, **TOP)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    layout = layout_of(tree, tmp_path)
    assert plan_stack(tree, "s", layout, OURS) == plan_stack(tree, "s", layout, OURS)
    assert endpoints("s", tree.root.services[0], layout)[0].host == API
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_our_own_stacks_can_be_planned_and_merged(tmp_path: Path) -> None:
    """Every stack of this project must be one that Compose takes with our override, on loopback only."""
    for name in ("compose", "config-files", "integration_tests/search/engine/data", "integration_tests/platform"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for file in sorted((tmp_path / "compose").glob("*.yaml")):
        tree = read_tree([file], {})
        layout = layout_of(tree, tmp_path)
        for stack in tree.stacks:
            made = plan_stack(tree, stack.name, layout, OURS)
            if not made.containers:
                continue  # all of it are host processes
            tables = merged(made, tmp_path)["services"]
            containers = [service for service in stack.services if not service.settings.host]
            own = [port for service in containers for port in tables[service.name].get("ports", ())]
            assert all(port["host_ip"].startswith("127.7.8.") for port in own)


@pytest.mark.parametrize(
    ("keys", "alone"),
    [
        ({}, True),
        ({"healthcheck": {"test": "x"}, "volumes": ["v:/v"], "ports": ["80"], "tmpfs": "/t"}, True),
        ({"depends_on": ["db"]}, True),
        ({"network_mode": "service:db"}, True),
        ({"pid": "service:db"}, True),
        ({"ipc": "service:db"}, True),
        ({"post_start": [{"command": "x"}]}, True),
        ({"configs": ["c"]}, False),
    ],
)
def test_compose_starts_what_is_more_than_its_container(tmp_path: Path, keys: dict[str, Any], alone: bool) -> None:
    """Only a service of which Compose makes something at its start must be left to it."""
    made = plan(
        tmp_path,
        {"api": service(**keys), "db": service()},
        top={"volumes": {"v": {}}, "configs": {"c": {"content": "x"}}},
    )
    assert made.containers is not None
    assert made.containers.free == ({"api", "db"} if alone else {"db"})


# -- what is mounted of this machine ---------------------------------------------------------------------------------


def refusals(folder: Path, services: dict[str, Any], engine: str) -> list[str]:
    """Return why an engine refuses a stack; nothing when it does not."""
    words = {"x-harness": {"embedded": {"command": ["sh"]}}}
    tree = tree_of(folder, {name: {**words, **table} for name, table in services.items()})
    layout = layout_of(tree, folder)
    try:
        if engine == NAME:
            plan_stack(tree, "s", layout, OURS)
        else:
            embedded.plan_stack(tree, "s", replace(layout, engine=engine))
    except ConfigError as error:
        return [detail.strip() for detail in error.details] or [error.summary]
    return []


@pytest.mark.parametrize("engine", [NAME, embedded.NAME])
@pytest.mark.parametrize("form", ["./none:/x", "./none:/x:ro", {"source": "./none"}, {"source": "./file/below"}])
def test_a_bind_source_that_is_missing_is_refused(tmp_path: Path, engine: str, form: str | dict[str, str]) -> None:
    """No engine may make a folder of what a stack mounts: service, path and the way out must be told."""
    (tmp_path / "file").touch()
    mount = form if isinstance(form, str) else {"type": "bind", "target": "/x", **form}
    path = tmp_path / ("file/below" if "below" in str(form) else "none")
    said = refusals(tmp_path, {"api": service(volumes=[mount])}, engine)
    (line,) = said
    assert line == (
        f"Service 'api' ({tmp_path / 's.yaml'}): mounted file or folder {path} does not exist; make it, or, where an "
        "empty folder will do, `mkdir -p` it or write bind: {create_host_path: true} at its volume"
    )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("mount", "kind"),
    [("./app.ini:/app", "file"), ("./app:/etc/app.ini", "file"), ("./conf.d:/etc/conf.d", "file or folder")],
)
def test_a_missing_source_is_called_what_it_looks_like(tmp_path: Path, mount: str, kind: str) -> None:
    """A folder of data that is not there yet must not be called a file."""
    (said,) = refusals(tmp_path, {"api": service(volumes=[mount])}, NAME)
    assert f": mounted {kind} {tmp_path}" in said


@pytest.mark.parametrize("engine", [NAME, embedded.NAME])
def test_what_may_be_missing_is_not_refused(tmp_path: Path, engine: str) -> None:
    """A folder that is to be made, what another service can make, a socket and a log file must be no mistake."""
    (tmp_path / "shared").mkdir()
    created = {"type": "bind", "source": "./made", "target": "/made", "bind": {"create_host_path": True}}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "peer.sock"))
        api = service(volumes=[created, "./shared/later:/later", "./peer.sock:/peer.sock", "/anonymous"])
        api["x-harness"] = {"log_file": "/var/log/api.log", "embedded": {"command": ["sh"]}}
        assert refusals(tmp_path, {"api": api, "db": service(volumes=["./shared:/out"])}, engine) == []
        read_only = {"api": api, "db": service(volumes=["./shared:/out:ro"])}
        (said,) = refusals(tmp_path, read_only, engine)
    assert f"mounted file or folder {tmp_path}/shared/later does not exist" in said


@pytest.mark.parametrize("engine", [NAME, embedded.NAME])
def test_a_folder_that_is_to_be_made_is_planned(tmp_path: Path, engine: str) -> None:
    """A missing source whose file says ``create_host_path: true`` must be a folder that is made at the start."""
    created = {"type": "bind", "source": "./made", "target": "/made", "bind": {"create_host_path": True}}
    tree = tree_of(tmp_path, {"api": service(volumes=[created], **{"x-harness": {"embedded": {"command": ["sh"]}}})})
    layout = layout_of(tree, tmp_path)
    if engine == NAME:
        (made,) = plan_stack(tree, "s", layout, OURS).services
    else:
        (made,) = embedded.plan_stack(tree, "s", replace(layout, engine=engine)).services
    assert isinstance(made, ContainerPlan | ProcessPlan)
    assert tmp_path / "made" in made.folders
    assert not (tmp_path / "made").exists()


# -- an engine that is elsewhere -------------------------------------------------------------------------------------


def test_on_an_engine_elsewhere_files_are_copied_and_nothing_is_mounted_or_published(tmp_path: Path) -> None:
    """What it would mount as an empty folder must come as a copy; volumes of its own must stay, ports must not."""
    (tmp_path / "app.ini").write_text("x")
    (tmp_path / "token").write_text("t")
    keys = {
        "volumes": ["./app.ini:/etc/app.ini:ro", "data:/data"],
        "configs": [{"source": "web", "target": "/etc/web.ini", "mode": 0o440, "uid": "7"}, "written"],
        "secrets": ["token"],
        "ports": ["8080:80"],
    }
    top = {
        "volumes": {"data": {}},
        "configs": {"web": {"file": "./app.ini"}, "written": {"content": "hello"}},
        "secrets": {"token": {"file": "./token"}},
    }
    made = plan(tmp_path, {"api": service(**keys)}, top=top, elsewhere=True)
    (api,) = made.in_containers
    assert [(file.source.name, file.target, file.mode, file.uid) for file in api.copied] == [
        ("app.ini", "/etc/app.ini", None, 0),
        ("app.ini", "/etc/web.ini", 0o440, 7),
        ("token", "/run/secrets/token", 0o444, 0),
    ]
    assert [(end.host, end.port, end.right) for end in api.endpoints] == [(API, 8080, 80)]
    compose = merged(made, tmp_path)["services"]["api"]
    assert [volume["target"] for volume in compose["volumes"]] == ["/data"]
    assert [config["source"] for config in compose["configs"]] == ["written"]
    assert not compose.get("secrets")
    assert not compose.get("ports")
    assert made.containers
    assert not made.containers.free, "Compose writes the other config into it"


def test_on_an_engine_elsewhere_folders_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """One that may be written, or is large, would be silently empty there; a small one that is only read is copied."""
    for name in ("small", "large", "written"):
        (tmp_path / name).mkdir()
    (tmp_path / "small" / "a").write_text("a")
    with (tmp_path / "large" / "a").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    volumes = ["./small:/small:ro", "./large:/large:ro", "./written:/written", "bound:/bound"]
    options = {"driver": "local", "driver_opts": {"type": "none", "o": "bind", "device": str(tmp_path)}}
    with pytest.raises(ConfigError) as refused:
        plan(tmp_path, {"api": service(volumes=volumes)}, top={"volumes": {"bound": options}}, elsewhere=True)
    large, written, bound = sorted(refused.value.problems)
    assert "large, mounted at /large, is larger than 16 MiB" in large
    assert "written, mounted at /written, is a folder that may be written" in written
    assert "COPY in its Dockerfile" in written
    assert "volume 'bound' is" in bound
    (api,) = plan(tmp_path, {"api": service(volumes=volumes[:1])}, elsewhere=True).in_containers
    with tarfile.open(fileobj=io.BytesIO(archive_of(api.copied))) as archive:
        assert archive.getnames() == ["small", "small/a"]


def test_each_name_of_a_file_is_copied_to_an_engine_elsewhere(tmp_path: Path) -> None:
    """A file with two names, or mounted twice, must be there with its content under each of them."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("content")
    (tmp_path / "folder" / "b").hardlink_to(tmp_path / "folder" / "a")
    volumes = ["./folder:/folder:ro", "./folder/b:/single:ro"]
    (api,) = plan(tmp_path, {"api": service(volumes=volumes)}, elsewhere=True).in_containers
    with tarfile.open(fileobj=io.BytesIO(archive_of(api.copied))) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
        contents = {name: file.read() for name, file in files.items() if file}
    assert contents == dict.fromkeys(("folder/a", "folder/b", "single"), b"content")


def test_what_cannot_be_looked_at_is_told_with_why(tmp_path: Path) -> None:
    """A path of which the filesystem tells nothing must be a problem of the stack, with the cause."""
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(ConfigError, match="cannot be read: Too many levels of symbolic links"):
        plan(tmp_path, {"api": service(volumes=["./link:/x:ro"])}, elsewhere=True)


def test_a_copy_that_may_be_written_is_told(tmp_path: Path) -> None:
    """What a service writes to it does not come back, which plain Compose would do."""
    (tmp_path / "app.ini").write_text("x")
    made = plan(tmp_path, {"api": service(volumes=["./app.ini:/etc/app.ini"])}, elsewhere=True)
    assert "service 'api': /etc/app.ini is a copy; what is written to it there stays there" in made.notes


@pytest.mark.parametrize(
    ("tests", "top", "refused"),
    [
        (["back"], {"back": {}}, True),
        (["default", "back"], {"back": {}}, True),
        (["own"], {"back": {}, "own": {}}, False),
        (["back"], {"back": {"external": True, "name": "theirs"}}, False),
        (["default"], {"default": {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}}, True),
        (["default"], {"back": {}}, False),
    ],
)
def test_on_an_engine_elsewhere_who_waits_joins_no_network_that_others_make(
    tests: list[str], top: dict[str, Any], tmp_path: Path, *, refused: bool
) -> None:
    """A container that is made before all others must be refused with its network where that comes with them."""
    words = {"networks": ["back", "default"] if "back" in top else ["default"]}
    api = service(**words, **{"x-harness": {"allow": ["external"]}})
    tree = set_apart(tree_of(tmp_path, {"api": api, "tests": service(networks=tests)}, networks=top), "tests")
    layout = layout_of(tree, tmp_path, elsewhere=True)
    for stack in tree.stacks[:-1]:
        plan_stack(tree, stack.name, layout, OURS)
    plan_stack(tree, tree.root.name, replace(layout, elsewhere=False), OURS)
    if not refused:
        plan_stack(tree, tree.root.name, layout, OURS)
        return
    with pytest.raises(ConfigError) as told:
        plan_stack(tree, tree.root.name, layout, OURS)
    (problem,) = told.value.problems
    assert problem.startswith(f"Service 'tests' is on network {tests[-1]!r} (")
    assert problem.endswith("'default' without settings was needed: it is made before all other networks")
    assert told.value.exit_code == CONFIGURATION
