"""What becomes of each key of a Compose file: the table is whole, and what it says is what happens."""

from __future__ import annotations

import json
import mmap
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness import procs
from harness.engine import keys
from harness.engine.compose.plan import plan_stack as plan_containers
from harness.engine.identity import Identity
from harness.engine.layout import dry_layout
from harness.engine.process.plan import plan_stack as plan_processes
from harness.errors import ConfigError
from harness.stack import read_tree
from harness.stack.compose import compose_environment, find_compose

if TYPE_CHECKING:
    from collections.abc import Callable

# Where the schema of the specification tells the keys of a kind.
DEFINITIONS = {
    "service": "service",
    "deploy": "deployment",
    "network": "network",
    "volume": "volume",
    "secret": "secret",
    "config": "config",
}


def schema() -> dict[str, Any]:
    """Return the schema of the specification that the Compose binary carries and validates by."""
    path = shutil.which(find_compose({}))
    assert path
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        named = binary.find(b'"compose_spec.json"')
        begin = binary.rfind(b"{", 0, named)
        text = binary[begin : begin + 1_000_000].decode(errors="replace")
    document: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return document


def names_in(document: dict[str, Any], table: dict[str, Any]) -> set[str]:
    """Return the keys of a definition, with those of the definitions that it is made of."""
    definitions = document.get("$defs") or document["definitions"]
    parts = [definitions[part["$ref"].rpartition("/")[2]] for part in table.get("allOf", ())]
    return set(table.get("properties", ())).union(*(names_in(document, part) for part in parts))


@pytest.mark.parametrize("kind", [*DEFINITIONS, "build"])
def test_no_key_of_the_specification_is_missing(kind: str) -> None:
    """Every key of the specification must have its verdict, and no other key one."""
    document = schema()
    definitions = document.get("$defs") or document["definitions"]
    if kind == "build":
        holder = definitions.get("workload_spec") or definitions["service"]
        expected = set(holder["properties"]["build"]["oneOf"][1]["properties"])
    else:
        expected = names_in(document, definitions[DEFINITIONS[kind]])
    assert {key.name for key in keys.KEYS if key.kind == kind} == expected


def test_a_key_stands_once() -> None:
    """No key may have two verdicts."""
    names = [(key.kind, key.name) for key in keys.KEYS]
    assert len(names) == len(set(names))


# -- containers ------------------------------------------------------------------------------------------------------

