"""One small file for each group of keys: what its service sees, says and leaves is the same on both engines.

A difference that is meant stands in ``docs/compose-keys.md``; here it has ``told``, the words of the line for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from checkout import TESTS
from containers import Dock, ask

from harness.runs import running

if TYPE_CHECKING:
    from projects import Project

WITNESS = TESTS / "witness.py"
HOME = "./here:/srv"  # a folder with the file ``a``


@dataclass(frozen=True)
class Case:
    """A small file, and what must come of it.

    Attributes:
        web: keys of the service that is asked.
        seen: what it must tell, by key; of ``env``, ``files`` and ``reached`` those that are named.
        others: its neighbours.
        top: what else stands in the file.
        words: what it is started with.
        log: a line that its log must have in the end.
        states: service -> state when the stack is up.
        told: words of the line that tells what local processes do not have; "" where they have all.
    """

    web: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    top: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    log: str = ""
    states: dict[str, str] = field(default_factory=dict)
    told: str = ""


def reaches(*places: str, **more: Any) -> dict[str, Any]:
    """Return keys of a service that looks who answers at these places."""
    return {"environment": {f"REACH_{place.partition(':')[0]}": place for place in places}, **more}


def answers(*names: str) -> dict[str, Any]:
    """Return what is told where all of them answer."""
    return {"reached": dict.fromkeys(names, "200")}


FILES: dict[str, Any] = {"environment": {"FILE_it": "/run/secrets/it", "FILE_conf": "/etc/it.ini"}}

CASES: dict[str, Case] = {
    "command": Case(words=("two words", "$$HOME", "a=b", ""), seen={"argv": ["two words", "$HOME", "a=b", ""]}),
    "environment": Case(
        {"environment": {"NUMBER": 1, "FLAG": "true", "EMPTY": "", "DOLLAR": "$$x", "LINES": "a\nb", "GONE": None}},
        {"env": {"NUMBER": "1", "FLAG": "true", "EMPTY": "", "DOLLAR": "$x", "LINES": "a\nb", "GONE": None}},
    ),
    "environment as a list": Case({"environment": ["A=b=c", "D="]}, {"env": {"A": "b=c", "D": ""}}),
    "env_file": Case(
        {"env_file": ["web.env", {"path": "none.env", "required": False}], "environment": {"OVER": "file"}},
        {"env": {"PLAIN": "x", "QUOTED": "a # b", "SINGLE": "$x", "OVER": "file", "MADE": "x-y"}},
    ),
    "interpolation": Case(
        {"environment": {"A": "${FROM_ENV}", "B": "${NONE:-other}", "C": "${FROM_ENV:+set}", "D": "${NONE-}"}},
        {"env": {"A": "of .env", "B": "other", "C": "set", "D": ""}},
    ),
    "ports": Case({"ports": [{"target": 8080, "published": "8080", "protocol": "tcp"}]}, {"argv": []}),
    "a range of ports": Case({"ports": ["8080-8081:8080-8081"], "listens": (8080, 8081)}, {"argv": []}),
    "expose": Case(reaches("db:8080"), answers("db"), {"db": {"expose": ["8080"], "ports": ["8080:8080"]}}),
    "aliases": Case(
        reaches("db:8080", "store:8080", networks=["back"]),
        answers("db", "store"),
        {"db": {"networks": {"back": {"aliases": ["store"]}}, "ports": ["8080:8080"]}},
        {"networks": {"back": None}},
    ),
    "hostname": Case(reaches("dbhost:8080"), answers("dbhost"), {"db": {"hostname": "dbhost", "ports": ["8080:8080"]}}),
    "container_name": Case(
        reaches("shop-db:8080"), answers("shop-db"), {"db": {"container_name": "shop-db", "ports": ["8080:8080"]}}
    ),
    "links": Case(reaches("store:8080", links=["db:store"]), answers("store"), {"db": {"ports": ["8080:8080"]}}),
    "bind": Case(
        {"volumes": [f"{HOME}:ro", "./here/a:/etc/a"], "environment": {"FILE_a": "/srv", "FILE_b": "/etc/a"}},
        {"files": {"a": ["a", "0o500"], "b": ["here", "0o400"]}},
    ),
    "volume": Case(
        {"volumes": ["data:/data", "/own"], "environment": {"FILE_data": "/data", "FILE_own": "/own"}},
        {"files": {"data": ["", "0o500"], "own": ["", "0o500"]}},
        top={"volumes": {"data": None}},
    ),
    "secrets": Case(
        {**FILES, "secrets": ["it", {"source": "env", "target": "/etc/it.ini", "mode": "0400"}]},
        {"files": {"it": ["here", "0o400"], "conf": ["of .env", "0o400"]}},
        top={"secrets": {"it": {"file": "./here/a"}, "env": {"environment": "FROM_ENV"}}},
    ),
    "configs": Case(
        {**FILES, "configs": [{"source": "ini", "target": "/etc/it.ini"}]},
        {"files": {"conf": ["a = of .env\n", "0o400"]}},
        top={"configs": {"ini": {"content": "a = ${FROM_ENV}\n"}}},
    ),
    "working_dir": Case({"volumes": [HOME], "working_dir": "/srv", "cwd": "here"}, {"folder": ["a"]}),
    "user, init, limits": Case(
        {"user": "7", "init": True, "ulimits": {"nofile": 512}, "mem_limit": "128m", "read_only": True, "tty": True},
        {"argv": []},
        told="left out: init, read_only, tty (there is no container); "
        "mem_limit, ulimits (a process has no limits of its own); user (a process has your rights)",
    ),
    "labels, logging": Case(
        {"labels": {"a": "b"}, "logging": {"driver": "json-file"}, "extra_hosts": ["x:127.0.0.9"], "cap_drop": ["ALL"]},
        {"argv": []},
        told="left out: cap_drop (a process has your rights); extra_hosts (a process uses loopback); "
        "labels, logging (there is no container)",
    ),
    "stop_signal": Case({"stop_signal": "SIGINT", "subject": "web"}, log="ended by SIGINT"),
    "stop_grace_period": Case({"stop_grace_period": "5s", "subject": "web"}, log="ended by SIGTERM"),
    "service_healthy": Case(
        reaches("db:8080", depends_on={"db": {"condition": "service_healthy"}}),
        answers("db"),
        {"db": {"ports": ["8080:8080"], "healthcheck": {"test": ["CMD", "true"], "interval": "60s"}}},
    ),
    "service_completed_successfully": Case(
        {"depends_on": {"init": {"condition": "service_completed_successfully"}}},
        {"argv": []},
        {"init": {"ends": 0}},
        states={"init": "exited", "web": "running"},
    ),
    "service_started": Case(
        reaches("db:8080", depends_on={"db": {"condition": "service_started", "required": False}}),
        answers("db"),
        {"db": {"ports": ["8080:8080"]}},
    ),
    "restart": Case(
        {"restart": "on-failure"}, {"argv": []}, {"init": {"ends": 0, "restart": "no"}}, states={"init": "exited"}
    ),
    "profiles": Case({}, {"argv": []}, {"tools": {"profiles": ["debug"]}}, states={"web": "running"}),
    "scale": Case({"depends_on": ["worker"]}, {"argv": []}, {"worker": {"scale": 0}}, states={"web": "running"}),
    "extends": Case(
        {"extends": {"file": "base.yaml", "service": "base"}, "environment": {"OWN": "1"}},
        {"env": {"OWN": "1", "FROM_BASE": "of base", "MADE": "x-y"}},
    ),
    "include": Case(reaches("low:8080"), answers("low"), top={"include": ["low.yaml"]}),
    "hooks": Case(
        {"post_start": [{"command": ["true"]}], "pre_stop": [{"command": ["true"]}]},
        {"argv": []},
        told="left out: post_start, pre_stop (hooks run in containers only)",
    ),
}


def witness(project: Project, table: dict[str, Any], words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a service that runs the witness on each engine; one with ``ends`` ends at once with that exit code."""
    table = dict(table)
    volumes = [*table.pop("volumes", ()), f"{WITNESS}:/witness.py:ro"]
    ends, cwd = table.pop("ends", None), table.pop("cwd", None)
    settings = {"subject": table.pop("subject")} if "subject" in table else {}
    listens = table.pop("listens", (8080,))
    places = [f"{{address}}:{{port:{number}}}" if table.get("ports") else f"{{address}}:{number}" for number in listens]
    here = ["python", "{mount:/witness.py}", ",".join(places)]
    inside = ["python3", "-u", "/witness.py", ",".join(f"0.0.0.0:{number}" for number in listens)]
    if ends is not None:
        inside, here = [["sh", "-c", f"exit {ends}"]] * 2
    process = {"command": [*here, *words], **({"cwd": cwd} if cwd else {})}
    if check := table.get("healthcheck"):
        process["healthcheck"] = {"test": check["test"]}
    image = project.image if isinstance(project, Dock) else "x"
    made = {"image": image, "entrypoint": inside, "command": list(words), "volumes": volumes, **table}
    return {**made, "x-harness": {"embedded": process, **settings}}


