"""On an engine the copies of a template are containers, of an image that is built once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from deployers import Client, answers, platform, served

from harness import clock
from harness.runs import running

if TYPE_CHECKING:
    from containers import Dock


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
        seconds = []
        urls = {}
        for name in ("a", "b"):
            began = clock.now()
            made = client.create(name, MODEL_FILE="é {x} $y ${z}")
            seconds.append(clock.now() - began)
            assert made.status == 201, made
            urls[name] = made.json()["url"]
        print("seconds", seconds)
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
