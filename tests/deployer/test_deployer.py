"""A deployer makes copies of a template, as processes of the environment that it is of."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from checkout import TESTS
from deployers import Client, answers, place, platform, served, template
from projects import run_in

from harness import clock
from harness.errors import BrokenStack, ConfigError
from harness.helpers import http

if TYPE_CHECKING:
    from projects import Project

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def test_a_copy_is_made_used_and_removed(project: Project) -> None:
    """A copy must answer where it is said to be with what it was given, have a log, and be gone when it was removed."""
    template(project)
    platform(project)
    stack = project.run().bring("s")
    client = Client(stack)
    assert client.token_file.stat().st_mode & 0o777 == 0o600
    made = client.create("a-1", MODEL_FILE="é {x} $y")
    assert made.status == 201, made
    told = made.json()
    assert told["state"] == "running"
    answer = served(told["url"])
    assert answer["given"] == {"MODEL_FILE": "é {x} $y"}
    assert answer["seen"] == []
    assert client.ask("GET", "/instances").json() == {"instances": [told]}
    assert client.ask("GET", "/instances/a-1").json() == told
    assert client.ask("GET", "/instances/a-1/logs?tail=1").body == b"asked /\n"
    assert "asked /" in (stack.run_dir / "services" / "model@pynode-a-1.log").read_text()
    again = client.ask("POST", "/instances/a-1/restart")
    assert again.status == 200
    assert served(again.json()["url"])["pid"] != answer["pid"]
    assert client.ask("DELETE", "/instances/a-1").status == 204
    assert client.ask("GET", "/instances/a-1").status == 404
    assert not answers(told["url"])


def refused(answer: http.Answer, status: int) -> str:
    """Return why a request was refused, which must be with this status."""
    assert answer.status == status, answer
    return str(answer.json()["error"])


def test_what_cannot_be_is_refused_with_its_reason(project: Project) -> None:
    """Each wrong request must get its status and one sentence, and none of them make anything."""
    template(project)
    platform(project, most=1)
    stack = project.run().bring("s")
    client = Client(stack)
    assert "token" in refused(Client(stack, token="another").create("a"), 401)  # noqa: S106 - a wrong one
    body = {"template": "pynodes", "name": "a"}
    assert "did you mean 'pynode'?" in refused(client.ask("POST", "/instances", body), 404)
    told = refused(client.create("a", DOCKER_HOST="x"), 400)
    assert told == "environment: DOCKER_HOST is not given to 'pynode'; it takes: MODEL_FILE, MODEL_OPTIONS"
    for method, path in (("GET", ""), ("GET", "/logs"), ("POST", "/restart"), ("DELETE", "")):
        assert refused(client.ask(method, f"/instances/a{path}"), 404) == "there is no instance 'a'"
    assert refused(client.ask("POST", "/instances", "x" * 100_000), 413) == "the body has more than 65536 bytes"
    assert client.ask("GET", "/instances").json() == {"instances": []}
    assert client.create("a").status == 201
    assert refused(client.create("a"), 409) == "there is an instance 'a' already"
    assert refused(client.create("b"), 429) == "there are 1 instances of 'pynode', the most that there may be"
    assert client.ask("DELETE", "/instances/a").status == 204
    assert client.create("b").status == 201


def test_one_that_does_not_settle_is_told_with_its_log(project: Project) -> None:
    """A copy that fails on its way up must be 422 with its last lines, and leave nothing; its name is free again."""
    template(project)
    platform(project)
    client = Client(project.run().bring("s"))
    answer = client.create("a", MODEL_FILE="corrupt")
    told = refused(answer, 422)
    assert told.startswith("Service 'model' ended with exit code 1 before it was ready (")
    assert answer.json()["log"].splitlines() == ["loading", "model file is corrupt"]
    assert client.ask("GET", "/instances").json() == {"instances": []}
    assert client.create("a").status == 201


def test_one_that_ends_is_told(project: Project) -> None:
    """The state of a copy that has crashed must be exited with its code; its log stays, and it can be restarted.

    It breaks no test: only the stack's own services do.
    """
    template(project)
    platform(project)
    stack = project.run().bring("s")
    client = Client(stack)
    url = client.create("a").json()["url"]
    http.ask(*place(url), "/end")
    for _ in clock.poll(clock.Deadline.after(10)):
        if not answers(url):
            break
    told = client.ask("GET", "/instances/a").json()
    assert (told["state"], told["exit_code"]) == ("exited", 7)
    assert client.ask("GET", "/instances/a/logs").body.endswith(b"asked /end\n")
    stack.check()
    told = client.ask("POST", "/instances/a/restart").json()
    assert (told["state"], told["exit_code"]) == ("running", None)
    assert answers(told["url"])


def test_many_at_once(project: Project) -> None:
    """Requests at the same time must each get a copy of their own, and no more than there may be."""
    template(project)
    platform(project, most=5)
    client = Client(project.run().bring("s"))
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = list(pool.map(lambda number: client.create(f"m{number}"), range(8)))
        assert sorted(answer.status for answer in made) == [201] * 5 + [429] * 3
        urls = {answer.json()["url"] for answer in made if answer.status == 201}
        assert len(urls) == 5
        assert len({served(url)["pid"] for url in urls}) == 5
        names = [one["name"] for one in client.ask("GET", "/instances").json()["instances"]]
        gone = list(pool.map(lambda name: client.ask("DELETE", f"/instances/{name}").status, names))
    assert gone == [204] * 5
    assert not [url for url in urls if answers(url)]


def test_its_end_breaks_the_stack_and_takes_the_copies(project: Project) -> None:
    """Without its deployer a stack is broken, which names it, and no copy stays."""
    template(project)
    platform(project)
    run = project.run()
    stack = run.bring("s")
    assert run.environment is not None
    url = Client(stack).create("a").json()["url"]
    clock.remove_guard(run.environment.check)
    os.kill(stack.service("deployer").pid, signal.SIGKILL)
    for _ in clock.poll(clock.Deadline.after(10)):
        if not answers(url):
            break
    assert not answers(url)
    with pytest.raises(BrokenStack, match="'deployer' ended with signal 9"):
        stack.check()


@pytest.mark.parametrize("victim", ["keeper", "run"])
def test_nothing_stays_after_a_kill(project: Project, victim: str) -> None:
    """Killed at any moment, the keeper or the run must leave no copy; the fixture sees that no process is left."""
    template(project)
    platform(project)
    (project.root / "test_it.py").write_text(
        "import json, os, signal, sys\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from deployers import Client\n"
        "def test_it(stack):\n"
        "    client = Client(stack)\n"
        "    print(client.create('a').json()['url'])\n"
        "    keeper = stack._environment.link.facts['pid']\n"
        f"    os.kill(keeper if {victim!r} == 'keeper' else os.getpid(), signal.SIGKILL)\n"
        "    client.create('b')\n"
    )
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-s", "test_it.py")
    assert done.code in ((12, 13) if victim == "keeper" else (-9,)), done.stdout
    assert not project.wait_until_gone(15)
    if victim == "keeper":
        return
    assert run_in(project, *HARNESS, "gc").code == 0


def test_a_kept_environment_keeps_copies_until_it_goes_down(project: Project) -> None:
    """Copies must outlive the run that had them made where the stack does, be listed, and go with ``down``."""
    template(project)
    platform(project)
    assert run_in(project, *HARNESS, "up").code == 0
    try:
        stack = project.run().bring("s")
        url = Client(stack).create("a").json()["url"]
        served(url)
        project.runs[-1].close()
        assert answers(url)
        stack = project.run().bring("s")
        assert [one["name"] for one in Client(stack).ask("GET", "/instances").json()["instances"]] == ["a"]
        project.runs[-1].close()
        listed = run_in(project, *HARNESS, "ps")
        assert "pynode-a" in listed.stdout, listed.stderr
        logs = run_in(project, *HARNESS, "logs", "--service", "model")
        assert "asked /" in logs.stdout
    finally:
        done = run_in(project, *HARNESS, "down")
    assert done.code == 0, done.stderr
    assert "nothing is left" in done.stderr + done.stdout
    assert not answers(url)


def test_a_deployer_that_is_kept_is_nothing_that_a_command_left(project: Project) -> None:
    """After a command in which its stack came up, a deployer that is kept must go on as the other services do."""
    template(project)
    platform(project)
    (project.root / "test_it.py").write_text(
        "import harness\nsite = harness.stack_fixture('s')\ndef test_it(site): pass\n"
    )
    try:
        done = run_in(project, *HARNESS, "test", "--keep", "always", "--", "test_it.py")
        assert (done.code, "it was ended" in done.stderr) == (0, False), done.stdout + done.stderr
        states = {
            one["service"]: one["state"]
            for one in json.loads(run_in(project, *HARNESS, "ps", "--json").stdout)["services"]
        }
    finally:
        down = run_in(project, *HARNESS, "down")
    assert states == {"site": "running", "deployer": "running"}
    assert down.code == 0, down.stderr


@pytest.mark.parametrize(
    ("services", "told"),
    [
        (None, "template 'pynode': file {folder}/model.yaml does not exist"),
        ("{", "model.yaml"),
        ({"model": {}, "other": {}}, "model.yaml has 2 services (model, other); a template has one"),
        ({"other": {}}, "model.yaml has no service 'model'; it has: other"),
        ({"model": {"ports": ["8080:8080/udp"]}}, "service 'model' publishes no TCP port, so nobody could reach it"),
        ({"model": {"x-harness": {}}}, "has no x-harness.embedded, which this engine needs"),
    ],
)
def test_a_wrong_template_is_told_when_planned(project: Project, services: object, told: str) -> None:
    """What is wrong with a template's file must be told before anything is made, with exit code 10."""
    path = template(project)
    good = json.loads(path.read_text())["services"]["model"]
    if services is None:
        path.unlink()
    elif isinstance(services, dict):
        path.write_text(json.dumps({"services": {name: {**good, **table} for name, table in services.items()}}))
    else:
        path.write_text(str(services))
    platform(project)
    with pytest.raises(ConfigError) as caught:
        project.run().bring("s")
    assert told.format(folder=path.parent) in caught.value.summary + str(caught.value)
    assert not project.ledgers()