def write(project: Project, case: Case) -> None:
    """Write the file of a case, and what may stand beside it."""
    folder = project.root / "compose"
    (folder / "here").mkdir()
    for name, text in {
        ".env": "FROM_ENV='of .env'\n",
        "web.env": "# words\nPLAIN=x\nQUOTED=\"a # b\"\nSINGLE='$x'\nOVER=env_file\nMADE=${PLAIN}-y\n",
        "here/a": "here",
    }.items():
        (folder / name).write_text(text)
    base = {"services": {"base": {"image": "x", "environment": {"FROM_BASE": "of base"}, "env_file": "web.env"}}}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    project.stack("low", {"low": witness(project, {"ports": ["8080:8080"]})})
    web = witness(project, {"ports": ["8080:8080"], **case.web}, case.words)
    project.stack(
        "s", {"web": web, **{name: witness(project, table) for name, table in case.others.items()}}, **case.top
    )


@pytest.fixture(params=["embedded", "compose"])
def place(request: pytest.FixtureRequest) -> Project:
    """Return an empty project on each engine; on containers where there are some."""
    made: Project = request.getfixturevalue("dock" if request.param == "compose" else "project")
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_file_means_the_same(place: Project, name: str) -> None:
    """What the service sees, its neighbours' states and its last words must be those of the table, on each engine."""
    case = CASES[name]
    write(place, case)
    run = place.run()
    with running(run):
        stack = run.bring("s")
        seen = ask(stack, "web")
        states = {service: stack.service(service).state for service in case.states}
    for key, wanted in case.seen.items():
        found = {part: seen[key].get(part) for part in wanted} if isinstance(wanted, dict) else seen[key]
        assert found == wanted
    assert states == case.states
    log = next(place.latest.glob("services/web@s.log"), None) or next(place.latest.glob("services/web*.log"))
    assert case.log in log.read_text()
    told = [line for line in place.said if line.startswith("service 'web': left out")]
    assert told == ([] if isinstance(place, Dock) or not case.told else [f"service 'web': {case.told}"])
