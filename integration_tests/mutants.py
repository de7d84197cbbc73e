"""Run a system's suite against each of its mutants and check that the right tests are red, for the right reason.

A mutant is a subject that is broken on purpose, or the stack with a file laid over it. One whose status is ``passed``
is odd and not wrong: no test may be red.

``python -m integration_tests.mutants SYSTEM [MUTANT ...]``; exit code 1 when a mutant survives.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from junitparser import Error, Failure, JUnitXml

from harness import procs

BUDGET = 600.0
SIDE_BY_SIDE = 3
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant: who caught it, what the first of them said, and what is wrong with that."""

    mutant: str
    caught_by: tuple[str, ...]
    said: str
    problems: tuple[str, ...]


def judge(name: str, expected: dict[str, Any], junit: Path) -> Verdict:
    """Compare what a run reported with what ``mutants.toml`` expects."""
    red: dict[str, tuple[str, str]] = {}
    counted = 0
    for suite in JUnitXml.fromfile(str(junit)):
        for case in suite:
            counted += not case.is_skipped
            for result in case.result:
                if isinstance(result, Failure | Error):
                    status = "broken" if isinstance(result, Error) else "failed"
                    red.setdefault(case.name.partition("[")[0], (status, f"{result.message}\n{result.text}"))
    problems = [] if expected["status"] != "passed" or counted else ["no test was run"]
    for test, words in expected["caught"].items():
        if test not in red:
            problems.append(f"{test} did not notice")
        elif red[test][0] != expected["status"]:
            problems.append(f"{test} is {red[test][0]}, {expected['status']} was expected")
        elif words not in red[test][1]:
            problems.append(f"{test} does not say {words!r}")
    others = sorted(set(red) - set(expected["caught"]))
    if others and (expected.get("only") or expected["status"] == "passed"):
        problems.append(f"{', '.join(others)} should not have noticed")
    said = next((red[test][1].splitlines()[0] for test in expected["caught"] if test in red), "")
    return Verdict(name, tuple(sorted(red)), said, tuple(problems))


def run(system: str, name: str, declared: dict[str, Any], facts: dict[str, Any]) -> Verdict:
    """Run the suite of ``system``, of which pyproject.toml has these facts, with one mutant in place of its subject."""
    expected = declared["mutants"][name]
    logs = ROOT / "logs" / "mutants" / system / name
    env = {**os.environ, **declared["environment"], **expected.get("environment", {})}
    over = expected.get("over")
    if not over:
        env[declared["variable"]] = f"{declared.get('package', 'mutants')}.{name}"
    if variable := declared.get("port"):
        env[variable] = str(_free_port())  # several run at once, and a port that is known is there once
    env["HARNESS_LOGS"] = str(logs.relative_to(ROOT))
    argv = [sys.executable, "-m", "pytest", "-q", facts["tests"], f"--system={system}"]
    argv += [f"--stack={facts['default']}{os.pathsep}{over}"] if over else []
    argv += ["-k", expected["select"]] if "select" in expected else []
    done = procs.run(argv, timeout=BUDGET, env=env, cwd=ROOT)
    junit = logs / "latest" / "junit.xml"
    if done.code is None or not junit.is_file():
        lines = (done.stdout + done.stderr).splitlines()[-5:]
        return Verdict(name, (), "", (f"the run gave no report: {' / '.join(lines)}",))
    return judge(name, expected, junit)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def main(argv: list[str]) -> int:
    """Run the mutants of a system; print a table; return 1 when one survived."""
    system, *chosen = argv
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    facts = pyproject["tool"]["harness"]["systems"][system]
    file = ROOT / "integration_tests" / system / "mutants.toml"
    if not file.is_file():
        print(f"system {system} declares no mutants: there is no {file}")
        return 2
    declared = tomllib.loads(file.read_text(encoding="utf-8"))
    if unknown := sorted(set(chosen) - set(declared["mutants"])):
        print(f"no mutants of {system}: {', '.join(unknown)}; there are: {', '.join(declared['mutants'])}")
        return 2
    # Most of them wait most of the time.
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        looks = list(pool.map(lambda name: run(system, name, declared, facts), chosen or declared["mutants"]))
    # Beside others a test may come too late that has nothing to do with the mutant; alone it does not.
    verdicts = [run(system, look.mutant, declared, facts) if look.problems else look for look in looks]
    for look in looks:
        for problem in look.problems:
            print(f"{look.mutant}: looked at again, alone: {problem}")
    for verdict in verdicts:
        passed = declared["mutants"][verdict.mutant]["status"] == "passed"
        as_it_must = "passes, as it must" if passed else f"caught by {', '.join(verdict.caught_by)}"
        print(f"{verdict.mutant}: {'SURVIVED' if verdict.problems else as_it_must}")
        print(f"  {verdict.said[:160]}")
        for problem in verdict.problems:
            print(f"  problem: {problem}")
    survived = sum(bool(verdict.problems) for verdict in verdicts)
    print(json.dumps({"system": system, "caught": len(verdicts) - survived, "survived": survived}))
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
