"""What users do wrong, one fault each, and what the first line of the error must say of it.

A fault is data: the files of a small project, a command in it, and a pattern for the first line. Each stands for a
mistake that somebody makes; the pattern names its true cause, not only what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EMBEDDED, COMPOSE = "embedded", "compose"
BOTH = (EMBEDDED, COMPOSE)
BROKER = Path(__file__).parent / "broker.py"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in a container
RUN = ("run", "--", "true")


@dataclass(frozen=True)
class Fault:
    """One mistake.

    Attributes:
        name: what is wrong.
        says: a pattern, found in the first line of the error, that names the true cause.
        services: of the stack ``s``.
        top: further keys at the top of its file.
        text: its file, where it is no YAML that a program would write.
        files: path -> content of further files; of pyproject.toml, what follows ``[tool.harness]``.
        argv: the words after ``harness``.
        environ: variables of that command; IMAGE in the files of a stack stands for an image with Python.
        engines: where the fault can be made.
        code: the exit code.
        place: what must be there around the command, by the name of a function in ``places``.
        instead: what the first line says where it does not name the true cause, and why it cannot.
    """

    name: str
    says: str
    services: dict[str, Any] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    files: dict[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = RUN
    environ: dict[str, str] = field(default_factory=dict)
    engines: tuple[str, ...] = (EMBEDDED,)
    code: int = 12
    place: str = ""
    instead: str = ""


def program(code: str, *, ports: bool = True, compose: dict[str, Any] | None = None, **harness: Any) -> dict[str, Any]:
    """Return a service that runs Python ``code`` with HOST and PORT, as a process and as a container, asked on 8080."""
    head = "import os, sys, time, signal\nHOST, PORT = sys.argv[1], int(sys.argv[2])\n"
    embedded = {"command": ["python", "-c", head + code, "{address}", "{port:8080}" if ports else "0"]}
    return {
        "image": "IMAGE",
        "entrypoint": ["python3", "-u", "-c", (head + code).replace("$", "$$")],
        "command": [EVERYWHERE, "8080"],
        **({"ports": ["8080:8080"]} if ports else {}),
        **(compose or {}),
        "x-harness": {"embedded": {**embedded, **harness.pop("embedded", {})}, **harness},
    }


def web(status: int = 200, body: str = '{"status": "red"}', path: str = "/", where: str = "(HOST, PORT)") -> str:
    """Return code that answers HTTP at ``path``, and 404 elsewhere."""
    return f"""
import http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status} if self.path == {path!r} else 404)
        self.end_headers()
        self.wfile.write({body.encode()!r})
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer({where}, H).serve_forever()
"""


def banner(data: bytes) -> str:
    """Return code that says ``data`` to whoever connects, and goes on to the next."""
    return f"""
import socket
server = socket.create_server((HOST, PORT))
while True:
    connection, _ = server.accept()
    connection.recv(100)
    connection.sendall({data!r})
    connection.close()
"""


def http(path: str = "/", **more: Any) -> list[dict[str, Any]]:
    """Return the probe that most faults are seen by."""
    return [{"http": {"port": 8080, "path": path, **more}}]


TCP = [{"tcp": 8080}]
SHORT = {"x-harness": {"timeouts": {"ready": "4s"}}}
WAIT = "time.sleep(60)"
SETTLED = {"s": program(web(), ready=http())}
GREEN = http(json={"status": "green"})


def logs(text: str, then: str = "sys.exit(1)") -> str:
    """Return code that writes ``text`` and then does something."""
    return f"print({text!r}, flush=True)\n{then}"


def unready(code: str, **more: Any) -> dict[str, Any]:
    """Return what makes a fault of a service that never gets ready."""
    return {"services": {"web": program(code, **more)}, "top": SHORT}


def dying(code: str, **more: Any) -> dict[str, Any]:
    """Return what makes a fault of a service that ends before it is ready."""
    return {"services": {"web": program(code, ready=TCP, **more)}, "engines": (EMBEDDED,)}


INI_READER = "import configparser, sys\nc = configparser.ConfigParser()\nc.read_string(open(sys.argv[1]).read())"
JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: Failed to load
\tat com.example.Main.main(Main.java:12)
Caused by: java.sql.SQLException: no schema 'shop'
\tat com.example.Db.open(Db.java:7)
\t... 1 more"""
NODE = """\
node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module '/app/server.js'
    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15)
    at node:internal/main/run_main_module:23:47 {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}

Node.js v18.19.0"""
GO = """\
panic: open /etc/app.toml: no such file or directory

goroutine 1 [running]:
main.main()
\t/src/main.go:9 +0x1d
exit status 2"""
RUST = """\
thread 'main' panicked at src/main.rs:4:36:
called `Option::unwrap()` on a `None` value
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"""
RUBY = """\
app.rb:3:in `fetch': key not found: "REDIS_URL" (KeyError)
\tfrom app.rb:3:in `<main>'"""
DOTNET = """\
Unhandled exception. System.InvalidOperationException: No connection string named 'Shop'
   at Program.Main() in /src/Program.cs:line 4"""
PYDANTIC = """\
Traceback (most recent call last):
  File "/app/main.py", line 3, in <module>
    settings = Settings()
pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings
database_url
  Field required [type=missing, input_value={}, input_type=dict]"""
RESOLVE = """
import socket
where = os.environ['DATABASE_URL'].split('@')[1].split(':')[0]
try: socket.getaddrinfo(where, 5432)
except socket.gaierror as error:
    print('connect to', where, 'failed:', error, flush=True)
"""
BD: dict[str, Any] = {"compose": {"environment": {"DATABASE_URL": "postgres://u:geheim@bd:5432/x"}}}
DB = program(WAIT, ports=False)
NAMED = r"DATABASE_URL names 'bd'; there is 'db'"