# A value for each key of a service that is honoured in containers; each must be what Compose still sees.
VALUES: dict[str, Any] = {
    "annotations": {"a": "b"},
    "blkio_config": {"weight": 300},
    "cap_add": ["CHOWN"],
    "cap_drop": ["NET_RAW"],
    "cgroup": "private",
    "command": ["serve"],
    "configs": [{"source": "settings", "target": "/etc/settings"}],
    "cpu_period": 100000,
    "cpu_quota": 50000,
    "cpu_rt_period": "950000",
    "cpu_rt_runtime": "900000",
    "cpu_shares": 512,
    "cpus": 1.5,
    "cpuset": "0",
    "depends_on": {"db": {"condition": "service_started", "required": True}},
    "dns": ["127.0.0.53"],
    "dns_opt": ["ndots:1"],
    "dns_search": ["local"],
    "domainname": "local",
    "entrypoint": ["/bin/api"],
    "environment": {"A": "b"},
    "expose": ["81"],
    "extra_hosts": ["there=127.0.0.9"],
    "gpus": [{"driver": "nvidia", "count": 1}],
    "group_add": ["5"],
    "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
    "hostname": "gate",
    "init": True,
    "ipc": "private",
    "labels": {"who": "us"},
    "links": ["db:store"],
    "logging": {"driver": "local", "options": {"max-size": "1m"}},
    "mac_address": "02:42:ac:11:65:43",
    "mem_limit": "67108864",
    "mem_reservation": "33554432",
    "mem_swappiness": "10",
    "memswap_limit": "134217728",
    "networks": {"back": {"aliases": ["inner"]}},
    "oom_kill_disable": True,
    "oom_score_adj": 100,
    "pid": "service:db",
    "pids_limit": 50,
    "platform": "linux/amd64",
    "profiles": ["all"],
    "read_only": True,
    "runtime": "runc",
    "secrets": [{"source": "password", "target": "/run/secrets/password"}],
    "security_opt": ["label=disable"],
    "shm_size": "67108864",
    "stdin_open": True,
    "stop_grace_period": "5s",
    "stop_signal": "SIGINT",
    "storage_opt": {"size": "1G"},
    "sysctls": {"net.core.somaxconn": "1024"},
    "tmpfs": ["/tmp"],
    "tty": True,
    "ulimits": {"nofile": 1024},
    "user": "5:5",
    "userns_mode": "private",
    "uts": "private",
    "volumes": [{"type": "volume", "source": "data", "target": "/d", "volume": {}}],
    "volumes_from": ["db"],
    "working_dir": "/d",
}
# Honoured in a way of their own, with a test of their own here or elsewhere.
APART = {
    "build",  # test_images_built
    "container_name",
    "deploy",
    "env_file",  # Compose makes environment of it
    "extends",  # Compose resolves it
    "image",  # test_images
    "label_file",  # Compose makes labels of it
    "network_mode",  # instead of networks: test_compose_plan
    "ports",  # published on our addresses: test_compose_plan
    "post_start",  # run by the keeper: test_compose_plan, test_containers_settling
    "pre_stop",
    "pull_policy",  # nothing is pulled but by us, before: test_compose_plan
    "restart",  # heeded by the run: test_endings
}
TOP: dict[str, Any] = {
    "networks": {
        "back": {"driver": "bridge", "internal": True, "driver_opts": {"com.docker.network.driver.mtu": "1400"}}
    },
    "volumes": {"data": {"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}},
    "secrets": {"password": {"environment": "PASSWORD"}},
    "configs": {"settings": {"content": "a = 1"}},
}


def as_started(folder: Path, services: dict[str, Any], top: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what Compose makes of a file alone, and of it with our override."""
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({**top, "services": services}))
    tree = read_tree([path], {}, profiles=["all"])
    made = plan_containers(tree, "s", dry_layout(tree, {}, {}, "compose"), Identity("check", "RUN", {}))
    assert made.containers
    override = folder / "override.yaml"
    override.write_text(made.containers.override)
    env = {**compose_environment({"PATH": "/usr/bin:/bin", "PASSWORD": "x"}), **made.containers.env}

    def config(*files: Path) -> dict[str, Any]:
        words = [word for file in files for word in ("--file", str(file))]
        done = procs.run(
            [find_compose({}), *words, "--profile", "*", "config", "--format", "json"], timeout=20, env=env, cwd=folder
        )
        assert done.code == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return config(path), config(path, override)


def test_every_honoured_key_has_a_value_here() -> None:
    """No key may be called honoured without something that would show it ignored."""
    honoured = {key.name for key in keys.KEYS if key.kind == "service" and key.container.fate == "honoured"}
    assert honoured == {*VALUES, *APART}


# Keys that exclude each other, or need another one.
BESIDE: dict[str, Any] = {
    "mem_reservation": {"mem_limit": "67108864"},
    "memswap_limit": {"mem_limit": "67108864"},
    "pid": {"depends_on": {"db": {"condition": "service_started"}}},
}


@pytest.mark.parametrize("key", VALUES)
def test_a_container_has_what_its_file_says(key: str, tmp_path: Path) -> None:
    """The override must take back nothing of an honoured key."""
    services = {"api": {"image": "x", key: VALUES[key], **BESIDE.get(key, {})}, "db": {"image": "x"}}
    alone, ours = as_started(tmp_path, services, TOP)
    before, now = alone["services"]["api"].get(key), ours["services"]["api"].get(key)
    if isinstance(before, dict):
        assert {**before, **(now or {})} == now
    elif isinstance(before, list):
        assert [item for item in before if item not in now] == []
    else:
        assert before is not None
        assert before == now


@pytest.mark.parametrize(("kind", "name"), [("networks", "back"), ("volumes", "data")])
def test_networks_and_volumes_keep_their_options(kind: str, name: str, tmp_path: Path) -> None:
    """What a file says of its networks and volumes must hold, under names of the environment."""
    service = {"image": "x", "networks": {"back": None}, "volumes": ["data:/d"]}
    alone, ours = as_started(tmp_path, {"api": service}, TOP)
    before, now = alone[kind][name], ours[kind][name]
    assert {key: value for key, value in now.items() if key not in ("name", "labels")} == {
        key: value for key, value in before.items() if key != "name"
    }


def test_a_container_name_is_a_name_on_its_networks(tmp_path: Path) -> None:
    """Others reach a service by its container_name, as they do in Compose."""
    service = {"image": "x", "container_name": "shop-db", "networks": {"back": {"aliases": ["a"]}, "default": None}}
    _, ours = as_started(tmp_path, {"db": service}, TOP)
    networks = ours["services"]["db"]["networks"]
    assert [networks["back"]["aliases"], networks["default"]["aliases"]] == [["a", "shop-db"], ["shop-db"]]
    assert "container_name" not in ours["services"]["db"]


# -- local processes -------------------------------------------------------------------------------------------------


def processes(folder: Path, services: dict[str, Any], environ: dict[str, str] | None = None, **top: Any) -> Any:
    """Return the plan of a stack as local processes."""
    for table in services.values():
        table.setdefault("image", "x")
        table.setdefault("x-harness", {"embedded": {"command": ["cat", *table.pop("words", ())]}})
    path = folder / "s.yaml"
    path.write_text(yaml.safe_dump({**top, "services": services}))
    tree = read_tree([path], {})
    given = {"PATH": "/usr/bin:/bin", **(environ or {})}
    layout = dry_layout(tree, given, {}, "embedded")
    return plan_processes(tree, "s", layout)


def test_a_process_gets_secrets_and_configs_of_each_source(tmp_path: Path) -> None:
    """A secret or config must be a file with its content and mode, and its path in texts lead there."""
    (tmp_path / "pw.txt").write_text("s3cret")
    grants = {
        "secrets": ["password", {"source": "token", "target": "/etc/token", "mode": "0600"}],
        "configs": ["settings", {"source": "other", "target": "/etc/other"}],
    }
    tables = {
        "secrets": {"password": {"file": "./pw.txt"}, "token": {"environment": "TOKEN"}},
        "configs": {"settings": {"content": "a = 1"}, "other": {"file": "./pw.txt"}},
    }
    service = {**grants, "words": ["/run/secrets/password", "/etc/token", "/settings", "/etc/other"]}
    service["environment"] = {"PASSWORD_FILE": "/run/secrets/password"}
    made = processes(tmp_path, {"api": service}, {"TOKEN": "t0ken"}, **tables).services[0]
    files = {str(copy.target): (copy.content, oct(copy.mode), copy.hidden) for copy in made.copies}
    assert [files[path] for path in made.argv[1:]] == [
        (b"s3cret", "0o400", True),
        (b"t0ken", "0o600", True),
        (b"a = 1", "0o400", False),
        (b"s3cret", "0o400", False),
    ]
    assert made.env["PASSWORD_FILE"] == made.argv[1]


def test_a_secret_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing source must be an error that names it, on this engine as in Compose."""
    with pytest.raises(ConfigError) as caught:
        processes(tmp_path, {"api": {"secrets": ["token"]}}, secrets={"token": {"environment": "TOKEN"}})
    assert "secrets 'token': environment variable 'TOKEN' is not set" in "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "name"), [("SIGINT", "SIGINT"), ("QUIT", "SIGQUIT"), ("12", "SIGUSR2"), (None, "SIGTERM")]
)
def test_a_process_is_asked_to_end_by_the_signal_of_its_file(written: str | None, name: str, tmp_path: Path) -> None:
    """``stop_signal`` is a name with or without SIG, or a number; TERM without one."""
    made = processes(tmp_path, {"api": {"stop_signal": written} if written else {}}).services[0]
    assert made.stop_signal.name == name


def test_a_signal_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A wrong ``stop_signal`` must be told when planned, not when it is needed."""
    with pytest.raises(ConfigError, match="stop_signal 'SIGFOO' is no signal"):
        processes(tmp_path, {"api": {"stop_signal": "SIGFOO"}})


def test_every_name_of_a_service_becomes_its_address(tmp_path: Path) -> None:
    """Alias, hostname, container_name and link must stand for the address, as the service's name does."""
    db = {"hostname": "dbhost", "container_name": "dbcontainer", "networks": {"default": {"aliases": ["dbalias"]}}}
    words = [f"{name}:5432" for name in ("db", "dbhost", "dbcontainer", "dbalias", "dblink")]
    app = {"links": ["db:dblink"], "words": words, "environment": {"DB_HOST": "dbalias"}}
    made = processes(tmp_path, {"db": {**db, "ports": ["5432:5432"], "words": ["{port:5432}"]}, "app": app})
    planned = next(service for service in made.services if service.service == "app")
    assert set(planned.argv[1:]) == {planned.argv[1]}
    assert planned.argv[1] == "127.0.0.1:5432"
    assert planned.env["DB_HOST"] == "127.0.0.1"
    assert not [name for name in planned.env if "DBALIAS" in name]


def test_what_a_process_cannot_have_is_told_once_a_service(tmp_path: Path) -> None:
    """Keys that are left out must be named with the reason, and those that say nothing must not."""
    made = processes(tmp_path, {"api": {"mem_limit": "1g", "user": "5", "tty": False, "restart": "always"}})
    (line,) = made.notes
    assert line == (
        "service 'api': left out: mem_limit (a process has no limits of its own); user (a process has your rights)"
    )


@pytest.mark.parametrize(
    ("key", "value", "is_told"),
    [
        ("read_only", True, True),
        ("init", True, True),
        ("privileged", True, True),
        ("read_only", False, False),
        ("cpus", 1, True),
        ("cpus", 0, False),
        ("attach", False, True),
        ("attach", True, False),
        ("scale", 1, False),
        ("scale", 2, True),
        ("sysctls", {}, False),
    ],
)
def test_a_value_that_says_something_is_told(tmp_path: Path, key: str, value: Any, is_told: bool) -> None:
    """A key with a value other than what holds anyway must be told, also where that value is true or 1."""
    notes = processes(tmp_path, {"api": {key: value}}).notes
    assert any(key in note for note in notes) == is_told


@pytest.mark.parametrize(
    ("written", "mode"), [(None, 0o400), ("0440", 0o400), ("0700", 0o700), (288, 0o400), (0o755, 0o700), ("x", 0o400)]
)
def test_the_mode_of_a_secret_is_read_as_every_compose_writes_it(written: object, mode: int) -> None:
    """Octal digits and, before 2.33, decimal numbers must both be understood; our bits of it count."""
    from harness.engine.local import _mode_of  # noqa: PLC0415

    assert (_mode_of(written) & 0o700) | 0o400 == mode


def test_a_secret_of_a_variable_in_env_is_there(tmp_path: Path) -> None:
    """A secret that is made of a variable of ``.env`` must be had by a process too."""
    (tmp_path / ".env").write_text('# of the stack\nexport PW="from ${WHERE:-the file}"\n')
    top: dict[str, Any] = {"secrets": {"pw": {"environment": "PW"}}}
    made = processes(tmp_path, {"api": {"secrets": ["pw"]}}, None, **top)
    (api,) = made.services
    (copy,) = api.files
    assert copy.content == b"from the file"


def test_what_a_process_cannot_do_is_refused(tmp_path: Path) -> None:
    """A key that would change what a service sees must not be passed over."""
    with pytest.raises(ConfigError) as caught:
        processes(tmp_path, {"api": {"volumes_from": ["db"]}, "db": {}})
    assert "service 'api': volumes_from is refused" in "\n".join(caught.value.problems)


# -- both ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [{"scale": 0}, {"deploy": {"replicas": 0}}])
def test_a_service_of_no_containers_is_not_there(off: dict[str, Any], tmp_path: Path) -> None:
    """``scale: 0`` and ``replicas: 0`` switch a service off, and nobody waits for it."""
    services = {"worker": dict(off), "web": {"depends_on": ["worker"]}}
    made = processes(tmp_path, services)
    assert [service.service for service in made.services] == ["web"]


BESIDE_SERVICES: dict[str, Any] = {
    "networks": {
        "front": {"driver": "bridge"},
        "back": {"name": "theirs", "internal": True, "attachable": True, "labels": {"a": "b"}},
        "unused": {"name": "nobodys"},
    },
    "volumes": {"data": {"name": "kept", "driver_opts": {"type": "tmpfs", "device": "tmpfs"}}, "plain": {}},
}
USER: dict[str, Any] = {"networks": ["front", "back"], "volumes": ["data:/d", "plain:/p"]}


def test_what_a_process_cannot_have_of_networks_and_volumes_is_told(tmp_path: Path) -> None:
    """Each network and volume in use must have a line for what is left out of it, and one that says nothing none."""
    made = processes(tmp_path, {"api": dict(USER)}, None, **BESIDE_SERVICES)
    assert made.notes == (
        "network 'back': left out: attachable, internal, labels, name (a process uses loopback)",
        "volume 'data': left out: driver_opts (a volume is a folder of the environment)",
    )


def test_what_a_container_cannot_have_of_networks_and_volumes_is_told(tmp_path: Path) -> None:
    """A name that a file gives to a network or volume must not be passed over."""
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**BESIDE_SERVICES, "services": {"api": {"image": "x", **USER}}}))
    tree = read_tree([path], {})
    made = plan_containers(tree, "s", dry_layout(tree, {}, {}, "compose"), Identity("check", "RUN", {}))
    assert made.notes == (
        "network 'back': left out: attachable (it is for a swarm); name (environments would meet under it)",
        "volume 'data': left out: name (environments would meet under it)",
    )


