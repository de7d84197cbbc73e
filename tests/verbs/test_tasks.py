"""What each task does, on local processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from checkout import ROOT
from projects import Project, run_in, service, web

from harness import procs
from harness.artifacts import private_folder
from harness.clock import Deadline, poll
from harness.engine.fingerprint import differences
from harness.helpers import http
from harness.ownership import ledger
from harness.ownership.identity import this_process
from harness.runs import running
from harness.verbs.schema import schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

HARNESS = ("-c", "from harness.invoke_tasks import main; main()")


def harness(project: Project, *words: str, code: int = 0, timeout: float = 60) -> procs.Finished:
    """Run a task and return what it did."""
    done = run_in(project, *HARNESS, *words, timeout=timeout)
    assert done.code == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def asked(project: Project, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a task with --json and return what it printed."""
    document: dict[str, Any] = json.loads(harness(project, *words, "--json", code=code).stdout)
    assert document["schema"] == 1
    return document


@pytest.fixture
def up(project: Project) -> Iterator[Project]:
    """A project with the stack ``s`` up: ``web`` with a seed, on the stack ``low`` with ``base``."""
    project.stack("low", {"base": service("say:low", "wait", ready=[{"log": "low"}])})
    project.stack(
        "s",
        {"web": web(words=("say:hello",))},
        include=["low.yaml"],
        **{"x-harness": {"seed": [{"key": "one", "http": {"service": "web", "port": 8080, "path": "/a"}}]}},
    )
    # The seed is planted by GET, which the service answers with 200.
    path = project.root / "compose" / "s.yaml"
    path.write_text(path.read_text().replace("path: /a", "path: /a\n      method: GET"))
    harness(project, "up", "--stack", "s")
    yield project
    harness(project, "down")


def test_run_gives_the_command_its_endpoints_and_ends_with_its_code(project: Project) -> None:
    """``run`` must end with the command's own code, give it every endpoint, and leave nothing that was not up."""
    project.stack("s", {"my-web": web()})
    script = "import os,sys; print(os.environ['HARNESS_ENDPOINT_MY_WEB_8080'], sys.argv[1:]); sys.exit(7)"
    done = harness(project, "run", "--stack", "s", "--", sys.executable, "-c", script, "a b", "$HOME", code=7)
    assert done.stdout.startswith("127.")
    assert "['a b', '$HOME']" in done.stdout
    assert project.processes() == {}


def kept_web(project: Project, *words: str) -> int:
    """Leave a stack up of ``web`` and a one-shot that is done; return the pid of ``web``."""
    done = service("exit:0", role="oneshot")
    project.stack("s", {"web": web(words=words), "init": done})
    harness(project, "up", "--stack", "s")
    (line,) = [service for service in asked(project, "ps")["services"] if service["service"] == "web"]
    return int(line["pid"])


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (signal.SIGSTOP, "Service 'web' is up and does not answer its probe: http /"),
        (signal.SIGKILL, "Service 'web' ended with signal 9 (SIGKILL) before this run came"),
        (signal.SIGTERM, "Service 'web' ended with exit code 0 before this run came"),
    ],
    ids=["hangs", "killed", "ended with 0"],
)
def test_what_was_left_up_and_is_of_no_use_is_told_with_the_way_out(
    project: Project, act: signal.Signals, says: str
) -> None:
    """A kept service that ended by itself, or does not answer, must be exit 12 soon, and ``restart`` must mend it."""
    pid = kept_web(project, "polite")
    os.kill(pid, act)
    for _ in poll(Deadline.after(10)):
        if procs.state_of(pid) in (procs.STATES["Z"], procs.STATES["T"], "gone"):
            break
    for words in (("up", "--stack", "s"), ("run", "--stack", "s", "--", "true")):
        done = harness(project, *words, code=12)
        assert says in done.stdout + done.stderr
        assert "next: `harness restart --service web` starts it again" in done.stdout + done.stderr
    harness(project, "restart", "--service", "web")
    harness(project, "up", "--stack", "s")
    harness(project, "run", "--stack", "s", "--", "true")
    harness(project, "down")