SERVICES = [
    # -- what listens, and how it answers
    Fault(
        "it listens on another port",
        r"nothing listens on 8080; it listens on \S+:8000\b",
        engines=BOTH,
        **unready(web(where="(HOST, 8000)"), ready=http()),
    ),
    Fault(
        "it listens on another port and is asked by tcp",
        r"nothing listens on 8080; it listens on \S+:8000\b",
        engines=BOTH,
        **unready(web(where="(HOST, 8000)"), ready=TCP),
    ),
    Fault(
        "it listens on loopback in its container",
        r"it listens on 127\.0\.0\.1:8080 only, .* outside its container",
        engines=(COMPOSE,),
        **unready(web(where="('127.0.0.1', PORT)"), ready=http()),
    ),
    Fault(
        "it listens on 127.0.0.1 and not on its address",
        r"it listens on 127\.0\.0\.1:8080 only, 127\.\S+:8080 was",
        **unready(web(where="('127.0.0.1', PORT)"), ready=http()),
    ),
    Fault(
        "it listens on two wrong ports",
        r"nothing listens on 8080; it listens on \S+:800[01], \S+:800[01]\b",
        **unready("import socket\na, b = (socket.create_server((HOST, n)) for n in (8000, 8001))\n" + WAIT, ready=TCP),
    ),
    Fault(
        "a child of it listens on another port",
        r"nothing listens on 8080; it listens on \S+:8000\b",
        **unready("if os.fork(): time.sleep(60)\nos.setsid()\n" + web(where="(HOST, 8000)"), ready=http()),
    ),
    Fault(
        "the two sides of ports are swapped",
        r"nothing listens on 8080; it listens on 0\.0\.0\.0:80 ",
        engines=(COMPOSE,),
        top=SHORT,
        services={
            "web": program(
                web(), ready=[{"http": {"port": 80}}], compose={"ports": ["80:8080"], "command": [EVERYWHERE, "80"]}
            )
        },
    ),
    Fault(
        "it never listens",
        r"127\.\S+:8080.*(refused|closed|reset|nothing listens).*; it listens on no port",
        engines=BOTH,
        **unready(WAIT, ready=http()),
    ),
    Fault(
        "it listens on udp",
        r"127\.\S+:8080.*refused; it listens on no port",
        **unready("import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind((HOST, PORT))\n" + WAIT, ready=TCP),
    ),
    Fault(
        "the path is wrong",
        r"/helth: status 404 every time \(wrong path\?\)",
        engines=BOTH,
        **unready(web(path="/health"), ready=http("/helth")),
    ),
    Fault("the status is wrong", r"/: status 202, 200 was needed", **unready(web(202), ready=http())),
    Fault(
        "it is never available",
        r"/: status 503, 200 was needed: '\{\"status\": \"red\"\}'",
        **unready(web(503), ready=http()),
    ),
    Fault("it wants a login", r"/: status 401 every time \(it wants a login\)", **unready(web(401), ready=http())),
    Fault("it refuses", r"/: status 403 every time \(it wants a login, or refuses", **unready(web(403), ready=http())),
    Fault("it answers with a redirect", r"/: status 302, 200 was needed", **unready(web(302), ready=http())),
    Fault(
        "it fails inside",
        r"/: status 500, 200 was needed: 'no table users'",
        **unready(web(500, "no table users"), ready=http()),
    ),
    Fault(
        "the JSON has another value",
        r"status is 'red', 'green' was needed",
        engines=BOTH,
        **unready(web(), ready=GREEN),
    ),
    Fault(
        "the JSON has no such key", r"no checks\.db in the answer", **unready(web(), ready=http(json={"checks.db": 1}))
    ),
    Fault("the answer is no JSON", r"/: the answer is no JSON: '<html>'", **unready(web(body="<html>"), ready=GREEN)),
    Fault(
        "it speaks TLS",
        r"127\.\S+:8080/: it speaks TLS, not plain HTTP",
        **unready(banner(b"\x15\x03\x01\x00\x02\x02\x0a"), ready=http()),
    ),
    Fault(
        "it speaks another protocol",
        r"127\.\S+:8080/: it does not speak HTTP: SSH-2\.0",
        **unready(banner(b"SSH-2.0-OpenSSH_9\r\n"), ready=http()),
    ),
    Fault(
        "it never answers",
        r"127\.\S+:8080/: no answer in 2 s",
        top={"x-harness": {"timeouts": {"ready": "3s"}}},
        services={"web": program("import socket\ns = socket.create_server((HOST, PORT))\n" + WAIT, ready=http())},
    ),
    Fault("it hangs up", r"127\.\S+:8080/: .*(closed|disconnected|reset)", **unready(banner(b""), ready=http())),
    # -- it ends
    Fault("it ends with 0", r"ended with exit code 0 before it was ready", **dying("pass")),
    Fault(
        "it ends with 1 and a word",
        r"ended with exit code 1 before it was ready: cannot read /etc/app.conf",
        **dying(logs("2026-01-02 03:04:05,678 cannot read /etc/app.conf")),
    ),
    Fault(
        "it ends with 3 after more words",
        r"exit code 3 before it was ready: ERROR no licence",
        **dying(logs("\x1b[31mERROR\x1b[0m no licence", "print('bye', flush=True)\nsys.exit(3)")),
    ),
    Fault(
        "it is killed",
        r"ended with signal 9 \(SIGKILL\) before it was ready",
        engines=BOTH,
        services={"web": program("os._exit(137) if HOST == '0.0.0.0' else os.kill(os.getpid(), 9)", ready=TCP)},
    ),
    Fault(
        "it crashes",
        r"ended with signal 11 \(SIGSEGV\) before it was ready",
        engines=BOTH,
        services={
            "web": program(
                "signal.signal(11, 0)\nos._exit(139) if HOST == '0.0.0.0' else os.kill(os.getpid(), 11)", ready=TCP
            )
        },
    ),
    Fault("it aborts", r"ended with signal 6 \(SIGABRT\) before it was ready", **dying("os.abort()")),
    Fault(
        "a shell starts what crashes",
        r"ended with exit code 139 \(SIGSEGV\) before it was ready",
        **dying("os._exit(139)"),
    ),
    Fault(
        "a shell does not find the program",
        r"exit code 127 before it was ready: sh: .*nosuch: not found",
        **dying("os.execv('/bin/sh', ['sh', '-c', 'nosuch --serve'])"),
    ),
    Fault(
        "a variable is missing",
        r"exit code 1 before it was ready: KeyError: 'DATABASE_URL'",
        engines=BOTH,
        services={"web": program("os.environ['DATABASE_URL']", ready=TCP)},
    ),
    Fault(
        "a module is missing",
        r"before it was ready: ModuleNotFoundError: No module named 'flsk'",
        **dying("import flsk"),
    ),
    Fault(
        "a name of a module is misspelt on the command line",
        r"before it was ready: .*No module named flsk",
        services={"web": program("", ready=TCP, embedded={"command": ["python", "-m", "flsk"]})},
    ),
    Fault(
        "the program is not there",
        r"before it was ready: .*can't open file '.*srv\.py'",
        services={"web": program("", ready=TCP, embedded={"command": ["python", "srv.py"]})},
    ),
    Fault("the program has a syntax error", r"before it was ready: SyntaxError: .*", **dying("def x(:\n  pass")),
    Fault(
        "an error has another as its cause",
        r"before it was ready: RuntimeError: no cache: start redis",
        **dying("try: {}['a']\nexcept KeyError as e: raise RuntimeError('no cache: start redis') from e"),
    ),
    Fault(
        "errors come in a group",
        r"before it was ready: ConnectionError: db away; ValueError: bad port",
        **dying(
            "def f():\n  raise ConnectionError('db away')\ntry: f()\nexcept Exception as e:\n"
            "  raise ExceptionGroup('unhandled errors in a TaskGroup', [e, ValueError('bad port')])"
        ),
    ),
    Fault(
        "an error that did no harm came long before",
        r"before it was ready: ERROR licence expired",
        **dying(
            "import traceback\ntry: {}['optional']\nexcept KeyError: traceback.print_exc()\n"
            "for i in range(30): print('step', i, file=sys.stderr)\n"
            "sys.exit('ERROR licence expired')"
        ),
    ),
    Fault(
        "the error is the beginning of a line of 1 MB",
        r"before it was ready: ERROR: bad token",
        **dying("print('ERROR: bad token ' + 'x' * (1 << 20), flush=True)\nsys.exit(1)"),
    ),
    Fault(
        "a line of 1 MB comes after the error",
        r"before it was ready: ERROR: no licence",
        **dying("print('ERROR: no licence', flush=True)\nprint('y' * (1 << 20), flush=True)\nsys.exit(1)"),
    ),
    Fault(
        "the error is drawn over a bar of progress",
        r"before it was ready: FATAL: disk is full",
        **dying(logs("progress 1%\rprogress 2%\rFATAL: disk is full")),
    ),
    Fault(
        "the log is JSON",
        r"before it was ready: error: no route to db: timeout",
        **dying(logs('{"level":"error","ts":1,"msg":"no route to db","err":"timeout"}\n{"level":"info","msg":"bye"}')),
    ),
    Fault(
        "the log is made of fields",
        r"before it was ready: error: cannot open store",
        **dying(logs('time=2026-01-01T00:00:00Z level=error msg="cannot open store" path=/data')),
    ),
    Fault(
        "Go panics again",
        r"ready: panic: no DSN",
        **dying(logs("panic: a [recovered]\n\tpanic: no DSN\n\ngoroutine 1")),
    ),
    Fault(
        "Rust panics and shows its frames",
        r"before it was ready: panic: no database url",
        **dying(
            logs(
                "thread 'main' (12) panicked at src/db.rs:9:1:\nno database url\nstack backtrace:\n"
                "   0: rust_begin_unwind\n             at /rustc/abc/library/std/src/panicking.rs:5:3",
                "sys.exit(101)",
            )
        ),
    ),
    Fault(
        "Perl misses a module",
        r"before it was ready: Can't locate DBI\.pm",
        **dying(logs("Can't locate DBI.pm in @INC at x.pl line 3.\nBEGIN failed--compilation aborted at x.pl line 3.")),
    ),
    Fault(
        "a library has its own errors",
        r"ready: ValidationError: database_url Field required",
        **dying(logs(PYDANTIC)),
    ),
    Fault("Java says the root of it", r"before it was ready: SQLException: no schema 'shop'", **dying(logs(JAVA))),
    Fault(
        "Node misses a module", r"before it was ready: Error: Cannot find module '/app/server\.js'", **dying(logs(NODE))
    ),
    Fault(
        "Go panics", r"before it was ready: panic: open /etc/app\.toml: no such file", **dying(logs(GO, "sys.exit(2)"))
    ),
    Fault(
        "Rust panics", r"before it was ready: panic: called `Option::unwrap\(\)`", **dying(logs(RUST, "sys.exit(101)"))
    ),
    Fault("Ruby misses a key", r"before it was ready: KeyError: key not found: \"REDIS_URL\"", **dying(logs(RUBY))),
    Fault(
        ".NET misses a setting",
        r"ready: InvalidOperationException: No connection string",
        **dying(logs(DOTNET, "sys.exit(134)")),
    ),
    Fault(
        "a library of the system is missing",
        r"before it was ready: .*loading shared libraries: libpq\.so\.5",
        **dying(
            logs(
                "./app: error while loading shared libraries: libpq.so.5: cannot open shared object file: "
                "No such file or directory",
                "sys.exit(127)",
            )
        ),
    ),
    Fault(
        "its ini has no section",
        r"before it was ready: MissingSectionHeaderError: .*no section headers",
        files={"compose/app.ini": "port = 1\n"},
        services={
            "web": program(
                "import configparser\nc = configparser.ConfigParser()\nc.read_string(open(sys.argv[3]).read())",
                ready=TCP,
                compose={"volumes": ["./app.ini:/etc/app.ini"]},
                embedded={
                    "command": [
                        "python",
                        "-c",
                        INI_READER,
                        "{mount:/etc/app.ini}",
                    ]
                },
            )
        },
    ),
    Fault(
        "it binds a port that its own child has",
        r"before it was ready: OSError: .*Address already in use",
        **dying("import socket\na = socket.create_server((HOST, 9000))\nb = socket.create_server((HOST, 9000))"),
    ),
    Fault(
        "its option is not known",
        r"before it was ready: .*unrecognized arguments: --prot",
        **dying("import argparse\np = argparse.ArgumentParser()\np.add_argument('--port')\np.parse_args(['--prot'])"),
    ),
    Fault(
        "it may not write",
        r"before it was ready: PermissionError: .*Permission denied: '/data'",
        **dying("raise PermissionError(13, 'Permission denied', '/data')"),
    ),
    Fault("it has too little memory of its own", r"before it was ready: MemoryError", **dying("raise MemoryError")),
    Fault(
        "it is out of memory",
        r"OOMKilled: out of memory, limit 24 MiB",
        engines=(COMPOSE,),
        services={
            "web": program(
                "x = [bytes(1 << 20) + b'x' * (1 << 20) for _ in range(100)]",
                ready=TCP,
                compose={"mem_limit": "24m", "memswap_limit": "24m"},
            )
        },
    ),
    # -- others that it needs
    Fault(
        "a name in a variable is misspelt, and it ends",
        rf"ended with exit code 1 before it was ready: {NAMED}",
        engines=BOTH,
        services={"db": DB, "web": program(RESOLVE + "sys.exit(1)", ready=TCP, **BD)},
    ),
    Fault(
        "a name in a variable is misspelt, and it tries on",
        rf"did not settle .*{NAMED}",
        engines=BOTH,
        top=SHORT,
        services={"db": DB, "web": program(RESOLVE + WAIT, ready=TCP, **BD)},
    ),
    Fault(
        "a name in a variable is misspelt, and it says nothing",
        rf"did not settle .*{NAMED}",
        top=SHORT,
        services={"db": DB, "web": program(WAIT, ready=TCP, **BD)},
    ),
    Fault(
        "a host's name is misspelt",
        r"CACHE_HOST names 'rediss'; there is 'redis'",
        top=SHORT,
        services={"redis": DB, "web": program(WAIT, ready=TCP, compose={"environment": {"CACHE_HOST": "rediss"}})},
    ),
    Fault(
        "one of several brokers is misspelt",
        r"BROKERS names 'kafak'; there is 'kafka'",
        top=SHORT,
        services={"kafka": DB, "web": program(WAIT, ready=TCP, compose={"environment": {"BROKERS": "kafka,kafak"}})},
    ),
    Fault(
        "a host in a DSN of libpq is misspelt",
        r"DSN names 'bd'; there is 'db'",
        top=SHORT,
        services={"db": DB, "web": program(WAIT, ready=TCP, compose={"environment": {"DSN": "host=bd port=5432"}})},
    ),
    Fault(
        "a name on the command line is misspelt",
        r"its command names 'kafak'; there is 'kafka'",
        top=SHORT,
        services={
            "kafka": DB,
            "web": program(
                WAIT,
                ready=TCP,
                embedded={"command": ["python", "-c", "import time; time.sleep(60)", "--broker=kafak:9092"]},
            ),
        },
    ),
    Fault(
        "a host is nobody's",
        r"SEARCH_URL names 'elasticsearch', which is no service; there are: db",
        top=SHORT,
        services={
            "db": DB,
            "web": program(
                logs("dial tcp: lookup elasticsearch on 127.0.0.11:53: no such host", WAIT),
                ready=TCP,
                compose={"environment": {"SEARCH_URL": "http://elasticsearch:9200"}},
            ),
        },
    ),
    Fault(
        "the password is wrong, and it ends",
        r'ready: FATAL: +password authentication failed for user "app"',
        **dying(logs('FATAL:  password authentication failed for user "app"')),
    ),
    Fault(
        "the password is wrong, and it tries on",
        r"did not settle .*password authentication failed for user",
        **unready(logs('FATAL:  password authentication failed for user "app"', WAIT), ready=TCP),
    ),
    Fault(
        "its database refuses, and it tries on",
        r"did not settle .*ConnectionRefusedError: .*10\.0\.0\.9",
        **unready(logs("ConnectionRefusedError: [Errno 111] Connect call failed ('10.0.0.9', 5432)", WAIT), ready=TCP),
    ),
    Fault(
        "what it depends on dies",
        r"Service 'db' ended with exit code 3 before it was ready: no space left",
        engines=BOTH,
        services={
            "db": program(
                logs("no space left on device: error", "sys.exit(3)"),
                ready=[{"log": "^up"}],
                ports=False,
                compose={"healthcheck": {"test": "true"}},
            ),
            "web": program(WAIT, ready=TCP, compose={"depends_on": {"db": {"condition": "service_healthy"}}}),
        },
    ),
    Fault(
        "a one-shot fails",
        r"Service 'setup' ended with exit code 4 and should have .*: ERROR: relation \"x\" exists",
        engines=BOTH,
        services={
            "setup": program(logs('ERROR: relation "x" exists', "sys.exit(4)"), ports=False, role="oneshot"),
            "web": DB,
        },
    ),
    Fault(
        "a one-shot does not end",
        r"One-shot service 'setup' did not end in .*: it wrote last 'waiting for db'",
        top=SHORT,
        services={"setup": program(logs("waiting for db", WAIT), ports=False, role="oneshot")},
    ),
    # -- it cannot be started
    Fault(
        "the program is not in its image",
        r"Service 'web' could not be started: there is no program '/srv/app' in its",
        engines=(COMPOSE,),
        services={"web": {"image": "IMAGE", "entrypoint": ["/srv/app"], "x-harness": {}}},
    ),
    Fault(
        "the program is not on this machine",
        r"executable 'no-such-tool' was not found in PATH",
        code=10,
        services={"web": program("", embedded={"command": ["no-such-tool"]})},
    ),
    Fault(
        "the program cannot be executed",
        r"compose/app\.sh is not executable",
        code=10,
        files={"compose/app.sh": "#!/bin/sh\nsleep 60\n"},
        services={"web": program("", embedded={"command": ["./app.sh"]})},
    ),
    Fault(
        "the program in its image cannot be executed",
        r"'/etc/passwd' in its image cannot be executed \(permission",
        engines=(COMPOSE,),
        services={"web": {"image": "IMAGE", "entrypoint": ["/etc/passwd"], "x-harness": {}}},
    ),
    Fault(
        "the program has no first line",
        r"exec format error",
        engines=BOTH,
        files={"compose/app": "sleep 60\n"},
        place="executable",
        services={
            "web": {
                "image": "IMAGE",
                "entrypoint": ["/app"],
                "volumes": ["./app:/app"],
                "x-harness": {"ready": [{"log": "up"}], "embedded": {"command": ["./app"]}},
            }
        },
    ),
    Fault(
        "its folder is not there",
        r"cwd .*nowhere is no folder",
        code=10,
        services={"web": program("", embedded={"cwd": "nowhere"})},
    ),
    Fault(
        "a mounted file is not there",
        r"mounted file compose/app\.ini does not exist",
        code=10,
        services={"web": program(WAIT, compose={"volumes": ["./app.ini:/etc/app.ini"]})},
    ),
    Fault(
        "a port is held by a stranger",
        r"'web'.*: port \d+/tcp is held on every address by pid \d+ ",
        code=10,
        place="stranger",
        engines=BOTH,
        services={
            "web": program(
                WAIT,
                fixed=True,
                ready=[{"tcp": 18080}],
                compose={"ports": ["18080:8080"]},
                embedded={"command": ["sleep", "60"]},
            )
        },
    ),
    Fault(
        "its user is not in its image",
        r"unable to find user nobody-here",
        engines=(COMPOSE,),
        services={"web": {"image": "IMAGE", "user": "nobody-here", "x-harness": {}}},
    ),
    Fault(
        "a folder is mounted on a file",
        r"compose/conf is mounted on /etc/passwd: one is a file, the other a folder",
        engines=(COMPOSE,),
        files={"compose/conf/x": ""},
        services={"web": {"image": "IMAGE", "volumes": ["./conf:/etc/passwd"], "x-harness": {}}},
    ),
    # -- healthchecks and other probes
    Fault(
        "the healthcheck's program is missing",
        r"its healthcheck cannot be run: there is no 'curl'",
        engines=BOTH,
        top=SHORT,
        services={
            "web": program(
                WAIT,
                ports=False,
                compose={"healthcheck": {"test": ["CMD", "curl", "-f", "x"], "interval": "200ms", "retries": 1}},
                embedded={
                    "environment": {"PATH": "/nonexistent"},
                    "healthcheck": {"test": ["CMD", "curl", "-f", "x"]},
                    "command": ["/bin/sleep", "60"],
                },
            )
        },
    ),
    Fault(
        "the healthcheck fails",
        r"its healthcheck fails with exit code 1: db is not there",
        engines=BOTH,
        top=SHORT,
        services={
            "web": program(
                WAIT,
                ports=False,
                compose={"healthcheck": {"test": "echo db is not there; exit 1", "interval": "200ms", "retries": 1}},
                embedded={"healthcheck": {"test": "echo db is not there; exit 1"}},
            )
        },
    ),
    Fault(
        "the healthcheck does not end",
        r"its healthcheck does not end in its time",
        engines=(COMPOSE,),
        top={"x-harness": {"timeouts": {"ready": "10s"}}},  # a busy engine says it late
        services={
            "web": program(
                WAIT,
                ports=False,
                compose={"healthcheck": {"test": "sleep 60", "interval": "200ms", "timeout": "300ms", "retries": 1}},
            )
        },
    ),
    Fault(
        "the healthcheck fails, and the engine would ask it once in 30 s",
        r"its healthcheck fails with exit code 1: db is not there",
        engines=(COMPOSE,),
        top=SHORT,
        services={
            "web": program(
                WAIT,
                ports=False,
                compose={"healthcheck": {"test": "echo db is not there; exit 1", "interval": "30s"}},
            )
        },
    ),
    Fault(
        "no line matches",
        r"no line matches 'listenning' yet; its last line is 'listening on 80'",
        **unready(logs("listening on 80", WAIT), ready=[{"log": "listenning"}]),
    ),
    Fault(
        "it logs nothing",
        r"no line matches 'ready' yet: it wrote nothing",
        engines=BOTH,
        **unready(WAIT, ready=[{"log": "ready"}]),
    ),
    Fault(
        "it logs an error instead",
        r"no line matches 'ready' yet: ERROR: cannot load plugin 'x'",
        **unready(logs("ERROR: cannot load plugin 'x'", WAIT), ready=[{"log": "ready"}]),
    ),
    Fault(
        "the command of a probe fails",
        r"ls: exit code 2: .*'?/no/such/thing'?: No such file",
        engines=BOTH,
        **unready(WAIT, ready=[{"exec": ["ls", "/no/such/thing"]}]),
    ),
    Fault(
        "the command of a probe is missing",
        r"its probe cannot be run: there is no 'pg_isreddy'",
        engines=BOTH,
        **unready(WAIT, ready=[{"exec": ["pg_isreddy"]}]),
    ),
    Fault(
        "the file of a probe does not come",
        r"/run/app\.ready does not exist",
        engines=BOTH,
        **unready(WAIT, ready=[{"file": "/run/app.ready"}]),
    ),
    Fault(
        "the function of a probe says no",
        r"checks:ready returned False",
        files={"checks.py": "def ready(t): return False\n"},
        environ={"PYTHONPATH": "."},
        **unready(WAIT, ready=[{"python": "checks:ready"}]),
    ),
    Fault(
        "the module of a probe is missing",
        r"Probe python chekcs:ready of service 'web' .*No module named 'chekcs'",
        **unready(WAIT, ready=[{"python": "chekcs:ready"}]),
    ),
    Fault(
        "the function of a probe is missing",
        r"Probe python checks:raedy .*has no attribute 'raedy'",
        files={"checks.py": "def ready(t): return False\n"},
        environ={"PYTHONPATH": "."},
        **unready(WAIT, ready=[{"python": "checks:raedy"}]),
    ),
    Fault(
        "the function of a probe raises",
        r"checks:ready raised ValueError: no such index",
        files={"checks.py": "def ready(t): raise ValueError('no such index')\n"},
        environ={"PYTHONPATH": "."},
        **unready(WAIT, ready=[{"python": "checks:ready"}]),
    ),
]


