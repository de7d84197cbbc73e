"""The files of CI services, as text. Their only command of the project's is Nox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.recipes.modes import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.recipes.modes import Suite

ARCHIVE = "images.tar.zst"
MINUTES = 30
"""How long a suite may take; what it wrote until then is kept."""

# An action is pinned by its commit, since a tag can be moved.
ACTIONS = {
    "checkout": "11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2",
    "cache/restore": "5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "cache/save": "5a3ec84eff668545956fd18022155c47e93e2684 # v4.2.3",
    "setup-python": "a26af69be951a213d495a4c3e4e4022e16d87065 # v5.6.0",
    "upload-artifact": "ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "download-artifact": "d3f86a106a0bac45b974a628896c90dbdf5c8093 # v4.3.0",
}
GITHUB_RUNNER = "ubuntu-24.04"
GITLAB_ENGINE = "docker:28.3.3-dind"
CIRCLECI_MACHINE = "ubuntu-2404:2025.09.1"

STATE = ".harness-state"
"""The folder, in a job's checkout, of what is kept from one run to the next: how suites stood, and how tests ended."""

KEPT = {"HARNESS_NOTICES_STATE": f"{STATE}/notices.json", "HARNESS_FLAKES": f"{STATE}/flakes.json"}
INSTALL = "python -m pip install --quiet 'nox[uv]'"
SAVE = f"python -m nox -s images -- save {ARCHIVE}"
LOAD = f"python -m nox -s images -- load {ARCHIVE}"


@dataclass(frozen=True)
class Recipe:
    """What a CI service is to do.

    Attributes:
        suites: suite -> on what it runs there.
        python: the version of Python, such as ``3.12``.
        logs: the folder of runs, relative to the project's.
        schedule: whether suites also run every half an hour, so that somebody is told when one turns red.
        secrets: variables with the URLs of those who are told.
        left_out: systems that get no job there, and what their local processes would need.
    """

    suites: tuple[tuple[Suite, Mode], ...]
    python: str = "3.12"
    logs: str = "logs"
    schedule: bool = False
    secrets: tuple[str, ...] = ()
    left_out: tuple[Suite, ...] = ()

    def of(self, mode: Mode) -> list[Suite]:
        """Return the suites that run on ``mode``."""
        return [suite for suite, its in self.suites if its is mode]

    @property
    def modes(self) -> list[Mode]:
        """On what suites run at all."""
        return [mode for mode in Mode if self.of(mode)]

    def saves(self, mode: Mode) -> bool:
        """Return whether images of suites on ``mode`` are built before, by a job of its own."""
        return mode is not Mode.EMBEDDED and any(suite.builds for suite in self.of(mode))


def path_of(ci: str) -> str:
    """Return where a CI service looks for its file in a project."""
    return _PATHS[ci]


def text_of(ci: str, recipe: Recipe) -> str:
    """Return the file of a CI service."""
    left_out = [
        f"# No job for {suite.system}: it can neither have containers nor {', '.join(suite.needs)} there."
        for suite in recipe.left_out
    ]
    return _file(ci, [*left_out, *_WRITERS[ci](recipe)])


def more_of(ci: str, recipe: Recipe) -> dict[str, str]:
    """Return the other files of a CI service, by where it looks for them: GitHub has one for the schedule."""
    return {SCHEDULED: _file(ci, _github_schedule(recipe))} if ci == "github" and recipe.schedule else {}


def _file(ci: str, lines: Sequence[str]) -> str:
    head = [
        f"# Written by `harness new --ci {ci}`, of the systems in pyproject.toml;",
        f"# `harness new --ci {ci} --check` tells whether it still is what would be written.",
    ]
    return "\n".join([*head, *lines]) + "\n"


def job_of(recipe: Recipe, mode: Mode) -> str:
    """Return the name of the job of suites on ``mode``, which has the mode in it where there are several."""
    return "integration" if len(recipe.modes) == 1 else f"integration-{mode.name.lower()}"


