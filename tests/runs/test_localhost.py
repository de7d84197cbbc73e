"""Ports on localhost, as the file says: there once on a machine, so who has them is told, and turns are taken."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from containers import ask
from projects import Project, run_in, web

from harness import clock
from harness.errors import ConfigError
from harness.keeper.addresses import Leases
from harness.runs import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from containers import Dock
    from fresh import Starter

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def free_port() -> int:
    """Return a port that nobody has on 127.0.0.1 at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    """The port that the stacks of a test publish."""
    return free_port()


def write(project: Project, port: int, name: str = "s") -> None:
    """Have a project publish ``port`` on localhost, by its only stack."""
    service = web()
    service["ports"] = [f"{port}:80"]
    text = json.dumps(service).replace("8080", str(port))
    project.stack(name, {"web": json.loads(text)})
    project.environ["HARNESS_ADDRESSES"] = "localhost"


@pytest.fixture
def other(tmp_path: Path, starter: Starter, project: Project) -> Iterator[Project]:
    """Another checkout of the same user, with the same state folder."""
    root = tmp_path / "other"
    root.mkdir()
    made = Project(root, project.state)
    made.starter = starter
    yield made
    for run in made.runs:
        run.close()


def test_ports_are_claimed_all_or_none() -> None:
    """Of several ports of which one is taken none may be claimed, and the process that has it must be told."""
    one, two, three = free_port(), free_port(), free_port()
    first, second = Leases("first"), Leases("second")
    try:
        assert first.fix("s", [two]).new == (two,)
        refused = second.fix("s", [one, two, three])
        assert (refused.new, refused.taken, refused.pid, refused.stack) == ((), two, os.getpid(), "")
        assert first.fix("t", [one]).new == (one,)
        refused = first.fix("t", [one, two])
        assert (refused.taken, refused.stack) == (two, "s")
        assert first.fix("s", [two]).new == ()  # which it has already
        first.fix("s", [])
        assert set(second.fix("s", [two, three]).new) == {two, three}
    finally:
        first.close()
        second.close()
    third = Leases("third")
    assert set(third.fix("s", [one, two, three]).new) == {one, two, three}
    third.close()


def test_a_number_that_is_given_out_is_not_given_twice() -> None:
    """A port that an environment has leased by name must be taken for one that a file fixes, and vice versa."""
    first, second = Leases("same"), Leases("same")
    try:
        leased = first.port("x")
        assert second.fix("s", [leased]).taken == leased
        assert second.fix("s", [leased + 1]).new == (leased + 1,)
        assert first.port("y") != leased + 1
    finally:
        first.close()
        second.close()


def test_a_process_listens_on_localhost(project: Project, port: int) -> None:
    """``{address}`` must be 127.0.0.1 and the port that of the file, and what listens there the service."""
    write(project, port)
    stack = project.run().bring("s")
    assert stack.endpoint("web", port) == f"127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    assert stack.service("web").env["HARNESS_HOST_WEB"] == "127.0.0.1"


def test_a_stranger_is_told_before_anything_starts(project: Project, port: int) -> None:
    """A port that somebody listens on must be exit code 10, with pid and command, whatever address that is."""
    write(project, port)
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - a stranger's
        with socket.create_server((address, port)):
            done = run_in(project, *HARNESS, "run", "--", "true")
        assert done.code == 10, done.stderr
        holder = f"Stack 's': port {port}/tcp of 'web' is held by pid {os.getpid()} ("
        assert done.stderr.splitlines()[-2].startswith(holder) or holder in done.stderr
        events = (project.latest / "events.jsonl").read_text()
        assert '"started"' not in events
    assert run_in(project, *HARNESS, "run", "--", "true").code == 0


def test_another_checkout_fails_at_once_and_is_told_whose_turn_it_is(
    project: Project, other: Project, port: int
) -> None:
    """Without a time to wait the second checkout must fail with the name of the first, and touch nothing of it."""
    write(project, port)
    write(other, port)
    stack = project.run().bring("s")
    pid = stack.service("web").pid
    with pytest.raises(ConfigError) as caught:
        other.run().bring("s")
    assert f"port {port} of 'web' is held by the environment of {project.root}" in caught.value.summary
    assert stack.service("web").pid == pid
    assert other.ledgers() != []  # an environment that was opened, and has started nothing
    other.runs[0].close()


def test_checkouts_take_turns(project: Project, other: Project, port: int) -> None:
    """With a time to wait the second checkout must come up when the first is gone, never beside it."""
    write(project, port)
    write(other, port)
    run = project.run()
    first = run.bring("s")
    assert run.environment is not None
    env, pid = run.environment.env, run.environment.link.facts["pid"]
    ended = clock.now()

    def end() -> None:
        nonlocal ended
        for _ in clock.poll(clock.Deadline.after(20)):
            if any("it is waited for" in line for line in other.said):
                break
        ended = clock.now()
        run.close()

    ending = threading.Thread(target=end)
    ending.start()
    second = other.run(wait_timeout="30s").bring("s")
    ending.join()
    assert second.endpoint("web", port) == f"127.0.0.1:{port}"
    assert first.service("web").state == "released"
    assert other.said[1] == (
        f"port {port} of 'web' is held by the environment of {project.root} ({env}, pid {pid}); "
        "it is waited for, 30 s at most"
    )