@pytest.mark.parametrize(("act", "state"), [("stop", "stopped"), ("pause", "paused")])
def test_what_was_left_stopped_or_paused_is_told_with_the_way_out(project: Project, act: str, state: str) -> None:
    """A kept service that a test left stopped or paused must be exit 12, and ``restart`` must mend it."""
    kept_web(project)
    run = project.run()
    with running(run):
        getattr(run.bring("s").service("web"), act)()
        assert run.bring("s").service("web").state != "running"  # the same run may use it as it made it
    done = harness(project, "up", "--stack", "s", code=12)
    assert f"Service 'web' was left {state}" in done.stdout + done.stderr
    assert "next: `harness restart --service web` starts it again" in done.stdout + done.stderr
    harness(project, "restart", "--service", "web")
    harness(project, "up", "--stack", "s")
    harness(project, "down")


def test_up_replaces_a_changed_service_whatever_became_of_it(project: Project) -> None:
    """A service that was changed must be made again by ``up``, also when it has ended."""
    os.kill(kept_web(project), signal.SIGKILL)
    project.stack("s", {"web": web(words=("say:new",))})
    harness(project, "up", "--stack", "s")
    harness(project, "down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("where", ["probe", "seed"])
def test_up_heeds_a_signal_while_a_check_blocks(project: Project, number: signal.Signals, where: str) -> None:
    """INT and TERM must end ``up`` soon although a python probe or seed does not return; nothing may be left."""
    mark = project.root / "asked"
    code = f"import threading, pathlib\ndef hang(_):\n    pathlib.Path({str(mark)!r}).touch()\n"
    (project.root / "checks.py").write_text(f"{code}    threading.Event().wait(600)\n")
    top = {"x-harness": {"seed": [{"key": "k", "python": "checks:hang"}]}} if where == "seed" else {}
    one = web() if where == "seed" else web(ready=[{"python": "checks:hang"}])
    project.stack("s", {"web": one}, **top)
    project.environ["PYTHONPATH"] = str(project.root)
    process = procs.spawn(
        [sys.executable, *HARNESS, "up", "--stack", "s"], env=project.environ, cwd=project.root, output=procs.DEVNULL
    )
    for _ in poll(Deadline.after(60)):
        if mark.exists():
            break
    process.send_signal(number)
    assert process.wait(40) in (128 + number, -number)


def test_run_leaves_up_what_was_up(up: Project) -> None:
    """``run`` must use what is up, and leave it up."""
    before = asked(up, "ps")["services"]
    harness(up, "run", "--stack", "s", "--", "true")
    assert asked(up, "ps")["services"] == before


def test_run_says_when_a_service_died_under_the_command(project: Project) -> None:
    """A command that ends well while a service of its stack died must end with 12 and the service's name."""
    project.stack("s", {"dies": service("say:up", "exit:3:0.4", ready=[{"log": "up"}])})
    done = harness(project, "run", "--stack", "s", "--", "sleep", "1", code=12)
    assert "Service 'dies' ended with exit code 3" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_run_passes_signals_on(project: Project, tmp_path: Path, number: int) -> None:
    """A signal to ``run`` must reach the command's group, whose end decides; nothing is left."""
    project.stack("s", {"web": web()})
    output = tmp_path / "output"
    script = (
        f"import signal,sys; signal.signal({number}, lambda *_: sys.exit(9)); print('on', flush=True); signal.pause()"
    )
    argv = [sys.executable, *HARNESS, "run", "--stack", "s", "--", sys.executable, "-c", script]
    with output.open("wb") as file:
        process = procs.spawn(argv, env=project.environ, cwd=project.root, output=file)
    for _ in poll(Deadline.after(60)):
        if "on" in output.read_text().split():
            break
    process.send_signal(number)
    assert process.wait(60) == 9, output.read_text()
    assert project.wait_until_gone(30) == {}


def test_up_reads_env_of_the_folder_where_it_is_given(project: Project) -> None:
    """Variables of the checkout's ``.env`` must reach stacks in its stack folder, for every task alike."""
    (project.root / ".env").write_text("WHO=env-file\n")
    project.stack("s", {"web": web(compose={"environment": {"WHO": "${WHO:-nobody}"}})})
    harness(project, "up", "--stack", "s")
    endpoint = asked(project, "endpoints")["endpoints"]["web:8080"]
    host, _, port = endpoint.rpartition(":")
    assert http.ask(host, int(port)).json()["env"]["WHO"] == "env-file"
    harness(project, "restart", "--service", "web")
    assert http.ask(host, int(port)).json()["env"]["WHO"] == "env-file"
    assert "leave" in harness(project, "up", "--stack", "s", "--explain").stdout
    harness(project, "down")


def test_up_explains_without_touching_anything(up: Project) -> None:
    """``up --explain`` must name each key that differs, show no value, and change nothing."""
    before = asked(up, "ps")["services"]
    assert [(stack["stack"], stack["act"]) for stack in asked(up, "up", "--stack", "s", "--explain")["stacks"]] == [
        ("low", "leave"),
        ("s", "leave"),
    ]
    path = up.root / "compose" / "s.yaml"
    path.write_text(path.read_text().replace("image: actor", "image: actor\n    environment: {PASSWORD: tiger17}"))
    said = harness(up, "up", "--stack", "s", "--explain").stdout
    assert "stack s: replace\n  service web: environment.PASSWORD is new" in said
    assert "stack low: leave" in said
    assert "tiger17" not in said
    assert asked(up, "ps")["services"] == before


def test_differences_are_told_without_values() -> None:
    """Every key that changed, came or went must be told, sorted, and nothing else."""
    assert differences({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}) == [
        "b changed",
        "c is gone",
        "d is new",
    ]


def test_up_fresh_starts_anew_and_seeds_again(up: Project) -> None:
    """``up --fresh`` must replace what is up by a new environment."""
    before = {service["environment"] for service in asked(up, "ps")["services"]}
    harness(up, "up", "--stack", "s", "--fresh")
    after = {service["environment"] for service in asked(up, "ps")["services"]}
    assert len(after) == 1
    assert not before & after


def test_what_did_not_settle_is_left_for_a_look(project: Project) -> None:
    """``up --keep-failed`` must end with 12 and leave all as it is, marked with the reason; ``up`` starts it anew."""
    project.stack("low", {"db": web()})
    includes = {"include": ["low.yaml"]}
    project.stack("s", {"bad": service("say:no luck", "exit:3", ready=[{"log": "never"}]), "good": web()}, **includes)
    reason = "Service 'bad' ended with exit code 3 before it was ready"
    done = harness(project, "up", "--stack", "s", "--keep-failed", code=12)
    assert reason in done.stderr
    assert "is left as it is for a look: `harness ps`, `harness logs`; `harness down` removes it" in done.stderr
    services = {line["service"]: line for line in asked(project, "ps")["services"]}
    assert (services["bad"]["state"], services["db"]["state"], services["db"]["failed"]) == ("exited", "running", "")
    assert services["bad"]["failed"].startswith(reason)
    assert f"stack s did not settle: {reason}" in harness(project, "ps").stdout
    assert "no luck" in harness(project, "logs", "--service", "bad").stdout
    harness(project, "exec", "--service", "db", "--", "true")
    used = harness(project, "run", "--stack", "s", "--", "true", code=12)
    assert "Stack 's' did not settle and was left for a look" in used.stderr
    assert "stack s: start anew" in harness(project, "up", "--stack", "s", "--explain").stdout
    project.stack("s", {"bad": web(), "good": web()}, **includes)
    assert "s: did not settle and was left for a look; everything is started anew" in (
        harness(project, "up", "--stack", "s").stderr
    )
    assert not any(line["failed"] for line in asked(project, "ps")["services"])
    harness(project, "down")


def test_a_failed_start_that_has_started_nothing_leaves_nothing(project: Project) -> None:
    """``up --keep-failed`` must leave nothing where there is nothing to look at, and ``down`` remove what it left."""
    project.stack("s", {"bad": service("exit:3", ready=[{"log": "never"}])})
    harness(project, "up", "--stack", "s", "--keep-failed", code=12)
    harness(project, "down")
    (project.root / "none").write_text("#!/no/such/program\n")
    (project.root / "none").chmod(0o755)
    project.stack("s", {"bad": {"image": "x", "x-harness": {"embedded": {"command": ["../none"]}}}})
    done = harness(project, "up", "--stack", "s", "--keep-failed", code=12)
    assert "could not be started" in done.stderr
    assert project.ledgers() == []


def test_wait_timeout_takes_the_place_of_what_the_file_says(project: Project) -> None:
    """``--wait-timeout`` must end the wait, whatever the stack's own time is."""
    project.stack("s", {"slow": web(60)})
    done = harness(project, "up", "--stack", "s", "--wait-timeout", "500ms", code=12)
    assert "Service 'slow' did not settle in 0." in done.stderr


def test_down_of_a_stack_takes_what_only_it_used(up: Project) -> None:
    """``down --stack`` must remove that stack and its includes, and leave a stack that was asked for by name."""
    assert "still needs it" not in harness(up, "down", "--stack", "s").stderr
    assert up.ledgers() == []
    harness(up, "up", "--stack", "low")
    harness(up, "up", "--stack", "s")
    assert "still up: low" in harness(up, "down", "--stack", "s").stderr
    assert [service["service"] for service in asked(up, "ps")["services"]] == ["base"]
    assert (
        "Stack 'lo' is not up; there are: low; did you mean 'low'?"
        in harness(up, "down", "--stack", "lo", code=10).stderr
    )


def test_a_stack_that_another_includes_stays_for_it(up: Project) -> None:
    """``down --stack`` of an included stack must leave it to the stack that stands on it."""
    said = harness(up, "down", "--stack", "low").stderr
    assert "is kept no longer by itself; s still needs it" in said
    assert {service["service"] for service in asked(up, "ps")["services"]} == {"web", "base"}


def test_exec_and_restart(up: Project) -> None:
    """``exec`` must end with the command's code, in the service's environment; ``restart`` when it is ready again."""
    done = harness(up, "exec", "--service", "web", "--", "sh", "-c", "echo $HARNESS_PORT_WEB_8080; exit 5", code=5)
    assert done.stdout == "8080\n"
    before = asked(up, "ps")["services"]
    harness(up, "restart", "--service", "s/web")
    after = {service["service"]: service for service in asked(up, "ps")["services"]}
    address = after["web"]["endpoints"]["web:8080"]
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
        assert answer.status == 200
    assert after["web"]["restarts"] == 1
    assert after["base"] in before


def test_restart_tells_of_a_service_that_does_not_come_back(project: Project) -> None:
    """A service that ends after its restart must be told with its exit code, as 12."""
    once = project.root / "once"
    words = (
        f"import pathlib,signal,sys; p=pathlib.Path({str(once)!r}); p.exists() and sys.exit(4); p.touch(); "
        "print('up', flush=True); signal.pause()"
    )
    table = {"image": "x", "x-harness": {"ready": [{"log": "up"}], "embedded": {"command": ["python", "-c", words]}}}
    project.stack("s", {"one": table})
    harness(project, "up")
    done = harness(project, "restart", "--service", "one", code=12)
    assert "Service 'one' ended with exit code 4 before it was ready" in done.stderr
    harness(project, "down")


def test_logs_since_and_follow(up: Project, tmp_path: Path) -> None:
    """``logs --since`` must leave out what is older; ``--follow`` must show what comes until nothing is up."""
    harness(up, "restart", "--service", "web")
    assert harness(up, "logs", "--service", "web", "--since", "1h").stdout == "hello\nhello\n"
    output = tmp_path / "followed"
    with output.open("wb") as file:
        process = procs.spawn([sys.executable, *HARNESS, "logs", "--follow"], env=up.environ, cwd=up.root, output=file)
    for _ in poll(Deadline.after(20)):
        if output.read_text().count("web  | hello") == 2:
            break
    harness(up, "restart", "--service", "web")
    for _ in poll(Deadline.after(10)):
        if output.read_text().count("web  | hello") == 3:
            break
    harness(up, "down")
    assert process.wait(20) == 0
    assert output.read_text().count("web  | hello") == 3
    assert "base | low" in output.read_text()


def test_seed_plants_what_is_new(up: Project) -> None:
    """``seed`` must plant only what was not planted, in the running stack; with ``--fresh`` all of it."""
    assert "every seed was planted before" in harness(up, "seed").stderr
    path = up.root / "compose" / "s.yaml"
    more = "  - {key: two, exec: {service: web, command: [touch, planted]}}\n"
    path.write_text(path.read_text().replace("services:", f"{more}services:", 1))
    assert harness(up, "seed").stdout.split() == ["s/two"]
    assert (up.root / "compose" / "planted").exists()
    assert "every seed was planted before" in harness(up, "seed").stderr
    assert harness(up, "seed", "--fresh", "--stack", "s").stdout.split() == ["s/one", "s/two"]


def test_endpoints_as_variables(up: Project) -> None:
    """``endpoints --env`` must print the variables that ``run`` gives."""
    address = asked(up, "endpoints")["endpoints"]["web:8080"]
    assert harness(up, "endpoints", "--env").stdout == f"HARNESS_ENDPOINT_WEB_8080={address}\n"


def test_reading_tasks_answer_json_when_nothing_is_up(project: Project) -> None:
    """``ps`` and ``endpoints`` must give an empty list, not an error, to a program that asks."""
    assert asked(project, "ps")["services"] == []
    assert asked(project, "endpoints")["endpoints"] == {}


def test_config_shows_variables_as_written_and_what_is_rendered(project: Project) -> None:
    """``config`` must not show the value of a variable; ``--rendered`` must show the files that a process gets."""
    conf = project.root / "web.conf"
    conf.write_text("upstream = web:8080\n")
    table = web(compose={"environment": {"PASSWORD": "${PASSWORD:-none}"}, "volumes": ["../web.conf:/etc/web.conf:ro"]})
    project.stack("s", {"web": table})
    project.environ["PASSWORD"] = "tiger17"
    shown = harness(project, "config").stdout
    assert "PASSWORD: ${PASSWORD:-none}" in shown
    assert "x-harness" in shown
    assert "tiger17" not in shown + harness(project, "config", "--rendered").stdout
    rendered = asked(project, "config", "--rendered")["stacks"][0]
    assert [file["content"] for file in rendered["files"].values()] == ["upstream = 127.16.0.2:8080\n"]
    assert not (project.root / "logs").exists()


def test_doctor_shows_where_settings_come_from(project: Project) -> None:
    """``doctor`` must show each setting with its origin, and end with 10 when something will not work."""
    project.stack("s", {"web": web()})
    (project.root / "pyproject.toml").write_text('[tool.harness]\nkeep = "on-failure"\n')
    (project.root / ".env").write_text("COMPOSE_PROFILES=debug\nCOMPOSE_PROJECT_NAME=mine\n")
    found = {finding["what"]: finding for finding in asked(project, "doctor")["findings"]}
    assert found["setting engine"]["seen"] == "embedded (HARNESS_ENGINE)"
    assert found["setting keep"]["seen"] == f"on-failure ({project.root / 'pyproject.toml'})"
    assert found["setting profile"]["seen"] == f"debug (COMPOSE_PROFILES in {project.root / '.env'})"
    assert found["setting logs"]["seen"].endswith("(default)")
    assert found["stack s"]["state"] == "ok"
    project.stack("t", {"web": web(embeded={})})
    assert "stack t: " in harness(project, "doctor", code=10).stdout


def test_doctor_names_the_engine_that_other_commands_have(up: Project) -> None:
    """``doctor`` must say of ``auto`` that it is the engine of what is up, as every command that uses that does."""
    up.environ["HARNESS_ENGINE"] = "auto"
    findings = {finding["what"]: finding for finding in asked(up, "doctor")["findings"]}
    seen = findings["engine in force"]["seen"]
    assert seen.startswith("embedded (auto: "), seen
    assert seen.endswith(" is up)"), seen


def test_gc_lists_and_removes_what_dead_runs_left(project: Project) -> None:
    """What is left when run and keeper are killed must be listed by ``--dry-run``, which removes nothing, then go."""
    project.stack("s", {"web": web()})
    harness(project, "up")
    record = ledger.read(project.ledgers()[0])
    assert record is not None
    os.kill(record.keeper.pid, signal.SIGKILL)
    assert procs.wait_gone(record.keeper.pid, record.keeper.start, 5)
    for _ in range(2):
        dead = asked(project, "gc", "--dry-run", "--engine", "embedded")["dead"]
        assert [(environment["env"], environment["checkout"]) for environment in dead] == [
            (record.env, str(project.root))
        ]
        assert f"folder {record.folder}/work" in dead[0]["things"]
    assert (
        f"environment {record.env} of a dead run was cleared" in harness(project, "gc", "--engine", "embedded").stdout
    )
    assert asked(project, "gc", "--dry-run", "--engine", "embedded")["dead"] == []


def test_gc_tells_of_a_file_that_is_no_ledger_and_ends_well(project: Project) -> None:
    """A stray file among the ledgers leaves nothing behind: ``gc`` must say what it is, set it aside and end with 0."""
    state = project.state / "harness"
    state.mkdir(mode=0o700)
    stray = state / "stray.ledger"
    stray.write_text("{")
    os.utime(stray, (0, 0))  # no keeper has just made it
    assert "stray.ledger could not be read as a ledger" in harness(project, "gc", "--engine", "embedded").stdout
    assert not stray.exists()
    assert "nothing is left of dead runs" in harness(project, "gc", "--engine", "embedded").stdout


def unclearable(project: Project, checkout: Path) -> Path:
    """Return the ledger of a dead environment whose scratch folder bears no mark, so that nothing may remove it."""
    state, folder = private_folder(project.state / "harness"), project.root / "unclearable"
    (folder / "work").mkdir(parents=True)
    owner = replace(this_process(), start=1).as_dict()
    header = {"env": "unclearable", "checkout": str(checkout), "engine": "embedded", "folder": str(folder)}
    line = {"kind": "header", "schema": ledger.SCHEMA, **header, "socket": "nobody", "owner": owner}
    path = state / f"unclearable{ledger.SUFFIX}"
    path.write_text(json.dumps(line) + "\n")
    return path


def test_what_a_dead_environment_leaves_ends_gc_and_down_with_14(project: Project) -> None:
    """What cannot be removed must end ``gc`` and ``down --all`` with 14, and ``down`` where it is of this checkout."""
    project.stack("s", {"web": web()})
    path = unclearable(project, project.root)
    left = f"environment unclearable of a dead run could not be cleared: folder {project.root}/unclearable/work left"
    for words in (["gc", "--engine", "embedded"], ["down"], ["down", "--all"]):
        assert left in harness(project, *words, code=14).stderr, words
    path.unlink()


def test_what_another_checkouts_environment_leaves_is_no_fault_of_this_one(project: Project) -> None:
    """A run and ``down`` must tell of another checkout's dead environment that stays, and end well."""
    project.stack("s", {"web": web()})
    path = unclearable(project, project.root / "another")
    for words in (["run", "--", "true"], ["down"]):
        told = harness(project, *words)
        assert "environment unclearable of a dead run could not be cleared" in told.stdout + told.stderr, words
    path.unlink()


def test_report_shows_why(project: Project) -> None:
    """``report`` must show counts, and the first line of each broken or failed test, of any run."""
    project.stack("s", {"web": web()})
    (project.root / "test_it.py").write_text(
        "def test_good(stack): pass\ndef test_bad(stack): assert 'an egg' == 'a hen'\n"
    )
    harness(project, "test", "--stack", "s", "--", "-q", "test_it.py", code=1)
    shown = asked(project, "report")
    assert shown["outcomes"] == {"succeeded": 1, "failed": 1}
    assert shown["exit_code"] == 1
    assert [(test["test"], test["status"]) for test in shown["bad"]] == [("test_it::test_bad", "failed")]
    assert "an egg" in shown["bad"][0]["line"]
    assert harness(project, "report", "--run", shown["run"][-8:]).stdout.startswith(f"run {shown['run']} on embedded")
    assert "is not known" in harness(project, "report", "--run", "nope", code=10).stderr
    (project.latest / "run.json").write_text("{")
    assert "run.json cannot be read" in harness(project, "report").stdout


def test_a_new_stack_passes_at_once(tmp_path: Path, project: Project) -> None:
    """What ``new`` writes into an empty folder must pass, and be refused a second time with nothing written."""
    root = tmp_path / "a b'$é"
    root.mkdir()
    environ = project.environ | {"XDG_RUNTIME_DIR": str(project.state)}

    def task(*words: str) -> procs.Finished:
        return procs.run([sys.executable, *HARNESS, *words], timeout=60, env=environ, cwd=root)

    done = task("new", "--stack", "my-web")
    assert done.code == 0, done.stderr
    assert done.stdout.split() == [
        "compose/my-web.yaml",
        "config-files/my-web/settings.json",
        "integration_tests/my-web/conftest.py",
        "integration_tests/my-web/test_my_web.py",
        "pyproject.toml",
    ]
    test = task("test")
    assert (test.code, "1 passed" in test.stdout) == (0, True), test.stdout
    before = sorted(root.rglob("*.*"))
    again = task("new", "--stack", "my-web")
    assert (again.code, "compose/my-web.yaml is there already" in again.stderr) == (10, True)
    assert sorted(root.rglob("*.*")) == before
    second = task("new", "--stack", "other")
    assert (second.code, "declare it in" in second.stdout) == (0, True)
    assert task("test", "--stack", "other", "--", "integration_tests/other").code == 0


def test_test_of_all_systems_runs_each(project: Project) -> None:
    """``test --system all`` must run every system's suite, and end with the first code that is not 0."""
    project.stack("s", {"web": web()})
    systems = ""
    for name, body in (("good", "pass"), ("bad", "assert False")):
        systems += f'[tool.harness.systems.{name}]\ntests = "{name}"\ndefault = "s"\n'
        (project.root / name).mkdir()
        (project.root / name / f"test_{name}.py").write_text(f"def test_it(stack): {body}\n")
    (project.root / "pyproject.toml").write_text(systems)
    done = harness(project, "test", "--system", "all", code=1)
    assert "system good: exit code 0" in done.stderr
    assert "system bad: exit code 1" in done.stderr


def test_schemas_are_current() -> None:
    """The files in docs/schemas must be what the models say now: `harness config --schema NAME` writes them."""
    for name, text in schemas().items():
        assert (ROOT / "docs" / "schemas" / f"{name}.json").read_text() == text, name


def test_what_starts_pytest_loads_nothing_that_only_pytest_needs() -> None:
    """The process that starts a suite's pytest must not load what runs stacks: each test waits for it."""
    heavy = ["pydantic", "docker", "yaml", "psutil", "pytest", "harness.runs.run", "harness.stack"]
    script = "import sys, harness.config.settings, harness.verbs.test; "
    script += f"print([module for module in {heavy} if module in sys.modules])"
    done = procs.run([sys.executable, "-c", script], timeout=30, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_two_tasks_in_one_call(project: Project) -> None:
    """Each task of a command line must get its own flags, also those that may come again."""
    for name in ("one", "two"):
        project.stack(name, {name: web()})
    shown = harness(project, "config", "--stack", "one", "config", "--stack", "two").stdout
    assert [line.split(":")[0] for line in shown.splitlines() if line.startswith("# stack")] == [
        "# stack one",
        "# stack two",
    ]


def test_every_task_has_an_example_and_loads_nothing_heavy() -> None:
    """Help must come without loading what runs stacks, and show an example for each task."""
    heavy = ["pydantic", "docker", "pytest", "confluent_kafka", "psutil"]
    heavy += ["harness.runs.known", "harness.runs.run", "harness.config.settings", "harness.config.sources"]
    script = (
        "import sys\nfrom harness.invoke_tasks import namespace\n"
        "for name in namespace.task_names:\n"
        "    assert 'Example:' in namespace[name].__doc__, name\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = procs.run([sys.executable, "-c", script], timeout=30, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
