"""Which Docker engine is in force, whether it answers, and which engine a run gets."""

from __future__ import annotations

import hashlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_engine import FakeEngine
from servers import free_port, raw_server

from harness import clock
from harness.daemon import DEFAULT_HOST, Api, Daemon, connect, find_daemon
from harness.engine.choice import choose_engine
from harness.engine.compose.driver import Compose
from harness.engine.process.driver import Embedded
from harness.errors import BrokenStack, ConfigError, EngineUnreachableError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from projects import Project

    from harness.config import Settings

WITHIN = 0.3


# -- which engine ----------------------------------------------------------------------------------------------------


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder for the Docker CLI's configuration."""
    made = tmp_path / "docker"
    made.mkdir()
    return made


def add_context(folder: Path, name: str, host: str, *, tls: bool = False, **endpoint: Any) -> Path:
    """Write a context as ``docker context create`` does; return the folder of its keys."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host, **endpoint}}}))
    keys = folder / "contexts" / "tls" / digest / "docker"
    if tls:
        keys.mkdir(parents=True)
    return keys


def test_without_anything_it_is_the_default_socket(docker: Path) -> None:
    """Where nobody chose an engine it must be the default one, and be known as that."""
    for environ in ({"DOCKER_CONFIG": str(docker)}, {"HOME": str(docker)}, {"HOME": "/nonexistent"}):
        found = find_daemon(environ)
        assert (found, found.configured) == (Daemon(DEFAULT_HOST, "default"), False)


def test_docker_host_is_first(docker: Path) -> None:
    """``DOCKER_HOST`` must win over contexts, with the certificates that belong to it."""
    add_context(docker, "there", "tcp://10.0.0.1:2375")
    environ = {"DOCKER_CONFIG": str(docker), "DOCKER_CONTEXT": "there", "DOCKER_HOST": "tcp://192.0.2.1:2376"}
    found = find_daemon(environ)
    assert (found, found.configured) == (Daemon("tcp://192.0.2.1:2376", "DOCKER_HOST", verify=False), True)
    secured = find_daemon({**environ, "DOCKER_CERT_PATH": "/keys", "DOCKER_TLS_VERIFY": "1"})
    assert secured == Daemon("tcp://192.0.2.1:2376", "DOCKER_HOST", "/keys", verify=True)
    assert secured.environment() == {
        "DOCKER_HOST": "tcp://192.0.2.1:2376",
        "DOCKER_CERT_PATH": "/keys",
        "DOCKER_TLS_VERIFY": "1",
    }
    assert Daemon(**json.loads(json.dumps(secured.as_dict()))) == secured


def test_a_context_is_resolved(docker: Path) -> None:
    """``DOCKER_CONTEXT`` must give the address, keys and strictness of that context."""
    add_context(docker, "plain", "unix:///run/other.sock")
    keys = add_context(docker, "secured", "tcp://192.0.2.1:2376", tls=True, SkipTLSVerify=True)
    environ = {"DOCKER_CONFIG": str(docker)}
    assert find_daemon({**environ, "DOCKER_CONTEXT": "plain"}) == Daemon("unix:///run/other.sock", "context 'plain'")
    assert find_daemon({**environ, "DOCKER_CONTEXT": "secured"}) == Daemon(
        "tcp://192.0.2.1:2376", "context 'secured'", str(keys), verify=False
    )


def test_the_current_context_is_read_from_the_configuration(docker: Path) -> None:
    """Without variables, what ``docker context use`` wrote must hold; ``DOCKER_CONTEXT`` must win over it."""
    add_context(docker, "current", "unix:///run/current.sock")
    add_context(docker, "other", "unix:///run/other.sock")
    (docker / "config.json").write_text('{"currentContext": "current"}')
    environ = {"DOCKER_CONFIG": str(docker)}
    assert find_daemon(environ).host == "unix:///run/current.sock"
    assert find_daemon({**environ, "DOCKER_CONTEXT": "other"}).host == "unix:///run/other.sock"
    assert find_daemon({**environ, "DOCKER_CONTEXT": "default"}) == Daemon(DEFAULT_HOST, "default")


def test_an_unknown_context_is_refused_with_those_that_there_are(docker: Path) -> None:
    """A context that does not exist must be refused: where it was named, what there is, and what is near."""
    add_context(docker, "remote", "tcp://192.0.2.1:2375")
    with pytest.raises(ConfigError) as caught:
        find_daemon({"DOCKER_CONFIG": str(docker), "DOCKER_CONTEXT": "remot"})
    assert caught.value.summary == (
        "Docker context 'remot' (DOCKER_CONTEXT) does not exist; there are: default, remote; did you mean 'remote'?"
    )
    (docker / "config.json").write_text('{"currentContext": "gone"}')
    with pytest.raises(ConfigError, match=r"Docker context 'gone' \(.*config\.json\) does not exist"):
        find_daemon({"DOCKER_CONFIG": str(docker)})


@pytest.mark.parametrize("text", ["{", "\xff", ""])
def test_a_broken_configuration_is_named(docker: Path, text: str) -> None:
    """A configuration that cannot be read must be refused with its path, not passed over."""
    (docker / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as caught:
        find_daemon({"DOCKER_CONFIG": str(docker)})
    assert caught.value.summary.startswith(f"{docker}/config.json cannot be read: ")


def test_a_configuration_of_another_form_says_nothing(docker: Path) -> None:
    """A configuration without a context, or that is no table, must leave the default."""
    for text in ("{}", "[]", '{"currentContext": ""}', '{"currentContext": null}'):
        (docker / "config.json").write_text(text)
        assert not find_daemon({"DOCKER_CONFIG": str(docker)}).configured


def listening(folder: Path, name: str) -> socket.socket:
    """Return a server at a unix socket that takes what comes and says nothing."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    return server