def _suite(mode: Mode, system: str) -> str:
    # In place of the shell: so it is Nox that hears of a job that is cancelled, and gives back what it has.
    words = f"{system} {mode.value}" if system else mode.value
    return f"exec python -m nox -s integration -- {words}"


def _names(suites: Sequence[Suite]) -> str:
    return ", ".join(suite.system for suite in suites)


# -- GitHub Actions ----------------------------------------------------------------------------------------------------


def _github(recipe: Recipe) -> list[str]:
    lines = [
        "name: integration",
        "on:",
        "  push: {branches: [main, master]}",
        "  pull_request:",
        "  workflow_dispatch:",
        "permissions: {contents: read}",
        "concurrency:",
        "  group: ${{ github.workflow }}-${{ github.ref }}",
        "  cancel-in-progress: true",
        "jobs:",
    ]
    if any(recipe.saves(mode) for mode in recipe.modes):
        lines += [
            *_github_job("images", recipe),
            f"      - run: {SAVE}",
            *_action("upload-artifact", f"name: images, path: {ARCHIVE}, retention-days: 1, compression-level: 0"),
        ]
    for mode in recipe.modes:
        lines += _github_suites(recipe, mode)
    return lines


def _github_suites(recipe: Recipe, mode: Mode) -> list[str]:
    job, suites = job_of(recipe, mode), recipe.of(mode)
    system = "${{ matrix.system }}" if suites[0].system else ""
    matrix = ["    strategy:", "      fail-fast: false", f"      matrix: {{system: [{_names(suites)}]}}"]
    needs = ["    needs: images"] if recipe.saves(mode) else []
    load = [*_action("download-artifact", "name: images"), f"      - run: {LOAD}"] if recipe.saves(mode) else []
    logs = f"logs-{job}-{system}" if system else f"logs-{job}"
    return [
        *_github_job(job, recipe, [*needs, *(matrix if system else ())]),
        *load,
        f"      - run: {_suite(mode, system)}",
        f"        timeout-minutes: {MINUTES} # sooner than the job's, so that the logs are kept then, too",
        *_github_logs(recipe, logs),
    ]


def _github_schedule(recipe: Recipe) -> list[str]:
    """Every half an hour on the main branch, which is where GitHub runs schedules, and by hand on any."""
    suite, mode = recipe.suites[0]
    branch = f"{STATE}-${{{{ github.ref_name }}}}-"
    attempt = "${{ github.run_id }}-${{ github.run_attempt }}"  # no cache can be written twice
    state = f'path: {STATE}, key: "{branch}{attempt}"'
    minutes = MINUTES * len(recipe.suites)
    return [
        "name: integration-schedule",
        "on:",
        '  schedule: [{cron: "*/30 * * * *"}]',
        "  workflow_dispatch:",
        "permissions: {contents: read}",
        "concurrency: # one after the other: each knows how the one before it ended",
        "  group: ${{ github.workflow }}-${{ github.ref }}",
        "  cancel-in-progress: false",
        "jobs:",
        *_github_job("integration", recipe, minutes=minutes),
        *_action("cache/restore", f'{state}, restore-keys: "{branch}"'),
        f"      - run: {_suite(mode, 'all' if suite.system else '')}",
        f"        timeout-minutes: {minutes} # sooner than the job's, so that the logs are kept then, too",
        "        env:",
        *(f"          {name}: {value}" for name, value in KEPT.items()),
        *(f"          {name}: ${{{{ secrets.{name} }}}}" for name in recipe.secrets),
        *_action("cache/save", state, "if: ${{ !cancelled() }}"),
        *_github_logs(recipe, "logs-integration"),
    ]


def _github_logs(recipe: Recipe, name: str) -> list[str]:
    return [
        *_action("upload-artifact", "", "if: ${{ !cancelled() }}"),
        "        with:",
        f"          name: {name}",
        "          path: |",
        f"            {recipe.logs}/",
        f"            !{recipe.logs}/latest/**",
        "          retention-days: 7",
    ]