def kafka(advertised: str, *topics: str, ready: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a broker that advertises an address, with topics as ``name=leader``."""
    return {
        "services": {
            "kafka": {
                "image": "IMAGE",
                "ports": ["9092:9092"],
                "x-harness": {
                    "ready": [{"kafka": ready or {}}],
                    "embedded": {"command": ["python", str(BROKER), "{address}", "{port:9092}", advertised, *topics]},
                },
            }
        },
        "top": {"x-harness": {"timeouts": {"ready": "12s"}}},  # a busy machine answers late
    }


BROKERS = [
    Fault(
        "the broker advertises localhost",
        r"the broker advertises localhost:19092 \(Connection refused\)",
        **kafka("localhost:19092"),
    ),
    Fault(
        "the broker advertises its name",
        r"the broker advertises broker-1:29092 \(no such host here\)",
        **kafka("broker-1:29092"),
    ),
    Fault(
        "a topic is missing",
        r"topic 'evnts' does not exist",
        **kafka("{address}:9092", "events=1", ready={"topics": {"evnts": 1}}),
    ),
    Fault(
        "a topic has no leader",
        r"topic 'events' has no leader for partition 0",
        **kafka("{address}:9092", "events=-1", ready={"topics": {"events": 1}}),
    ),
    Fault(
        "a topic has too few partitions",
        r"topic 'events' has 1 of 3 partitions",
        **kafka("{address}:9092", "events=1", ready={"topics": {"events": 3}}),
    ),
    Fault("the broker has no coordinator", r"no group coordinator answers", **kafka("{address}:9092")),
    Fault(
        "no broker is there",
        r"broker 127\.\S+:9092: Connection refused; it listens on no port",
        top=SHORT,
        services={
            "kafka": program(
                WAIT, ready=[{"kafka": {}}], compose={"ports": ["9092:9092"]}, embedded={"command": ["sleep", "60"]}
            )
        },
    ),
    Fault(
        "what is asked is no broker",
        r"broker 127\.\S+:9092: it accepted and does not answer as a broker",
        top=SHORT,
        services={
            "kafka": program(
                "",
                ready=[{"kafka": {}}],
                compose={"ports": ["9092:9092"]},
                embedded={
                    "command": [
                        "python",
                        "-c",
                        "import sys\nHOST, PORT = sys.argv[1], int(sys.argv[2])\n" + web(),
                        "{address}",
                        "{port:9092}",
                    ]
                },
            )
        },
    ),
]

SEEDED = program(
    "import http.server\nclass H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self): self.answer(200)\n"
    "    def do_POST(self): self.answer(500)\n"
    "    def answer(self, status):\n"
    "        self.send_response(status)\n        self.end_headers()\n        self.wfile.write(b'no index')\n"
    "http.server.ThreadingHTTPServer((HOST, PORT), H).serve_forever()",
    ready=http(),
)


def seeding(seed: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what makes a fault of a seed."""
    return {"services": {"web": SEEDED}, "top": {"x-harness": {"seed": [{"key": "data", **seed}]}}, **more}


SEEDS = [
    Fault(
        "a seed is refused",
        r"Seed 'data': POST /fill was answered with status 500, 'no index'",
        **seeding({"http": {"service": "web", "port": 8080, "path": "/fill"}}),
    ),
    Fault(
        "the command of a seed fails",
        r"Seed 'data' in 'web': exit code 2: .*/no/such/thing",
        engines=BOTH,
        **seeding({"exec": {"service": "web", "command": ["ls", "/no/such/thing"]}}),
    ),
    Fault(
        "the command of a seed is missing",
        r"Seed 'data' .*(there is no program 'psqll'|'psqll' cannot be run in service 'web': No such file)",
        engines=BOTH,
        **seeding({"exec": {"service": "web", "command": ["psqll", "-c", "x"]}}),
    ),
    Fault(
        "the function of a seed raises",
        r"Seed 'data': python fill:all_of_it raised ValueError: bad row 3",
        **seeding(
            {"python": "fill:all_of_it"},
            files={"fill.py": "def all_of_it(s): raise ValueError('bad row 3')\n"},
            environ={"PYTHONPATH": "."},
        ),
    ),
    Fault(
        "the module of a seed is missing",
        r"Seed 'data': python fil:all raised .*No module named 'fil'",
        **seeding({"python": "fil:all"}),
    ),
    Fault(
        "the service of a seed is misspelt",
        r"service 'wbe' does not exist; did you mean 'web'\?",
        code=10,
        **seeding({"exec": {"service": "wbe", "command": ["true"]}}),
    ),
    Fault(
        "the port of a seed is another",
        r"service 'web' has no port 9999; it has: 8080",
        code=10,
        **seeding({"http": {"service": "web", "port": 9999}}),
    ),
    Fault(
        "the file of a seed is missing",
        r"file compose/data\.json does not exist",
        code=10,
        **seeding({"http": {"service": "web", "port": 8080, "file": "data.json"}}),
    ),
    Fault(
        "a seed needs a broker and there is none",
        r"no broker is named and no service publishes port 9092",
        code=10,
        **seeding({"topics": {"events": 1}}),
    ),
    Fault(
        "a seed is of two kinds",
        r"a seed has http, python; exactly one is needed",
        code=10,
        **seeding({"http": {"service": "web", "port": 8080}, "python": "a:b"}),
    ),
]

IMAGES = [
    Fault(
        "the image is nowhere",
        r"image 'harness\.invalid/nope:1' is not on the engine and could not be pulled",
        engines=(COMPOSE,),
        services={"web": {"image": "harness.invalid/nope:1", "x-harness": {}}},
    ),
    Fault(
        "the image is not here and pulling is off",
        r"image 'nope:1' is not on the engine, and pulling is switched off",
        engines=(COMPOSE,),
        argv=("run", "--pull", "never", "--", "true"),
        code=12,
        services={"web": {"image": "nope:1", "x-harness": {}}},
    ),
    Fault(
        "the name of the image is none",
        r"Image 'No/Pe:1' was refused .*repository name must be",
        engines=(COMPOSE,),
        services={"web": {"image": "No/Pe:1", "x-harness": {}}},
    ),
    Fault(
        "a command of the build fails",
        r"image of service 'web' could not be built: \S*Dockerfile:2: .*no such package: nosuch",
        engines=(COMPOSE,),
        files={"compose/Dockerfile": "FROM IMAGE\nRUN echo ERROR: no such package: nosuch && exit 7\n"},
        services={"web": {"build": ".", "x-harness": {}}},
    ),
    Fault(
        "the Dockerfile has an unknown word",
        r"could not be built: \S*Dockerfile:2: unknown instruction 'RUNN'; did you mean 'RUN'\?",
        engines=(COMPOSE,),
        code=10,
        files={"compose/Dockerfile": "FROM IMAGE\nRUNN true\n"},
        services={"web": {"build": ".", "x-harness": {}}},
    ),
    Fault(
        "the build copies what is not there",
        r"could not be built: \S*Dockerfile:2: /?nosuch\.ini is not in the build context",
        engines=(COMPOSE,),
        files={"compose/Dockerfile": "FROM IMAGE\nCOPY nosuch.ini /\n"},
        services={"web": {"build": ".", "x-harness": {}}},
    ),
    Fault(
        "the build stands on no image",
        r"could not be built: \S*Dockerfile:1: base image 'harness\.invalid/base:1' cannot be had",
        engines=(COMPOSE,),
        files={"compose/Dockerfile": "FROM harness.invalid/base:1\n"},
        services={"web": {"build": ".", "x-harness": {}}},
    ),
    Fault(
        "the folder of the build is missing",
        r"build context compose/subject does not exist",
        engines=(COMPOSE,),
        code=10,
        services={"web": {"build": "./subject", "x-harness": {}}},
    ),
    Fault(
        "there is no Dockerfile",
        r"its Dockerfile compose/subject/Dockerfile does not exist",
        engines=(COMPOSE,),
        code=10,
        files={"compose/subject/x": ""},
        services={"web": {"build": "./subject", "x-harness": {}}},
    ),
]

WEB = "services:\n  web:\n    image: x\n"
X = "    x-harness:\n"


def wrong(name: str, says: str, text: str, **more: Any) -> Fault:
    """Return a fault of a stack file that is refused before anything is created."""
    return Fault(name, says, text=text, argv=("run", "--stack", "s", "--", "true"), code=10, **more)


FILES = [
    Fault(
        "a line of .env is none",
        r"^compose/\.env:2: key cannot contain a space",
        services=SETTLED,
        files={"compose/.env": "A=1\nNOT A LINE\n"},
        code=10,
    ),
    Fault(
        "a line of an env file is none",
        r"^compose/web\.env:2: key cannot contain a space",
        services={"web": program(web(), ready=http(), compose={"env_file": "web.env"})},
        files={"compose/web.env": "A=1\nNOT A LINE\n"},
        code=10,
    ),
    wrong("a tab", r"s\.yaml:3: is no YAML: .*character", "services:\n  web:\n\timage: x\n"),
    wrong("an indentation", r"s\.yaml:4: is no YAML", "services:\n  web:\n    image: x\n   ports: []\n"),
    wrong("a quote is not closed", r"s\.yaml:\d: is no YAML: .*quoted scalar", WEB + '    command: "a\n'),
    wrong("a key is there twice", r"s\.yaml:4: .*(already defined|duplicate)", WEB + "    image: y\n"),
    wrong("services are a list", r"s\.yaml:\d: .*services.*must be a mapping|array", "services:\n  - web\n"),
    wrong(
        "a key is misspelt",
        r"s\.yaml:3: services\.web: key 'imagee' .*; did you mean 'image'\?",
        "services:\n  web:\n    imagee: x\n",
    ),
    wrong(
        "a key at the top is misspelt",
        r"key 'servces' is not known to Compose; did you mean 'services'\?",
        "servces:\n  web:\n    image: x\n",
    ),
    wrong("a port is no number", r"s\.yaml:4: .*invalid.*[Pp]ort.*http", WEB + '    ports: ["http:80"]\n'),
    wrong("a port is too large", r"s\.yaml:4: .*(80800|port)", WEB + '    ports: ["80800:80"]\n'),
    wrong(
        "a dependency is misspelt",
        r"s\.yaml:\d: .*\"?web\"? .*depends on undefined service \"?dbb",
        WEB + "    depends_on: [dbb]\n",
    ),
    wrong(
        "dependencies go in a circle",
        r"s\.yaml:\d: .*(dependency cycle|cycle).*",
        WEB + "    depends_on: [a]\n  a:\n    image: x\n    depends_on: [web]\n",
    ),
    wrong("a network is not declared", r"s\.yaml:\d: .*undefined network.*backend", WEB + "    networks: [backend]\n"),
    wrong("a volume is not declared", r"s\.yaml:\d: .*undefined volume.*data", WEB + '    volumes: ["data:/d"]\n'),
    wrong("an env file is missing", r"s\.yaml:4: env file .*app\.env not found", WEB + "    env_file: app.env\n"),
    wrong(
        "a variable is not set",
        r"s\.yaml:4: variable TAG is not set and has no default",
        WEB + '    command: "x:${TAG}"\n',
        environ={"HARNESS_STRICT_VARIABLES": "yes"},
    ),
    wrong(
        "an included file is missing",
        r"s\.yaml:1: included file compose/kafak\.yaml does not exist; did you mean 'kafka\.yaml'\?",
        "include: [kafak.yaml]\n" + WEB,
        files={"compose/kafka.yaml": WEB},
    ),
    wrong(
        "includes go in a circle",
        r"include cycle: s\.yaml -> b\.yaml -> s\.yaml",
        "include: [b.yaml]\n" + WEB,
        files={"compose/b.yaml": "include: [s.yaml]\n" + WEB.replace("web", "b")},
    ),
    wrong(
        "a service is also in an included file",
        r"s\.yaml:3: service 'web' is also in an included file",
        "include: [b.yaml]\n" + WEB,
        files={"compose/b.yaml": WEB},
    ),
    wrong(
        "x-harness is misspelt",
        r"s\.yaml:4: key 'x-harnes' is not known; did you mean 'x-harness'\?",
        WEB + "    x-harnes: {}\n",
    ),
    wrong("a key of x-harness is misspelt", r"s\.yaml:5: .*redy.*did you mean 'ready'\?", WEB + X + "      redy: []\n"),
    wrong(
        "embedded is misspelt",
        r"s\.yaml:5: .*embeded.*did you mean 'embedded'\?",
        WEB + X + "      embeded: {command: [a]}\n",
    ),
    wrong(
        "a probe is misspelt",
        r"s\.yaml:5: .*htpp.*did you mean 'http'\?",
        WEB + X + "      ready: [{htpp: {port: 1}}]\n",
    ),
    wrong(
        "a key of a probe is misspelt",
        r"s\.yaml:5: .*prot.*did you mean 'port'\?",
        WEB + X + "      ready: [{http: {prot: 1}}]\n",
    ),
    wrong(
        "a probe has two kinds",
        r"a probe has tcp, log; exactly one is needed",
        WEB + X + "      ready: [{tcp: 1, log: a}]\n",
    ),
    wrong(
        "a probe has a word for a port",
        r"ready\.0\.tcp: Input should be a valid integer.*'http'",
        WEB + X + "      ready: [{tcp: http}]\n",
    ),
    wrong("a pattern is none", r"log: '\(up' is no regular expression", WEB + X + "      ready: [{log: '(up'}]\n"),
    wrong(
        "a status is a word",
        r"s\.yaml:5: .*status.*(tuple|list|array|integer)",
        WEB + X + "      ready: [{http: {status: ok}}]\n",
    ),
    wrong(
        "a duration is none", r"s\.yaml:1: .*timeouts\.ready.*'soon'", "x-harness: {timeouts: {ready: soon}}\n" + WEB
    ),
    wrong(
        "a timeout is misspelt",
        r"s\.yaml:1: .*raedy.*did you mean 'ready'\?",
        "x-harness: {timeouts: {raedy: 1s}}\n" + WEB,
    ),
    wrong(
        "a role is unknown", r"s\.yaml:5: .*role.*'service' or 'oneshot' \(found 'job'\)", WEB + X + "      role: job\n"
    ),
    wrong(
        "a command is a line",
        r"s\.yaml:5: .*command.*(tuple|list)",
        WEB + X + "      embedded: {command: python app.py}\n",
    ),
    wrong(
        "a probe asks a port that is not published",
        r"service 'web' has no port 9999; it has: 80",
        WEB + '    ports: ["80"]\n' + X + "      ready: [{tcp: 9999}]\n      embedded: {command: [sleep, '9']}\n",
    ),
    wrong(
        "an HTTP probe and no port",
        r"service 'web' publishes no port to ask over HTTP",
        WEB + X + "      ready: [{http: {}}]\n      embedded: {command: [sleep, '9']}\n",
    ),
    wrong(
        "the broker of a probe is misspelt",
        r"broker 'kafak:9092' is no service and port of stack 's'",
        WEB + X + "      ready: [{kafka: {broker: 'kafak:9092'}}]\n      embedded: {command: [sleep, '9']}\n",
    ),
    wrong(
        "a placeholder names another port",
        r"\{port:9999\} names a port that it does not publish",
        WEB + '    ports: ["80"]\n' + X + "      embedded: {command: [sleep, '{port:9999}']}\n",
    ),
    wrong(
        "a placeholder names what is not mounted",
        r"\{mount:/etc/b\.ini\} is not mounted",
        WEB + X + "      embedded: {command: [cat, '{mount:/etc/b.ini}']}\n",
    ),
    wrong(
        "a placeholder has no value",
        r"\{build\} has no value on this engine",
        WEB + X + "      embedded: {command: ['{build}/x']}\n",
    ),
    wrong(
        "nothing says how to run without an engine",
        r"Service 'web' \(compose/s\.yaml\) has no x-harness\.embedded",
        WEB + "    x-harness: {}\n",
    ),
    wrong("the file is no text", r"s\.yaml: is no UTF-8 at byte 0", "", place="binary"),
    wrong(
        "a privileged container",
        r"service 'web': privileged: true is refused",
        WEB + "    privileged: true\n",
        engines=(COMPOSE,),
    ),
    wrong(
        "the network of the machine",
        r"service 'web': network_mode: host is refused",
        WEB + "    network_mode: host\n",
        engines=(COMPOSE,),
    ),
    wrong(
        "the engine's socket",
        r"service 'web': .*docker\.sock.* is refused",
        engines=(COMPOSE,),
        text=WEB + '    volumes: ["/var/run/docker.sock:/var/run/docker.sock"]\n',
    ),
    wrong(
        "a volume of somebody else",
        r"volume 'data'.*external.*refused|external.*volume 'data'",
        engines=(COMPOSE,),
        text=WEB + '    volumes: ["data:/d"]\nvolumes: {data: {external: true}}\n',
    ),
]

OK = {"web": program(web(), ready=http())}


def option(name: str, says: str, *argv: str, **more: Any) -> Fault:
    """Return a fault of a command line or a setting."""
    return Fault(name, says, services=OK, **{"argv": argv or RUN, "code": 10, **more})


KILLING = """
import os, harness
from harness.clock import Deadline, poll
s = harness.stack_fixture("s")
def test_it(s):
    os.kill(s.service("web").pid, 9)
    for _ in poll(Deadline.after(5)):
        assert s.service("web").pid
"""
TESTS = "import harness\ns = harness.stack_fixture('s')\ndef test_it(s): s."

OPTIONS = [
    option("the stack is misspelt", r"Stack 'ss' is not known; there are: s", "up", "--stack", "ss"),
    option(
        "the stack's file is missing",
        r"Compose file nope\.yaml does not exist",
        "up",
        "--stack",
        "./nope.yaml",
    ),
    option("the engine is misspelt", r"Engine 'embeded' \(command line\) is not known", "up", "--engine", "embeded"),
    option(
        "the engine of a variable is misspelt",
        r"Engine 'dokcer' \(HARNESS_ENGINE\) is not known",
        environ={"HARNESS_ENGINE": "dokcer"},
    ),
    option("a wait is no time", r"--wait-timeout 'soon'.*: a duration such as 90s", "up", "--wait-timeout", "soon"),
    option(
        "keep has no such value",
        r"--keep 'sometimes' \(command line\) is not known",
        "run",
        "--keep",
        "sometimes",
        "--",
        "true",
    ),
    option(
        "two options exclude each other", r"--build and --no-build exclude each other", "up", "--build", "--no-build"
    ),
    option("the command is missing", r"No command was given", "run"),
    option("the command is not there", r"Command 'nosuchprogram' was not found in PATH", "run", "--", "nosuchprogram"),
    option(
        "the local service is misspelt",
        r"--local wbe=.*: there is no service 'wbe'.*did you mean 'web'\?",
        "up",
        "--local",
        "wbe=sleep 9",
    ),
    option(
        "the local build is no folder",
        r"Local build nope \(command line\) does not exist; a folder was needed",
        "up",
        "--local-build",
        "nope",
    ),
    option("an option is misspelt", r"No idea what '--frsh' is", "up", "--frsh"),
    option(
        "pyproject.toml is no TOML",
        r"pyproject\.toml cannot be read: .*line \d",
        files={"pyproject.toml": "engine = \n"},
    ),
    option(
        "a setting is misspelt",
        r"pyproject\.toml.*key 'engin' is not known; did you mean 'engine'\?",
        files={"pyproject.toml": "engin = 'auto'\n"},
    ),
    option(
        "a setting is of the wrong type",
        r"pyproject\.toml.*logs is int 3, a str was needed",
        files={"pyproject.toml": "logs = 3\n"},
    ),
    option(
        "a setting has no such value",
        r"When to build: 'no' \(pyproject\.toml\) is not known; valid: changed",
        files={"pyproject.toml": "build = 'no'\n"},
    ),
    option(
        "the system is misspelt",
        r"System 'shp' .*is not known.*shop",
        "test",
        "--system",
        "shp",
        files={"pyproject.toml": "[tool.harness.systems.shop]\ntests = 'tests'\nstacks = ['s']\ndefault = 's'\n"},
    ),
    option(
        "a system has no such stack",
        r"[Ss]tack 'sss' .*(not known|no file)",
        "up",
        files={
            "pyproject.toml": "default-system = 'shop'\n[tool.harness.systems.shop]\ntests = 'tests'\nstacks = ['sss']\ndefault = 'sss'\n"
        },
    ),
    option(
        "several stacks and none chosen",
        r"No stack was named and none is the default; there are: a, s",
        "up",
        files={"compose/a.yaml": WEB},
    ),
    option("a stack that is up is not", r"Nothing is up here", "exec", "--service", "web", "--", "ls"),
    option(
        "Compose is not there",
        r"HARNESS_COMPOSE 'nowhere/compose' is no program",
        environ={"HARNESS_COMPOSE": "nowhere/compose"},
    ),
    option(
        "the subject's variable says nonsense",
        r"WEB_CONTAINER=bogus: valid are build, prebuilt=NAME:TAG, archive=PATH, skip",
        environ={"WEB_CONTAINER": "bogus"},
    ),
    # -- the engine
    option(
        "the engine's socket is missing",
        r"unix:///nonexistent/nowhere\.sock \(DOCKER_HOST\) does not answer: No such file",
        code=11,
        engines=(COMPOSE,),
        environ={"DOCKER_HOST": "unix:///nonexistent/nowhere.sock"},
    ),
    option(
        "the engine's socket is a file",
        r"plain\.sock \(DOCKER_HOST\) does not answer: Connection refused",
        code=11,
        engines=(COMPOSE,),
        place="plain_socket",
    ),
    option(
        "the engine is silent",
        r"silent\.sock \(DOCKER_HOST\) does not answer: no answer in 4 s",
        code=11,
        engines=(COMPOSE,),
        place="silent_engine",
    ),
    option(
        "the engine is something else",
        r"garbage\.sock \(DOCKER_HOST\) does not answer: BadStatusLine: 220 mail",
        code=11,
        engines=(COMPOSE,),
        place="garbage_engine",
    ),
    option(
        "the engine's address is none",
        r"Docker engine dokcer \(DOCKER_HOST\) is not on this machine",
        engines=(COMPOSE,),
        environ={"DOCKER_HOST": "dokcer"},
    ),
    # -- folders
    option(
        "the state folder is a file", r"State folder \S+ (is a link or a file|cannot be made)", place="state_is_a_file"
    ),
    option(
        "the state folder is open to others", r"State folder \S+ has mode 0777, 0700 was needed", place="state_is_open"
    ),
    option("the state folder is a link", r"State folder \S+ is a link or a file", place="state_is_a_link"),
    option(
        "the folder of runs is a file",
        r"(Run folder logs/\S+ cannot be made: Not a directory|logs.*File exists)",
        files={"logs": ""},
    ),
    option(
        "the folder of runs is on a full disk",
        r"Run folder \S+ cannot be made: No space left on device",
        code=12,
        place="full_disk",
    ),
    # -- tests
    option(
        "a test names no stack",
        r"Stack 'ss' is not known; there are: s",
        "test",
        files={"test_it.py": "import harness\ns = harness.stack_fixture('ss')\ndef test_it(s): pass\n"},
    ),
    option(
        "a test names no service",
        r"Stack 's' has no service 'wbe'; it has: web",
        "test",
        code=1,
        files={"test_it.py": TESTS + "endpoint('wbe', 8080)\n"},
    ),
    option(
        "a test names no port",
        r"Service 'web' of stack 's' publishes no port 9999; it publishes: 8080",
        "test",
        code=1,
        files={"test_it.py": TESTS + "endpoint('web', 9999)\n"},
    ),
    option(
        "a marker names no engine",
        r"engine 'compoze' is not known; valid: .*; did you mean 'compose'\?",
        "test",
        files={"test_it.py": "import pytest\n@pytest.mark.needs('compoze')\ndef test_it(): pass\n"},
    ),
    option(
        "a service dies under a test",
        r"Service 'web' ended with signal 9 \(SIGKILL\) under (a test|test_it)",
        "test",
        code=12,
        files={"test_it.py": KILLING},
    ),
]

FAULTS: tuple[Fault, ...] = (*SERVICES, *BROKERS, *SEEDS, *IMAGES, *FILES, *OPTIONS)