def test_what_an_included_file_declares_is_told_there_only(tmp_path: Path) -> None:
    """A stack must not tell again of a network that the stack below it has told of."""
    included = {**BESIDE_SERVICES, "services": {"api": {"image": "x", "networks": ["back"]}}}
    (tmp_path / "low.yaml").write_text(yaml.safe_dump(included))
    top = {"include": ["low.yaml"], "services": {"web": {"image": "x", "networks": ["back"]}}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(top))
    tree = read_tree([tmp_path / "s.yaml"], {})
    layout = dry_layout(tree, {}, {}, "compose")
    notes = {name: plan_containers(tree, name, layout, Identity("check", "RUN", {})).notes for name in ("low", "s")}
    assert [len(notes["low"]), notes["s"]] == [1, ()]


@pytest.mark.parametrize("engine", ["compose", "embedded"])
def test_a_secret_of_a_swarm_is_refused(engine: str, tmp_path: Path) -> None:
    """What Compose cannot have either must be refused before anything is created, by name and with the reason."""
    external: dict[str, Any] = {"secrets": {"pw": {"external": True}}, "configs": {"ini": {"external": True}}}
    service: dict[str, Any] = {"image": "x", "secrets": ["pw"], "configs": ["ini"]}
    plans: dict[str, Callable[[], Any]] = {
        "compose": lambda: as_started(tmp_path, {"api": service}, external),
        "embedded": lambda: processes(tmp_path, {"api": service}, None, **external),
    }
    with pytest.raises(ConfigError) as caught:
        plans[engine]()
    place = tmp_path / "s.yaml"
    assert caught.value.problems == (
        f"{place}: secret 'pw': external is refused: only a swarm has it",
        f"{place}: config 'ini': external is refused: only a swarm has it",
    )


# Values of keys that must be refused in containers unless they are allowed, and the word that allows each.
POWERS: dict[str, Any] = {
    "privileged": True,
    "devices": ["/dev/null:/dev/null"],
    "device_cgroup_rules": ["c 1:3 mr"],
    "cgroup_parent": "/x",
    "use_api_socket": True,
    "external_links": ["theirs"],
}


@pytest.mark.parametrize("key", POWERS)
def test_a_power_is_refused_with_the_word_that_allows_it(key: str, tmp_path: Path) -> None:
    """Where the table has a word for ``allow``, the refusal must say it, and the word must allow it."""
    found = keys.verdict("service", key, keys.CONTAINER)
    assert found
    assert found.allow
    services: dict[str, Any] = {"api": {"image": "x", key: POWERS[key]}}
    with pytest.raises(ConfigError) as caught:
        as_started(tmp_path, services, {})
    assert f"allow: [{found.allow}]" in "\n".join([caught.value.summary, *caught.value.details])
    services["api"]["x-harness"] = {"allow": [found.allow]}
    as_started(tmp_path, services, {})
