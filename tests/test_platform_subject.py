"""The platform without a stack: what it does with what is wrong around it, on SQLite and a small deployer."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT
from servers import raw_server
from small_deployer import PYNODE, Deployer

from harness import clock, procs
from harness.helpers import http

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SUBJECT = ROOT / "integration_tests/platform/subject"
TOKEN = "a-token-of-this-test"
BUDGET = 60.0
MADE: dict[str, bytes] = {}
"""A key, and the database that has it, once they were made."""


@dataclass
class Platform:
    """A platform that can be started, and what it is told."""

    folder: Path
    environ: dict[str, str]
    url: str = ""
    key: str = field(default="", repr=False)

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "django.log").read_text()

    def manage(self, *words: str, environ: Mapping[str, str] | None = None) -> procs.Finished:
        """Run a management command."""
        argv = [sys.executable, "manage.py", *words]
        return procs.run(argv, timeout=BUDGET, env={**self.environ, **(environ or {})}, cwd=SUBJECT)

    def start_and_end(self, **environ: str) -> procs.Finished:
        """Run a server that must not come to serve."""
        argv = [sys.executable, "-m", "serving"]
        return procs.run(argv, timeout=BUDGET, env={**self.environ, **environ}, cwd=SUBJECT)

    def has(self, *words: str) -> str:
        """Run a management command that must succeed, and return what it printed."""
        done = self.manage(*words)
        assert done.code == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def serving(self, **environ: str) -> Iterator[Platform]:
        """Serve for a ``with`` block."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        env = {**self.environ, "LISTEN": f"127.0.0.1:{port}", **environ}
        with (self.folder / "django.log").open("ab") as log:
            process = procs.spawn([sys.executable, "-m", "serving"], env=env, cwd=SUBJECT, output=log)
        self.url = f"http://127.0.0.1:{port}"
        try:
            for _ in clock.poll(clock.Deadline.after(BUDGET)):
                assert process.poll() is None, self.log
                if http.ask("127.0.0.1", port, "/ready", timeout=1).status == 200:
                    break
            yield self
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                process.kill()

    def ask(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Ask with the key."""
        with http.Session(self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=BUDGET) as web:
            answer = web.request(method, path, json=document)
            return answer.status_code, answer.json()

    def made(self, path: str, document: Any) -> dict[str, Any]:
        """Make something that must come about."""
        status, said = self.ask("POST", path, document)
        assert status == 201, said
        return dict(said)

    def model(self) -> int:
        """Return the id of a model without versions."""
        application = self.made("/api/applications", {"name": "a"})
        return int(self.made(f"/api/applications/{application['id']}/models", {"name": "m"})["id"])


@pytest.fixture
def deployer(tmp_path: Path) -> Iterator[Deployer]:
    """A deployer."""
    with Deployer(tmp_path, TOKEN).running() as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path, deployer: Deployer) -> Platform:
    """A platform on a migrated SQLite database, with an account and a key, that is not started."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "HARNESS_DEPLOYER_URL": deployer.url,
        "HARNESS_DEPLOYER_TOKEN_FILE": str(token),
        "PYTHONUNBUFFERED": "1",
    }
    made = Platform(tmp_path, {**os.environ, **told})
    database = tmp_path / "db.sqlite3"
    if not MADE:
        made.has("migrate", "-v0")
        made.has("account", "resident")
        key = made.has("api_key", "resident")
        MADE[key] = database.read_bytes()
    ((made.key, held),) = MADE.items()
    database.write_bytes(held)
    return made