@pytest.mark.parametrize(
    ("deployer", "told"),
    [
        ({"tells": "sites"}, "tells 'sites', which is no service of this file; did you mean 'site'?"),
        ({"templates": {}}, "templates: Dictionary should have at least 1 item"),
        ({"templates": {"A": {"file": "model.yaml", "service": "model"}}}, "String should match pattern"),
        ({"templates": {"a": {"file": "model.yaml", "service": "model", "most": 0}}}, "most: Input should be greater"),
        ({"tell": "site"}, "key 'tell' is not known; did you mean 'tells'?"),
    ],
)
def test_a_wrong_deployer_is_told(project: Project, deployer: dict[str, Any], told: str) -> None:
    """What is wrong with a deployer's own words must be told with file and line."""
    template(project)
    platform(project, **deployer)
    with pytest.raises(ConfigError) as caught:
        project.run().bring("s")
    assert told in str(caught.value)


def test_a_service_of_its_name_is_refused(project: Project) -> None:
    """A service that is called deployer must be told of: that name is taken."""
    template(project)
    platform(project)
    path = project.root / "compose" / "s.yaml"
    path.write_text(path.read_text() + "  deployer:\n    image: x\n")
    with pytest.raises(ConfigError, match=r"service 'deployer' has the name of the one that x-harness\.deployer adds"):
        project.run().bring("s")