def _github_job(name: str, recipe: Recipe, more: Sequence[str] = (), *, minutes: int = MINUTES) -> list[str]:
    return [
        f"  {name}:",
        *more,
        f"    runs-on: {GITHUB_RUNNER}",
        f"    timeout-minutes: {minutes + 15}",
        "    steps:",
        *_action("checkout", "persist-credentials: false"),
        *_action("setup-python", f'python-version: "{recipe.python}"'),
        f"      - run: {INSTALL}",
    ]


def _action(name: str, given: str, condition: str = "") -> list[str]:
    lines = [f"      - uses: actions/{name}@{ACTIONS[name]}"]
    lines += [f"        {condition}"] if condition else []
    return lines + ([f"        with: {{{given}}}"] if given else [])


# -- GitLab ------------------------------------------------------------------------------------------------------------


def _gitlab(recipe: Recipe) -> list[str]:
    saves = any(recipe.saves(mode) for mode in recipe.modes)
    lines = [
        f"stages: [{'images, ' if saves else ''}integration]",
        "workflow:",
        "  auto_cancel: {on_new_commit: interruptible}",
        "default:",
        f"  image: python:{recipe.python}",
        "  interruptible: true",
    ]
    if Mode.INSIDE in recipe.modes:
        lines += [
            ".engine: # a machine beside the job's; the suite runs in a container there",
            f"  services: [{{name: {GITLAB_ENGINE}, alias: docker}}]",
            "  variables:",
            "    DOCKER_HOST: tcp://docker:2376",
            "    DOCKER_TLS_CERTDIR: /certs",
            '    DOCKER_TLS_VERIFY: "1"',
            "    DOCKER_CERT_PATH: /certs/client",
        ]
    if saves:
        lines += [
            "images:",
            "  stage: images",
            "  extends: .engine",
            f"  timeout: {MINUTES} minutes",
            "  script:",
            f"    - {INSTALL}",
            f"    - {SAVE}",
            f"  artifacts: {{paths: [{ARCHIVE}], expire_in: 1 day}}",
        ]
    for mode in recipe.modes:
        lines += _gitlab_suites(recipe, mode)
    return lines


def _gitlab_suites(recipe: Recipe, mode: Mode) -> list[str]:
    suites, logs = recipe.of(mode), recipe.logs
    system = '"$SYSTEM"' if suites[0].system else ""
    return [
        f"{job_of(recipe, mode)}:",
        "  stage: integration",
        *(["  extends: .engine"] if mode is Mode.INSIDE else []),
        f"  needs: [{'images' if recipe.saves(mode) else ''}]",
        *(["  parallel:", f"    matrix: [{{SYSTEM: [{_names(suites)}]}}]"] if system else []),
        f"  timeout: {MINUTES} minutes",
        *_gitlab_state(recipe),
        "  script:",
        f"    - {INSTALL}",
        *([f"    - {LOAD}"] if recipe.saves(mode) else []),
        f"    - {_suite(mode, system)}",
        "  retry: {max: 1, exit_codes: [11, 12]} # the engine did not answer, or a stack broke: no test failed",
        "  artifacts:",
        "    when: always",
        "    expire_in: 1 week",
        f"    paths: [{logs}/]",
        f"    reports: {{junit: {logs}/*/junit.xml}}",
    ]


def _gitlab_state(recipe: Recipe) -> list[str]:
    """Return what has the state kept. The schedule itself is the project's, and so are its variables."""
    if not recipe.schedule:
        return []
    return [
        "  variables:",
        *(f"    {name}: {value}" for name, value in KEPT.items()),
        "  cache: # every 30 minutes: Build > Pipeline schedules, */30 * * * *; each knows how the one before it ended",
        f"    key: {STATE}-$CI_COMMIT_REF_SLUG-$CI_JOB_NAME_SLUG",
        f"    paths: [{STATE}/]",
        "    when: always",
    ]