def test_a_model_is_deployed_and_predicts(platform: Platform, deployer: Deployer) -> None:
    """What is deployed must be a real model server that the deployer has, and predict."""
    with platform.serving():
        model = platform.model()
        version = platform.made(f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert [*deployer.instances] == [version["instance"]]
        said = platform.ask("POST", f"/api/models/{model}/invoke", {"inputs": [[50, 2, 10]]})
        assert said == (200, {"outputs": [115.0], "version": 1})
        assert platform.ask("DELETE", f"/api/models/{model}") == (200, {})
        assert not deployer.instances


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("nowhere.onnx", "there is no model 'nowhere.onnx'; there is corrupt.onnx, "),
        ("corrupt.onnx", "the model 'corrupt.onnx' cannot be loaded: Protobuf parsing failed."),
        ("newer-ir.onnx", "Unsupported model IR version: 99, max supported IR version: "),
        ("newer-opset.onnx", "ONNX Runtime only *guarantees* support for models stamped with official released onnx"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_with_the_reason(file: str, says: str, tmp_path: Path) -> None:
    """A model server whose model is missing, corrupt or newer than its runtime must end with that in one line."""
    told = {"MODEL_FILE": file, "MODEL_FOLDER": "models", "LISTEN": "127.0.0.1:1"}
    done = procs.run([sys.executable, "-m", "pynode"], timeout=BUDGET, env={**os.environ, **told}, cwd=PYNODE)
    assert done.code == 3
    assert re.fullmatch(rf"pynode: .*{re.escape(says)}.*\n", done.stderr)
    assert str(tmp_path) not in done.stderr


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"MODEL_FILE": "../price-1.onnx"}, "MODEL_FILE is '../price-1.onnx', the name of a file in the model folder"),
        ({"MODEL_FILE": "price-1.onnx", "MODEL_OPTIONS": "["}, "MODEL_OPTIONS is '[', a JSON object was needed"),
        ({"MODEL_FILE": "price-1.onnx", "MODEL_OPTIONS": '{"slow": 1}'}, "MODEL_OPTIONS has 'slow'; there are"),
        (
            {"MODEL_FILE": "price-1.onnx", "MODEL_OPTIONS": '{"seconds": -1}'},
            "seconds of MODEL_OPTIONS is -1, a number",
        ),
        ({"MODEL_FILE": "price-1.onnx", "LISTEN": "9000"}, "LISTEN is '9000', HOST:PORT was needed"),
    ],
)
def test_a_wrong_variable_of_a_model_server_is_named(told: dict[str, str], says: str) -> None:
    """A variable that means nothing must be refused with its name, what was seen and what was needed."""
    done = procs.run([sys.executable, "-m", "pynode"], timeout=BUDGET, env={**os.environ, **told}, cwd=PYNODE)
    assert (done.code, says in done.stderr) == (2, True), done.stderr


def test_the_models_are_what_their_script_makes() -> None:
    """The models that are shipped must be, byte for byte, what make_models.py writes."""
    program = "import make_models as m, json; print(json.dumps({k: v.hex() for k, v in m.models().items()}))"
    made = json.loads(procs.run([sys.executable, "-c", program], timeout=BUDGET, cwd=PYNODE).stdout)
    assert made == {path.name: path.read_bytes().hex() for path in (PYNODE / "models").iterdir()}


def test_the_migrations_are_those_of_the_models(platform: Platform) -> None:
    """A change of the models must come with its migration."""
    assert platform.has("makemigrations", "--check", "--dry-run") == "No changes detected"


def test_a_key_is_not_in_the_database(platform: Platform) -> None:
    """Of a key only a digest may be kept."""
    held = (platform.folder / "db.sqlite3").read_bytes()
    prefix, _, secret = platform.key.partition(".")
    assert prefix.encode() in held
    assert secret.encode() not in held


def test_an_account_may_be_made_again(platform: Platform) -> None:
    """An account that is there must become what is declared, and its keys stay."""
    assert platform.has("account", "resident=3") == "account resident: was there, quota 3"
    with platform.serving():
        assert platform.ask("GET", "/api/quota") == (200, {"deployments": 3, "used": 0})


def test_an_account_has_its_model_server_once(platform: Platform, deployer: Deployer) -> None:
    """The account's own model must run after the command, and not twice after the command was given again."""
    for _ in range(2):
        platform.has("account", "resident", "--deploy", "price-1.onnx")
    (instance,) = deployer.instances.values()
    assert instance.told()["state"] == "running"


def test_wrong_words_of_a_command_are_errors(platform: Platform) -> None:
    """An account that is none, and a key for a user who is not there, must be refused, with what to do."""
    done = platform.manage("account", "resident=many")
    assert (done.code, "'resident=many' is no account: USER or USER=QUOTA" in done.stderr) == (1, True)
    done = platform.manage("api_key", "stranger")
    assert (done.code, done.stdout) == (1, "")
    assert "there is no user 'stranger': manage.py account stranger" in done.stderr