def test_a_failed_test_has_the_logs_of_copies(project: Project) -> None:
    """What a copy wrote while a test ran must be in the report of its failure, as that of any service is."""
    template(project)
    platform(project)
    (project.root / "test_it.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from deployers import Client, served\n"
        "def test_it(stack):\n"
        "    served(Client(stack).create('a').json()['url'], '/of-the-copy')\n"
        "    assert 0\n"
    )
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py")
    assert done.code == 1, done.stdout
    assert "asked /of-the-copy" in done.stdout
    token = next((project.latest / "services").glob("deployer.log")).read_text()
    assert "Bearer" not in token


def test_workers_share_a_deployer(project: Project) -> None:
    """Workers must have copies made by the one deployer of their stack, and nothing be left after them."""
    template(project)
    platform(project)
    for name in ("a", "b"):
        (project.root / f"test_{name}.py").write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(TESTS)!r})\n"
            "from deployers import Client, served\n"
            "def test_it(stack):\n"
            f"    made = Client(stack).create('{name}')\n"
            "    assert made.status == 201, made\n"
            "    assert served(made.json()['url'])\n"
        )
    done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "-n2", "test_a.py", "test_b.py")
    assert done.code == 0, done.stdout
    logs = {path.name for path in (project.latest / "services").glob("*.log")}
    assert logs == {"site.log", "deployer.log", "model@pynode-a.log", "model@pynode-b.log"}
