"""A deployer makes copies of a template, as processes of the environment that it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployers import Client, answers, platform, served, template

if TYPE_CHECKING:
    from projects import Project


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