def test_a_wrong_token_of_the_deployer_is_told(platform: Platform, deployer: Deployer) -> None:
    """Where the deployer refuses the platform's token, a deployment must be 503 in words, without the token."""
    deployer.token = "another"
    with platform.serving():
        model = platform.model()
        status, said = platform.ask("POST", f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert (status, said["error"]) == (503, "the deployer refused this server's token")
        assert said["version"]["state"] == "failed"
    assert TOKEN not in platform.log + json.dumps(said)
    assert platform.key not in platform.log


def test_a_deployer_that_is_not_there_is_told(platform: Platform) -> None:
    """Where nobody answers for the deployer, a deployment must be 503 in words."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with platform.serving(HARNESS_DEPLOYER_URL=url):
        model = platform.model()
        status, said = platform.ask("POST", f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert (status, said["error"]) == (503, "the deployer cannot be reached: ConnectionRefusedError")
    with platform.serving(HARNESS_DEPLOYER_URL=""):
        status, said = platform.ask("POST", f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert (status, said["error"]) == (503, "there is no deployer: HARNESS_DEPLOYER_URL is not set")


def test_a_model_server_that_nobody_told_of_goes_with_its_version(platform: Platform, deployer: Deployer) -> None:
    """A server that was made while no answer came must go before the next one is started, or with the version."""
    with platform.serving():
        model = platform.model()
        deployer.silent = True
        status, said = platform.ask("POST", f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert (status, said["error"]) == (503, "the deployer gave no answer: RemoteDisconnected")
        assert [*deployer.instances] == [said["version"]["instance"]]
        assert platform.ask("DELETE", f"/api/versions/{said['version']['id']}") == (200, {})
        assert not deployer.instances

        deployer.silent = False
        version = platform.made(f"/api/models/{model}/versions", {"file": "price-1.onnx"})
        assert platform.ask("POST", f"/api/versions/{version['id']}/scale", {"replicas": 0})[0] == 200
        deployer.silent = True
        assert platform.ask("POST", f"/api/versions/{version['id']}/scale", {"replicas": 1})[0] == 503
        deployer.silent = False
        _, said = platform.ask("POST", f"/api/versions/{version['id']}/scale", {"replicas": 1})
        assert (said["state"], [*deployer.instances]) == ("running", [said["instance"]])


def test_a_deployment_that_was_interrupted_is_told_as_failed(platform: Platform, deployer: Deployer) -> None:
    """A version that was being deployed when the platform was killed must be failed after its next start, and free."""
    with platform.serving():
        model = platform.model()
        version = platform.made(f"/api/models/{model}/versions", {"file": "price-1.onnx"})
    change = "from serving.models import Version; Version.objects.update(state='deploying', url='')"
    platform.has("shell", "-v0", "-c", change)
    with platform.serving():
        _, said = platform.ask("GET", f"/api/versions/{version['id']}")
        assert (said["state"], said["reason"]) == ("failed", "the platform was restarted while it was deployed")
        assert platform.ask("GET", "/api/quota")[1]["used"] == 0
    assert not deployer.instances


def test_a_port_that_is_taken_is_told(platform: Platform) -> None:
    """A platform whose port somebody else has must end at once and name the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = platform.start_and_end(LISTEN=where)
    assert (done.code, done.stderr) == (4, f"serving: {where} cannot be had: Address already in use\n")


def test_a_port_that_is_taken_is_told_before_the_stack_is_made(tmp_path: Path) -> None:
    """Who has the platform's port must be named with pid by exit code 10, before there is a run or an environment."""
    logs, state = tmp_path / "logs", tmp_path / "state"
    state.mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = {"PLATFORM_PORT": str(port), "HARNESS_LOGS": str(logs), "XDG_RUNTIME_DIR": str(state)}
        argv = [sys.executable, "-c", "from harness.invoke_tasks import main; main()", "run", "--system=platform"]
        env = {**os.environ, "HARNESS_ENGINE": "embedded", **told}
        done = procs.run([*argv, "--", "true"], timeout=BUDGET, env=env, cwd=ROOT)
    assert done.code == 10, done.stderr
    assert f"port {port}/tcp of 'django' is held by pid {os.getpid()} (" in done.stderr
    assert not logs.exists()


def test_its_tests_are_not_shared_out_among_workers() -> None:
    """Under pytest-xdist the platform's tests must say why they are for one process, and start nothing."""
    argv = [sys.executable, "-m", "pytest", "-n2", "--system=platform", "integration_tests/platform/tests"]
    done = procs.run(argv, timeout=BUDGET, cwd=ROOT)
    assert done.code == 4, done.stdout
    assert "which some of them stop: run them without -n" in done.stderr
    assert "harness: engine" not in done.stdout + done.stderr


def test_a_migration_that_fails_is_told(platform: Platform) -> None:
    """A migration that the database refuses must end the command with one line that says which, and why."""
    url = f"sqlite:///{platform.folder}/half.sqlite3"
    half = "from django.db import connection; connection.cursor().execute('CREATE TABLE serving_apikey (id int)')"
    assert platform.manage("shell", "-v0", "-c", half, environ={"DATABASE_URL": url}).code == 0
    done = platform.manage("migrate", "-v0", environ={"DATABASE_URL": url})
    assert done.code == 1
    assert done.stderr.splitlines() == [
        'manage.py migrate: migration serving.0001_initial failed: table "serving_apikey" already exists'
    ]


def test_missing_migrations_are_told_before_it_serves(platform: Platform) -> None:
    """A database without the migrations must end the platform at once, with the command that is needed."""
    done = platform.start_and_end(DATABASE_URL=f"sqlite:///{platform.folder}/empty.sqlite3")
    assert done.code == 3
    assert "migrations (" in done.stderr
    assert "python manage.py migrate" in done.stderr


def test_a_database_that_refuses_is_told(platform: Platform) -> None:
    """A database where nobody answers must end the platform and its commands with that, and without the password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"postgresql://app:hidden@127.0.0.1:{free.getsockname()[1]}/platform"
    for done in (platform.start_and_end(DATABASE_URL=url), platform.manage("migrate", environ={"DATABASE_URL": url})):
        assert done.code != 0
        assert "the database cannot be used: " in done.stderr
        assert "Connection refused" in done.stderr
        assert "hidden" not in done.stderr
        assert "Traceback" not in done.stderr


def old_postgresql(connection: socket.socket, _: threading.Event) -> None:
    """Begin a session as PostgreSQL 13 does."""
    while True:
        head = connection.recv(8, socket.MSG_WAITALL)
        if len(head) < 8:
            return  # a client that looks again, otherwise
        length, code = struct.unpack("!II", head)
        connection.recv(length - 8, socket.MSG_WAITALL)
        if code == 3 << 16:
            break
        connection.sendall(b"N")  # neither TLS nor GSSAPI

    def said(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("!I", len(body) + 4) + body

    settings = {b"server_version": b"13.16", b"client_encoding": b"UTF8", b"standard_conforming_strings": b"on"}
    told = b"".join(said(b"S", key + b"\0" + value + b"\0") for key, value in settings.items())
    connection.sendall(said(b"R", bytes(4)) + told + said(b"K", bytes(8)) + said(b"Z", b"I"))
    connection.recv(1)


def test_a_database_that_is_too_old_is_told(platform: Platform) -> None:
    """A PostgreSQL before 14 must end the platform and its commands, with what was found and what is needed."""
    with raw_server(old_postgresql) as port:
        url = f"postgresql://app:hidden@127.0.0.1:{port}/platform"
        for done in (
            platform.start_and_end(DATABASE_URL=url),
            platform.manage("migrate", environ={"DATABASE_URL": url}),
        ):
            assert done.code != 0
            says = "the database is too old for this Django: PostgreSQL 14 or later is required (found 13.16)."
            assert says in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DATABASE_URL", "mysql://u:hidden@h/n", "DATABASE_URL has the scheme 'mysql'; postgresql://USER:PASSWORD@"),
        ("DATABASE_URL", "postgresql://u:hidden@h:x/n", "DATABASE_URL has the scheme 'postgresql'; postgresql://USER"),
        ("HARNESS_DEPLOYER_URL", "here", "HARNESS_DEPLOYER_URL is 'here', http://HOST:PORT was needed"),
        ("INVOKE_TIMEOUT", "soon", "INVOKE_TIMEOUT is 'soon', a number from 0 on was needed"),
        ("LISTEN", "8000", "LISTEN is '8000', HOST:PORT was needed"),
    ],
)
def test_a_wrong_variable_of_the_platform_is_named(platform: Platform, variable: str, value: str, says: str) -> None:
    """A variable that means nothing must end the platform with its name and what was needed, and no password."""
    done = platform.start_and_end(**{variable: value})
    assert (done.code, says in done.stderr) == (2, True), done.stderr
    assert "hidden" not in done.stderr