def test_turns_that_do_not_come_end(project: Project, other: Project, port: int) -> None:
    """A wait must end at its time, with 10 and who still has the port."""
    write(project, port)
    write(other, port)
    project.run().bring("s")
    began = clock.now()
    with pytest.raises(ConfigError, match=r"is held by the environment of .* for 1 s"):
        other.run(wait_timeout="1s").bring("s")
    assert 1 <= clock.now() - began < 10
    other.runs[0].close()


def test_two_stacks_of_an_environment_have_no_port_in_common(project: Project, port: int) -> None:
    """A port of a stack that is up must be refused to another stack beside it, and free once that is given back."""
    write(project, port)
    write(project, port, name="t")
    run = project.run()
    first = run.bring("s")
    with pytest.raises(ConfigError, match=f"Stack 't': port {port} of 'web' is held by stack 's' of this environment"):
        run.bring("t")
    first.release()
    assert run.bring("t").endpoint("web", port) == f"127.0.0.1:{port}"


def test_services_with_one_port_are_refused_when_planned(project: Project, port: int) -> None:
    """Two services of a file that publish one port must be told before there is an environment."""
    write(project, port)
    service = web()
    project.stack("s", {"web": service, "also": service})
    with pytest.raises(ConfigError, match="Port 8080/tcp is published by the services 'also' and 'web'"):
        project.run().bring("s")
    assert not project.ledgers()


def test_what_is_up_elsewhere_is_not_taken_for_localhost(project: Project, port: int) -> None:
    """A kept stack at an address of its own must be refused to tests that expect localhost, and started anew by up."""
    write(project, port)
    project.environ["HARNESS_ADDRESSES"] = "published"
    assert run_in(project, *HARNESS, "up").code == 0
    done = run_in(project, *HARNESS, "run", "--addresses", "localhost", "--", "true")
    assert done.code == 10
    assert "addresses = localhost is not how it runs" in done.stderr
    done = run_in(project, *HARNESS, "up", "--addresses", "localhost")
    assert done.stdout == f"web:{port} 127.0.0.1:{port}\n", done.stderr
    assert run_in(project, *HARNESS, "restart", "--service", "web").code == 0
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    assert run_in(project, *HARNESS, "down").code == 0


def test_settings_that_say_localhost_are_right(project: Project, port: int) -> None:
    """A suite with ``localhost:PORT`` in its settings must pass as it is, with workers too."""
    write(project, port)
    (project.root / "pyproject.toml").write_text('[tool.harness]\naddresses = "localhost"\nenv.X = "{port:web}"\n')
    del project.environ["HARNESS_ADDRESSES"]
    folder = project.root / "suite"
    folder.mkdir()
    test = f"import socket\ndef test_it(): socket.create_connection(('localhost', {port}), timeout=5).close()\n"
    (folder / "test_a.py").write_text(test)
    (folder / "test_b.py").write_text(test)
    for words in ((), ("-n2",)):
        done = run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite", *words)
        assert done.code == 0, done.stdout + done.stderr


def test_a_container_is_published_on_localhost(dock: Dock, port: int) -> None:
    """A container's port must be where the file says, taken for others while it is up, and free when it is gone."""
    dock.stack("s", {"web": dock.web(port=port)})
    dock.environ["HARNESS_ADDRESSES"] = "localhost"
    run, second = dock.run(), dock.run()
    with running(run):
        stack = run.bring("s")
        assert stack.endpoint("web", port) == f"127.0.0.1:{port}"
        binding = [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
        assert dock.container("web")["NetworkSettings"]["Ports"]["80/tcp"] == binding
        assert ask(stack, "web", port)["status"] == "green"
        with pytest.raises(ConfigError, match=f"port {port} of 'web' is held by the environment of"):
            second.bring("s")
    with running(dock.run()) as third:
        assert third.bring("s").endpoint("web", 80) == f"127.0.0.1:{port}"


def test_a_stranger_is_told_before_a_container_is_made(dock: Dock, port: int) -> None:
    """A port that somebody listens on must be refused with who that is, before there is a container."""
    dock.stack("s", {"web": dock.web(port=port)})
    dock.environ["HARNESS_ADDRESSES"] = "localhost"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match=f"held by pid {os.getpid()} "):
        dock.run().bring("s")
    assert dock.containers() == {}


def test_what_was_left_for_a_look_is_restarted_where_it_was(project: Project, port: int) -> None:
    """A service that did not settle must be started again on its port of localhost, and be ready there once it can."""
    script = project.root / "compose" / "server.py"
    script.write_text("raise SystemExit(3)\n")
    command = ["python", "server.py", "{address}", f"{{port:{port}}}"]
    table = web()
    table["ports"] = [f"{port}:80"]
    table["x-harness"] = {"embedded": {"command": command}, "ready": [{"http": {"port": port}}]}
    project.stack("s", {"web": table})
    project.environ["HARNESS_ADDRESSES"] = "localhost"
    assert run_in(project, *HARNESS, "up", "--keep-failed").code == 12
    try:
        script.write_text(
            "import http.server as h, sys\n"
            "h.HTTPServer((sys.argv[1], int(sys.argv[2])), h.SimpleHTTPRequestHandler).serve_forever()\n"
        )
        done = run_in(project, *HARNESS, "restart", "--service", "web", timeout=60)
        assert done.code == 0, done.stderr
    finally:
        assert run_in(project, *HARNESS, "down").code == 0
