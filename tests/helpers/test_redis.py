"""Redis as a preset: started with its own options, asked, seeded and connected to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BrokenStack, ConfigError, HarnessError
from harness.helpers import postgres, redis
from harness.helpers.redis_plain import PlainRedis, Refusal, commands
from harness.runs import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import Project

    from harness import Stack


def write(project: Project, keys: str = "", **table: Any) -> None:
    """Write the stack ``s`` with a store ``cache``, and a file of commands as its seed."""
    (project.root / "compose" / "keys.redis").write_text(keys)
    cache = {"image": "redis", "ports": ["6379"], "x-harness": {"embedded": {"preset": "redis"}}, **table}
    top = {"x-harness": {"seed": [{"key": "keys", "redis": {"file": "keys.redis"}}]}} if keys else {}
    project.stack("s", {"cache": cache}, **top)


@pytest.fixture
def stack(project: Project) -> Iterator[Stack]:
    """A stack with a store that has a password and a few keys."""
    write(
        project, "# greetings\nSET greeting 'hello there'\nRPUSH list a b\n", command="redis-server --requirepass hush"
    )
    run = project.run()
    with running(run):
        yield run.bring("s")


def test_a_store_is_seeded_and_connected_to_by_stack_and_service(stack: Stack) -> None:
    """The password of its command must be asked for, and known to probe, seeds and helper."""
    with redis.connect(stack, "cache") as client:
        assert client.get("greeting") == "hello there"
        assert client.lrange("list", 0, -1) == ["a", "b"]
    assert redis.url(stack, "cache") == f"redis://:hush@{stack.endpoint('cache', 6379)}"
    host, _, port = stack.endpoint("cache", 6379).partition(":")
    with PlainRedis(host, int(port)) as plain, pytest.raises(Refusal) as caught:
        plain.ask("GET", "greeting")
    assert caught.value.code == "NOAUTH"


def test_another_kind_of_store_is_not_connected_to(stack: Stack) -> None:
    """A helper must say what the service is, instead of talking to it."""
    with pytest.raises(ConfigError, match="Service 'cache' is not known as postgres: it is redis"):
        postgres.connect(stack, "cache")


def test_a_command_that_is_refused_is_told_with_its_line(project: Project) -> None:
    """The error must have the seed, the file, the line, what was said, and the command."""
    write(project, "SET a b\nLPUSH a c\n")
    run = project.run()
    with pytest.raises(BrokenStack) as caught, running(run):
        run.bring("s")
    assert "Seed 'keys' in 'cache': keys.redis:2: WRONGTYPE" in str(caught.value)
    assert "in: LPUSH a c" in str(caught.value)


def test_commands_are_read_as_by_redis_cli() -> None:
    """Quotes hold words together, comments and empty lines are nothing, an open quote is told with its line."""
    assert commands("SET a 'b c'\n\n # no\nDEL \"x y\"") == [(1, ["SET", "a", "b c"]), (4, ["DEL", "x y"])]
    with pytest.raises(HarnessError, match="line 2: No closing quotation"):
        commands("PING\nSET a 'b")
