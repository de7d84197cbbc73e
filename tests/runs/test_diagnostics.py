"""What a failed test's report shows of the logs: its own part, without what nobody needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import Project, run_in

from harness.runs import evidence as diagnostics

if TYPE_CHECKING:
    from harness import procs

TASK = "from harness.invoke_tasks import main; main()"
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/work":
            print("\\x1b[31mworking\\x1b[0m", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
print("started", flush=True)
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""


def pytest_in(project: Project, tests: str) -> procs.Finished:
    """Run pytest on one file of tests, beside a server that logs each request."""
    (project.root / "server.py").write_text(SERVER)
    command = {"command": ["python", "../server.py", "{address}", "{port:8080}"]}
    harness = {"ready": [{"http": {"port": 8080, "path": "/"}}], "embedded": command}
    for name in ("s", "t"):
        project.stack(name, {"web": {"image": "x", "ports": ["8080:8080"], "x-harness": harness}})
    folder = project.root / "suite"
    folder.mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(
        "import harness, urllib.request, pytest\nweb = harness.stack_fixture('s', scope='session')\n"
        "other = harness.stack_fixture('t', scope='session')\n"
        "@pytest.fixture\ndef get(web):\n"
        "    return lambda path: urllib.request.urlopen(web.url('web', 8080, path), timeout=30).read()\n"
    )
    (folder / "test_it.py").write_text(tests)
    return run_in(project, "-m", "pytest", "-p", "no:cacheprovider", "suite")


BAD = "def test_bad(get):\n    get('/work')\n    get('/')\n    assert False\n"


def test_a_report_has_no_probes_of_ours_and_no_colours(project: Project) -> None:
    """The first failed test must show the requests of the test, not those of probes; its file has every byte."""
    done = pytest_in(project, BAD)
    assert done.code == 1, done.stdout
    shown = done.stdout.partition("Captured stdout service web")[2].partition("- harness -")[0]
    assert "started\n" in shown
    assert "working\n" in shown
    assert "[31m" not in shown
    assert shown.count('"GET /work HTTP/1.1"') == 1
    assert shown.count('"GET / HTTP/1.1"') == 1  # the test's own
    log = (project.latest / "services" / "web.log").read_bytes()
    assert log.startswith((project.latest / "failures" / "suite.test_it.py.test_bad" / "web.log").read_bytes())
    assert log.count(b'"GET / HTTP/1.1"') > 2
    assert b"\x1b[31mworking" in log


def test_a_report_on_a_kept_stack_begins_with_this_session(project: Project) -> None:
    """On a kept stack a report must have nothing of what earlier runs caused, nor of a stack that it does not use."""
    assert pytest_in(project, "def test_a(): pass\n").code == 0
    for name in ("s", "t"):
        up = run_in(project, "-c", TASK, "up", "--stack", name)
        assert up.code == 0, up.stderr
    earlier = "def test_earlier(get, other):\n    get('/earlier')\n"
    assert pytest_in(project, earlier).code == 0
    done = pytest_in(project, BAD)
    assert done.code == 1, done.stdout
    kept = (project.latest / "failures" / "suite.test_it.py.test_bad" / "web.log").read_text()
    assert "/earlier" not in kept
    assert "started" not in kept
    assert '"GET /work HTTP/1.1"' in kept
    shown = done.stdout.partition("Captured stdout service web")[2]
    assert "working" in shown
    assert "/earlier" not in shown
    assert "web@t" not in done.stdout
    assert run_in(project, "-c", TASK, "down").code == 0


@pytest.mark.parametrize(
    ("lines", "shows"),
    [
        (["a"] * 50, ["a", "... the last line came 49 more times"]),
        (["a", "b"] * 20 + ["c"], ["a", "b", "... the last 2 lines came 19 more times", "c"]),
        (["a", "a", "b"], ["a", "a", "b"]),
        (
            [f"12:00:{second} GET /" for second in range(10, 30)],
            ["12:00:10 GET /", "... the last line came 19 more times"],
        ),
        ([f"item {number}" for number in range(5)], [f"item {number}" for number in range(5)]),
        ([], []),
    ],
)
def test_a_block_that_is_repeated_stands_once(lines: list[str], shows: list[str]) -> None:
    """Blocks that follow themselves, but for their times, must be shown once with their number; others all."""
    assert diagnostics.shown("".join(f"{line}\n" for line in lines).encode()).splitlines() == shows


def test_much_of_little_takes_no_time() -> None:
    """Whatever is in a log, showing its end must be quick."""
    for data in (b"\n" * (1 << 20), b"ab\n" * (1 << 18), b"".join(b"%d\n" % (n % 59) for n in range(1 << 16))):
        assert len(diagnostics.shown(data).splitlines()) < 70


def test_only_requests_of_that_path_are_ours() -> None:
    """Lines of other requests, and of others for longer paths, must stay."""
    ours = diagnostics.request_for(["/", "/health"])
    for line in ('1.2.3.4 "GET / HTTP/1.1" 200', "GET /health 200", '{"m": "GET", "path": "/health"}'):
        assert ours.search(line), line
    for line in ('"GET /work HTTP/1.1"', '"POST / HTTP/1.1"', "GET /healthy", "started", "GET /work /"):
        assert not ours.search(line), line