# -- CircleCI ----------------------------------------------------------------------------------------------------------


def _circleci(recipe: Recipe) -> list[str]:
    saving = [mode for mode in recipe.modes if recipe.saves(mode)]
    lines = ["version: 2.1", "jobs:"]
    if saving:
        lines += [
            *_circleci_job("images", recipe, saving[0]),
            f"      - run: {SAVE}",
            f"      - persist_to_workspace: {{root: ., paths: [{ARCHIVE}]}}",
        ]
    for mode in recipe.modes:
        lines += _circleci_suites(recipe, mode)
    jobs = ["    jobs:", *(["      - images"] if saving else []), *_circleci_jobs(recipe)]
    lines += ["workflows:", "  integration:", *jobs]
    if recipe.schedule:
        only = '{schedule: {cron: "0,30 * * * *", filters: {branches: {only: [main, master]}}}}'
        lines += ["  integration-schedule:", f"    triggers: [{only}]", *jobs]
    return lines


def _circleci_jobs(recipe: Recipe) -> list[str]:
    """Return the jobs of suites in a workflow."""
    lines = []
    for mode in recipe.modes:
        given = ["          requires: [images]"] if recipe.saves(mode) else []
        systems = _names(recipe.of(mode))
        given += [f"          matrix: {{parameters: {{system: [{systems}]}}}}"] if systems else []
        lines += [f"      - {job_of(recipe, mode)}{':' if given else ''}", *given]
    return lines


def _circleci_suites(recipe: Recipe, mode: Mode) -> list[str]:
    system = "<< parameters.system >>" if recipe.of(mode)[0].system else ""
    parameters = ["    parameters: {system: {type: string}}"] if system else []
    key = f"{STATE}-{{{{ .Branch }}}}-{job_of(recipe, mode)}{f'-{system}' if system else ''}"
    restore = [f'      - restore_cache: {{keys: ["{key}-"]}}'] if recipe.schedule else []
    saved = f'{{key: "{key}-{{{{ epoch }}}}", paths: [{STATE}], when: always}}'
    save = [f"      - save_cache: {saved}"] if recipe.schedule else []
    load = ["      - attach_workspace: {at: .}", f"      - run: {LOAD}"] if recipe.saves(mode) else []
    return [
        *_circleci_job(job_of(recipe, mode), recipe, mode, parameters),
        *load,
        *restore,
        f"      - run: {_suite(mode, system)}",
        *save,
        f"      - store_test_results: {{path: {recipe.logs}}}",
        f"      - store_artifacts: {{path: {recipe.logs}}}",
    ]


def _circleci_job(name: str, recipe: Recipe, mode: Mode, more: Sequence[str] = ()) -> list[str]:
    kept = recipe.schedule and name != "images"
    container = f"    docker: [{{image: cimg/python:{recipe.python}}}]"
    return [
        f"  {name}:",
        *more,
        *(["    environment:", *(f"      {name}: {value}" for name, value in KEPT.items())] if kept else []),
        f"    machine: {{image: {CIRCLECI_MACHINE}}}" if mode is Mode.COMPOSE else container,
        "    steps:",
        "      - checkout",
        *(["      - setup_remote_docker"] if mode is Mode.INSIDE else []),
        f"      - run: {INSTALL}",
    ]


SCHEDULED = ".github/workflows/integration-schedule.yml"
_PATHS = {"github": ".github/workflows/integration.yml", "gitlab": ".gitlab-ci.yml", "circleci": ".circleci/config.yml"}
_WRITERS: dict[str, Callable[[Recipe], list[str]]] = {"github": _github, "gitlab": _gitlab, "circleci": _circleci}
CIS = tuple(_PATHS)
"""The CI services that there are recipes for."""