def test_podman_is_found_where_nobody_listens_at_dockers_socket(docker: Path, tmp_path: Path) -> None:
    """Podman's own socket must come after Docker's, count as nobody's choice, and need somebody who listens there."""
    environ = {"DOCKER_CONFIG": str(docker), "XDG_RUNTIME_DIR": str(tmp_path)}
    default, own = f"unix://{tmp_path}/docker.sock", f"unix://{tmp_path}/podman/podman.sock"
    assert find_daemon(environ, default) == Daemon(default, "default")
    with listening(tmp_path, "podman/podman.sock"):
        found = find_daemon(environ, default)
        assert (found, found.configured) == (Daemon(own, "default of Podman"), False)
        assert find_daemon({**environ, "DOCKER_CONTEXT": "default"}, default) == Daemon(default, "default")
        assert find_daemon({**environ, "DOCKER_HOST": "unix:///run/x.sock"}, default).host == "unix:///run/x.sock"
        with listening(tmp_path, "docker.sock"):
            assert find_daemon(environ, default) == Daemon(default, "default")
        assert find_daemon(environ, default).host == own  # a socket that its server has left behind
    assert find_daemon(environ, default) == Daemon(default, "default")


# -- does it answer --------------------------------------------------------------------------------------------------


def unreachable(host: str, within: float = WITHIN) -> str:
    """Return why an engine is unreachable, after checking how that is said and that it took not much longer."""
    started = clock.now()
    with pytest.raises(EngineUnreachableError) as caught:
        connect(Daemon(host, "a test"), within=within)
    assert clock.now() - started < within + 10
    assert caught.value.exit_code == 11
    assert "--engine embedded" in caught.value.hint
    start = f"Docker engine {host} (a test) does not answer: "
    assert caught.value.summary.startswith(start)
    return caught.value.summary.removeprefix(start)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A missing socket, one that nobody serves and a plain file must each be told as what they are."""
    assert unreachable(f"unix://{tmp_path}/none.sock") == "No such file or directory"
    (tmp_path / "file.sock").write_text("")
    assert unreachable(f"unix://{tmp_path}/file.sock") == "Connection refused"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    assert unreachable(f"unix://{tmp_path}/dead.sock") == "Connection refused"
    assert unreachable(f"tcp://127.0.0.1:{free_port()}") == "Connection refused"


def test_a_silent_engine_is_given_up_in_time() -> None:
    """An engine that accepts and says nothing must be given up after the time that it was given."""

    def say_nothing(_: socket.socket, over: threading.Event) -> None:
        over.wait(60)

    with raw_server(say_nothing) as port:
        assert unreachable(f"tcp://127.0.0.1:{port}") == f"no answer in {WITHIN:g} s"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"])
def test_what_is_no_engine_is_told(answer: bytes) -> None:
    """Something else that answers at the address must not be taken for an engine, nor end in a traceback."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)

    with raw_server(serve) as port:
        assert unreachable(f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize("body", [b'[{"Id": "abc"', b"<html>", b"\xff"])
def test_an_answer_that_broke_off_is_none(body: bytes) -> None:
    """An answer that is cut short, or is no JSON, must be told as an engine that does not answer."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + body)

    with raw_server(serve) as port, pytest.raises(EngineUnreachableError, match="its answer is no JSON"):
        Api(Daemon(f"tcp://127.0.0.1:{port}", "a test"), within=WITHIN).request("GET", "/networks")


def test_podmans_ok_is_an_answer(tmp_path: Path) -> None:
    """A bare OK, which is no JSON, must count as done: Podman says it where Docker says nothing."""
    with FakeEngine(tmp_path / "podman.sock", kind="Libpod/4.3.1").running() as engine:
        engine.before = lambda _, path: (200, "OK") if path.endswith("/connect") else None
        assert Api(engine.daemon).request("POST", "/networks/n/connect", {"Container": "c"}) is None


@pytest.mark.parametrize(("body", "words"), [(b'{"message": "no room"}', "no room"), (b"bad gateway", "bad gateway")])
def test_a_refusal_is_told_in_its_own_words(body: bytes, words: str) -> None:
    """What an engine or a proxy before it refuses must be told in its words, also where a stream was asked for."""

    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 502 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with raw_server(serve) as port:
        api = Api(Daemon(f"tcp://127.0.0.1:{port}", "a test"))
        with pytest.raises(BrokenStack, match=f"^the engine refused: {words}$"):
            api.request("GET", "/events")
        stream = api.stream("GET", "/events", within=WITHIN)
        with pytest.raises(BrokenStack, match=f"^the engine refused: {words}$"):
            stream.__enter__()


def test_a_crowd_at_the_engines_door_waits_its_turn(tmp_path: Path) -> None:
    """A connection that the engine's queue has no room for must wait for it, as long as it may, not be refused."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as door, ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_UNIX) as first:
        door.bind(str(path))
        door.listen(0)
        door.settimeout(20)
        first.connect(str(path))
        assert unreachable(f"unix://{path}") == f"no answer in {WITHIN:g} s"
        asked = pool.submit(Api(Daemon(f"unix://{path}", "a test"), within=20).request, "GET", "/networks")
        door.accept()[0].close()
        came, _ = door.accept()
        with came:
            came.recv(1 << 16)
            came.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            assert asked.result(20) == []


def test_an_engine_that_is_too_old_is_refused(tmp_path: Path) -> None:
    """An API before that of engine 20.10 must be refused with both versions."""
    for kind, who, first in (
        ("Docker/19.03.1", "Docker engine", "engine 20.10"),
        ("Libpod/4.0.0", "Podman", "Podman 4.3"),
    ):
        path = tmp_path / f"{who}.sock"
        with FakeEngine(path, api="1.40", kind=kind).running() as old, pytest.raises(ConfigError) as caught:
            connect(old.daemon)
        assert caught.value.summary == f"{who} unix://{path} has API 1.40, 1.41 ({first}) or later was needed"
        assert caught.value.exit_code == 10


@pytest.mark.parametrize(
    "host", ["ssh://me@there", "npipe:////./pipe/docker_engine", "fd://", "docker.sock", "foo://x"]
)
def test_other_kinds_of_addresses_are_refused(host: str) -> None:
    """An address that cannot be used must be refused by its kind, without asking anybody."""
    kind = host.partition("://")[0]
    with pytest.raises(ConfigError, match=rf"\(a test\): {kind} endpoints are not supported; unix and tcp are"):
        connect(Daemon(host, "a test"))


def test_keys_that_are_missing_are_a_mistake(tmp_path: Path) -> None:
    """An engine whose keys are not where they should be must be a configuration error that names it."""
    with (
        FakeEngine(tmp_path / "docker.sock").running() as engine,
        pytest.raises(ConfigError) as caught,
    ):
        connect(Daemon(engine.daemon.host, "a test", str(tmp_path / "keys")))
    assert caught.value.summary.startswith(f"Docker engine {engine.daemon.host} (a test): Path to a certificate")


def test_a_client_waits_as_long_as_it_was_told(tmp_path: Path) -> None:
    """The time for the first answer must not be that for later calls."""
    with FakeEngine(tmp_path / "docker.sock").running() as engine:
        for timeout in (7.0, None):
            client = connect(engine.daemon, within=WITHIN, timeout=timeout)
            assert client.timeout == timeout
            assert client.version()["ApiVersion"] == "1.41"
            client.close()


# -- which engine a run gets -----------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """An engine that answers."""
    with FakeEngine(tmp_path / "docker.sock").running() as made:
        yield made


@pytest.fixture
def plain(project: Project, docker: Path) -> Project:
    """A project for which nobody chose an engine, and no Docker engine can be found by chance."""
    for name in ("HARNESS_ENGINE", "DOCKER_HOST", "DOCKER_CONTEXT", "CI"):
        project.environ.pop(name, None)
    project.environ["DOCKER_CONFIG"] = str(docker)
    return project


def with_host(project: Project, host: str, **more: str) -> Settings:
    """Return settings in an environment with this ``DOCKER_HOST``."""
    project.environ |= {"DOCKER_HOST": host, **more}
    return project.settings()


def test_auto_takes_an_engine_that_answers(plain: Project, engine: FakeEngine) -> None:
    """Where a Docker engine answers, containers must be chosen, with the engine's version in the reason."""
    chosen, why = choose_engine(with_host(plain, engine.daemon.host))
    assert chosen == Compose(Daemon(engine.daemon.host, "DOCKER_HOST", verify=False))
    assert why == f"auto: Docker engine 20.10.0 answers at {engine.daemon.host} (DOCKER_HOST)"
    assert set(engine.asked) == {("GET", "/_ping")}


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[FakeEngine]:
    """A Podman of root that answers."""
    with FakeEngine(tmp_path / "podman.sock", kind="Libpod/5.4.2").running() as made:
        yield made


@pytest.fixture
def rootless(tmp_path: Path) -> Iterator[FakeEngine]:
    """A Podman of a user that answers."""
    made = FakeEngine(tmp_path / "rootless.sock", kind="Libpod/5.4.2")
    made.user, made.info = 1000, {"Rootless": True}
    with made.running():
        yield made


def test_auto_takes_podman_and_calls_it_so(plain: Project, podman: FakeEngine) -> None:
    """Where Podman answers, containers must be chosen, with its name and version in the reason."""
    chosen, why = choose_engine(with_host(plain, podman.daemon.host))
    assert chosen == Compose(Daemon(podman.daemon.host, "DOCKER_HOST", verify=False))
    assert why == f"auto: Podman 5.4.2 answers at {podman.daemon.host} (DOCKER_HOST)"


def test_a_podman_that_root_runs_for_users_is_taken(plain: Project, rootless: FakeEngine) -> None:
    """Podman's own word must count where another user listens, as behind a proxy."""
    rootless.info = {"Rootless": False}
    assert choose_engine(with_host(plain, rootless.daemon.host))[0].name == "compose"


def test_a_podman_of_a_user_is_told_not_taken(plain: Project, rootless: FakeEngine) -> None:
    """Rootless Podman must be passed over by ``auto`` with the reason, and refused with what to do when asked for."""
    where = f"{rootless.daemon.host} (DOCKER_HOST)"
    reason = f"Podman {where} runs rootless, so this machine and its containers share no network"
    assert choose_engine(with_host(plain, rootless.daemon.host)) == (Embedded(), f"auto: {reason}")
    with pytest.raises(ConfigError) as caught:
        Compose(Daemon(rootless.daemon.host, "DOCKER_HOST")).check()
    assert (caught.value.summary, caught.value.exit_code) == (reason, 10)
    assert "/run/podman/podman.sock" in caught.value.hint


def test_auto_takes_processes_where_no_engine_answers(plain: Project, tmp_path: Path) -> None:
    """Without an engine local processes must be chosen, with the reason: where it was looked for, and what was seen."""
    host = f"unix://{tmp_path}/none.sock"
    chosen, why = choose_engine(with_host(plain, host))
    assert chosen == Embedded()
    assert why == f"auto: no Docker engine answers at {host} (DOCKER_HOST): No such file or directory"


def test_auto_does_not_wait_for_a_silent_engine(plain: Project) -> None:
    """An engine that accepts and says nothing must cost no more than two seconds and a moment."""

    def say_nothing(_: socket.socket, over: threading.Event) -> None:
        over.wait(60)

    with raw_server(say_nothing) as port:
        started = clock.now()
        chosen, why = choose_engine(with_host(plain, f"tcp://127.0.0.1:{port}"))
        assert clock.now() - started < 20
    assert (chosen, why.rpartition(": ")[2]) == (Embedded(), "no answer in 2 s")


def test_on_ci_a_configured_engine_that_is_dead_is_an_error(plain: Project, docker: Path, tmp_path: Path) -> None:
    """With ``CI`` a dead engine that a variable or context chose must be exit 11, never a silent fallback."""
    host = f"unix://{tmp_path}/none.sock"
    with pytest.raises(EngineUnreachableError, match=r"\(DOCKER_HOST\) does not answer"):
        choose_engine(with_host(plain, host, CI="true"))
    add_context(docker, "mine", host)
    plain.environ["DOCKER_HOST"] = ""
    plain.environ["DOCKER_CONTEXT"] = "mine"
    with pytest.raises(EngineUnreachableError, match=r"\(context 'mine'\) does not answer"):
        choose_engine(plain.settings())


def test_a_live_kept_environment_decides_first(plain: Project, tmp_path: Path) -> None:
    """What ``up`` left must decide before any engine is asked."""
    settings = with_host(plain, f"unix://{tmp_path}/none.sock", CI="true")
    assert choose_engine(settings, {"embedded": "e1"}) == (Embedded(), "auto: e1 is up")
    chosen, why = choose_engine(settings, {"compose": "e2"})
    assert (chosen.name, why) == ("compose", "auto: e2 is up")


@pytest.mark.parametrize("name", ["embedded", "compose"])
def test_what_is_asked_for_is_not_questioned(plain: Project, tmp_path: Path, name: str) -> None:
    """An engine that was asked for must be taken whatever is up or answers, with who asked for it as the reason."""
    plain.environ["HARNESS_ENGINE"] = name
    settings = with_host(plain, f"unix://{tmp_path}/none.sock", CI="true")
    chosen, why = choose_engine(settings, {"embedded": "e1", "compose": "e2"})
    assert (chosen.name, why) == (name, "asked for by HARNESS_ENGINE")


def test_a_dead_engine_that_was_asked_for_ends_the_run(plain: Project, tmp_path: Path) -> None:
    """A run on containers must end with exit 11, soon and with nothing created, when the engine is dead."""
    plain.stack("s", {"web": {"image": "x"}})
    plain.environ |= {"HARNESS_ENGINE": "compose", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    started = clock.now()
    with pytest.raises(EngineUnreachableError):
        plain.run().bring("s")
    assert clock.now() - started < 20
    assert not (plain.root / "logs").exists()


FAR = "it is at no address of this machine's own"


def test_an_engine_elsewhere_is_not_taken_by_itself(plain: Project) -> None:
    """An engine on another machine must not be chosen by ``auto``, and must be refused where it is asked for."""
    chosen, why = choose_engine(with_host(plain, "tcp://192.0.2.1:2375"))
    assert chosen == Embedded()
    assert why == f"auto: Docker engine tcp://192.0.2.1:2375 (DOCKER_HOST) is not on this machine: {FAR}"
    with pytest.raises(ConfigError, match="is not on this machine") as refused:
        Compose(Daemon("tcp://192.0.2.1:2375", "DOCKER_HOST")).check()
    assert "--inside" in refused.value.hint
