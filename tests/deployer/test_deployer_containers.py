"""On an engine the copies of a template are containers, of an image that is built once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from checkout import TESTS
from deployers import Client, answers, platform, served
from projects import run_in

from harness.errors import ConfigError
from harness.runs import running

if TYPE_CHECKING:
    from containers import Dock

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def template(dock: Dock, **table: object) -> None:
    """Write the template ``model.yaml``, whose image is built."""
    folder = dock.root / "compose" / "image"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {dock.image}\nENV BUILT=yes\n")
    service = {
        "image": "model",
        "build": {"context": "./image"},
        "command": ["serve:0.0.0.0:80:0", "wait"],
        "ports": ["8080:80"],
        "environment": {"MODEL_FILE": "of the file"},
        "x-harness": {"ready": [{"http": {"port": 8080, "json": {"status": "green"}}}]},
        **table,
    }
    (dock.root / "compose" / "model.yaml").write_text(json.dumps({"services": {"model": service}}))


def test_copies_are_containers_of_one_image(dock: Dock) -> None:
    """Copies must be labelled containers that see what they were given and no engine, and be gone when removed."""
    template(dock)
    platform(dock)
    with running(dock.run()) as run:
        stack = run.bring("s")
        client = Client(stack)
        urls = {}
        for name in ("a", "b"):
            made = client.create(name, MODEL_FILE="é {x} $y ${z}")
            assert made.status == 201, made
            urls[name] = made.json()["url"]
        assert urls["a"] != urls["b"]
        assert set(dock.containers()) == {"model"}
        containers = [one for one in dock.objects() if one.kind == "container"]
        assert len(containers) == 2
        facts = [dock.client.inspect_container(one.id) for one in containers]
        assert len({one["Image"] for one in facts}) == 1
        for one in facts:
            env = one["Config"]["Env"]
            assert "MODEL_FILE=é {x} $y ${z}" in env
            assert "BUILT=yes" in env
            assert not [word for word in env if "DOCKER" in word or "TOKEN" in word]
            assert not [mount for mount in one["Mounts"] if "sock" in mount["Source"]]
        assert served(urls["a"])["status"] == "green"
        assert client.ask("POST", "/instances/a/restart").json()["state"] == "running"
        assert client.ask("GET", "/instances/a/logs").status == 200
        assert client.ask("DELETE", "/instances/a").status == 204
        assert not answers(urls["a"])
        assert len([one for one in dock.objects() if one.kind == "container"]) == 1
    assert dock.objects() == []


@pytest.mark.parametrize("victim", ["keeper", "deployer", "run"])
def test_nothing_stays_after_a_kill(dock: Dock, victim: str) -> None:
    """Whoever is killed, also while a copy is being made, no container may stay."""
    template(dock)
    platform(dock)
    (dock.root / "test_it.py").write_text(
        "import os, signal, sys, threading\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from deployers import Client\n"
        "from harness import clock\n"
        "def test_it(stack):\n"
        "    client = Client(stack)\n"
        "    assert client.create('a').status == 201\n"
        "    threading.Thread(target=client.create, args=('b',), daemon=True).start()\n"
        "    for _ in clock.poll(clock.Deadline.after(5)):\n"
        "        if len(client.ask('GET', '/instances').json()['instances']) == 2:\n"
        "            break\n"
        "    pids = {'keeper': stack._environment.link.facts['pid'], 'run': os.getpid()}\n"
        "    pids['deployer'] = stack.service('deployer').pid\n"
        f"    os.kill(pids[{victim!r}], signal.SIGKILL)\n"
        "    threading.Event().wait(3)\n"
        "    stack.check()\n"
    )
    done = run_in(dock, "-m", "pytest", "-p", "no:cacheprovider", "-s", "test_it.py")
    assert done.code == {"keeper": 12, "deployer": 12, "run": -9}[victim], done.stdout
    assert dock.wait_until_clear(20) == []


def test_copies_stay_until_down(dock: Dock) -> None:
    """On a kept environment copies must be there for the next run, be listed, and go with ``down``."""
    template(dock)
    platform(dock)
    assert run_in(dock, *HARNESS, "up").code == 0
    try:
        with running(dock.run()) as run:
            url = Client(run.bring("s")).create("a").json()["url"]
        with running(dock.run()) as run:
            stack = run.bring("s")
            assert served(url)["status"] == "green"
            assert [one["name"] for one in Client(stack).ask("GET", "/instances").json()["instances"]] == ["a"]
        assert "pynode-a" in run_in(dock, *HARNESS, "ps").stdout
    finally:
        done = run_in(dock, *HARNESS, "down")
    assert done.code == 0, done.stderr
    assert dock.objects() == []


def test_a_container_is_not_told_of_a_deployer(dock: Dock) -> None:
    """A deployer that is to tell a container must be refused when planned: no container reaches it."""
    template(dock)
    platform(dock)
    path = dock.root / "compose" / "s.yaml"
    tables = yaml.safe_load(path.read_text())
    tables["services"]["site"] = dock.web()
    path.write_text(yaml.safe_dump(tables))
    with pytest.raises(ConfigError, match=r"'site' .* is told of the deployer, which no container reaches"):
        dock.run().bring("s")
    assert not dock.ledgers()
