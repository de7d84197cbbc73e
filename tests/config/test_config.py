"""Where settings come from, which of them wins, and what is said of wrong ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.config import load_settings, read_sources
from harness.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Settings

SYSTEMS = """
[tool.harness.systems.one]
tests = "tests/one"
stacks = ["kafka", "web"]
default = "web"
[tool.harness.systems.two]
stacks = ["kafka", "web"]
[tool.harness.systems.three]
stacks = ["kafka"]
"""


def settings(
    root: Path,
    table: str = "",
    environ: Mapping[str, str] | None = None,
    /,
    **options: str | None,
) -> Settings:
    """Return the settings of a project with this ``[tool.harness]``."""
    (root / "pyproject.toml").write_text(f"[tool.harness]\n{table}\n")
    return load_settings(read_sources(root, environ or {}), options)


def stacks(root: Path, *names: str) -> None:
    """Make these files, empty."""
    for name in names:
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


LEVELS = ["command line", "HARNESS_", "pyproject", "default"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("name", "key", "values"),
    [
        ("keep", "keep", ("always", "on-failure", "always", "never")),
        ("engine", "engine", ("embedded", "auto", "embedded", "auto")),
        ("system", "default-system", ("one", "two", "three", "")),
    ],
)
def test_the_nearest_source_that_says_something_wins(
    tmp_path: Path, level: str, name: str, key: str, values: tuple[str, str, str, str]
) -> None:
    """A setting must come from the first of command line, HARNESS_*, pyproject.toml and default, and say so."""
    start = LEVELS.index(level)
    options = {name: values[0] if start == 0 else None}
    environ = {f"HARNESS_{name.upper()}": values[1] if start <= 1 else ""}
    table = f'{key} = "{values[2]}"\n' if start <= 2 else ""
    found = settings(tmp_path, table + SYSTEMS, environ, **options)
    chosen = (found.system.name if found.system else "") if name == "system" else getattr(found, name)
    assert chosen == values[start]
    origins = ["command line", f"HARNESS_{name.upper()}", str(tmp_path / "pyproject.toml"), "default"]
    assert found.origins[name] == origins[start]


@pytest.mark.parametrize(
    ("environ", "option", "stack", "origin"),
    [
        ({"HARNESS_STACK": "web"}, "kafka", "kafka", "command line"),
        ({"HARNESS_STACK": "web"}, None, "web", "HARNESS_STACK"),
        ({}, None, "", "default"),
    ],
)
def test_a_stack_is_named_by_the_caller_only(
    tmp_path: Path, environ: dict[str, str], option: str | None, stack: str, origin: str
) -> None:
    """The stack must come from the command line or HARNESS_STACK, and be none otherwise."""
    found = settings(tmp_path, SYSTEMS, environ, stack=option)
    assert (found.stack, found.origins["stack"]) == (stack, origin)


def test_folders_are_below_the_project(tmp_path: Path) -> None:
    """Folders must be as configured, from the project's folder, or have their default names."""
    found = settings(tmp_path, 'stack-folder = "stacks"\nlogs = "out"\n' + SYSTEMS, system="one")
    assert (found.stack_folder, found.logs) == (tmp_path / "stacks", tmp_path / "out")
    assert [system.tests for system in found.systems] == [tmp_path / "tests/one", tmp_path / "two", tmp_path / "three"]
    found = settings(tmp_path, "", {"HARNESS_LOGS": "elsewhere"})
    assert (found.stack_folder, found.logs) == (tmp_path / "compose", tmp_path / "elsewhere")
    assert settings(tmp_path, logs="/var/somewhere").logs == Path("/var/somewhere")


WRONG_TABLES = {
    "far key": ("zzz = 1", "[tool.harness]: key 'zzz' is not known"),
    "near key": ('stack-foldr = "x"', "[tool.harness]: key 'stack-foldr' is not known; did you mean 'stack-folder'?"),
    "type": ("engine = true", "[tool.harness]: engine is bool True, a str was needed"),
    "systems are a table": ('systems = "one"', "[tool.harness]: systems is str 'one', a dict was needed"),
    "a system is a table": ('systems = {one = "x"}', "[tool.harness]: systems.one is no table"),
    "key of a system": (
        '[tool.harness.systems.one]\nstack = ["x"]',
        "[tool.harness.systems.one]: key 'stack' is not known; did you mean 'stacks'?",
    ),
    "type in a system": (
        '[tool.harness.systems.one]\nstacks = "x"',
        "[tool.harness.systems.one]: stacks is str 'x', a list was needed",
    ),
}


@pytest.mark.parametrize(("table", "says"), WRONG_TABLES.values(), ids=list(WRONG_TABLES))
def test_a_wrong_table_is_told_with_its_place(tmp_path: Path, table: str, says: str) -> None:
    """A key or type that is wrong must be told with file, table, what was found and what was needed."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, table)
    assert (caught.value.summary, caught.value.exit_code) == (f"{tmp_path}/pyproject.toml: {says}", 10)


def test_all_problems_of_the_table_come_together(tmp_path: Path) -> None:
    """Every wrong key and type of every table must be in one error."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "keeep = 'never'\nlogs = 1\n[tool.harness.systems.one]\ntest = 'x'\ndefault = []")
    file = f"{tmp_path}/pyproject.toml"
    assert list(caught.value.problems) == [
        f"{file}: [tool.harness]: key 'keeep' is not known; did you mean 'keep'?",
        f"{file}: [tool.harness]: logs is int 1, a str was needed",
        f"{file}: [tool.harness.systems.one]: key 'test' is not known; did you mean 'tests'?",
        f"{file}: [tool.harness.systems.one]: default is list [], a str was needed",
    ]
    assert str(caught.value).startswith("4 problems: ")


@pytest.mark.parametrize(
    ("table", "environ", "options", "says"),
    [
        (
            "",
            {"HARNESS_ENGINE": "dokcer"},
            {},
            "Engine 'dokcer' (HARNESS_ENGINE) is not known; valid: auto, compose, embedded, attach",
        ),
        (
            'engine = "embeded"',
            {},
            {},
            "Engine 'embeded' ({file}) is not known; valid: auto, compose, embedded, attach; did you mean 'embedded'?",
        ),
        (
            "",
            {},
            {"keep": "on-failur"},
            (
                "Value of --keep 'on-failur' (command line) is not known; valid: never, on-failure, always; "
                "did you mean 'on-failure'?"
            ),
        ),
        (
            'keep = "no"',
            {},
            {},
            "Value of --keep 'no' ({file}) is not known; valid: never, on-failure, always",
        ),
        (
            SYSTEMS,
            {},
            {"system": "tow"},
            "System 'tow' (command line) is not known; there are: one, two, three; did you mean 'two'?",
        ),
        ('default-system = "x"', {}, {}, "System 'x' ({file}) is not known; there are: none"),
    ],
)
def test_a_wrong_value_is_told_with_its_origin(
    tmp_path: Path, table: str, environ: dict[str, str], options: dict[str, str], says: str
) -> None:
    """A value that is not known must be told with where it came from, those that are, and the nearest."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, table, environ, **options)
    assert caught.value.summary == says.replace("{file}", f"{tmp_path}/pyproject.toml")
    assert caught.value.exit_code == 10


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[tool.harness", "cannot be read: "),
        (b"a = '\xff'", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (b"[tool]\nharness = []", "[tool.harness] is a list, a table was needed"),
    ],
)
def test_a_broken_pyproject_is_told(tmp_path: Path, content: bytes, says: str) -> None:
    """A pyproject.toml that cannot be read must be refused, from a folder below it as well."""
    (tmp_path / "pyproject.toml").write_bytes(content)
    (tmp_path / "below").mkdir()
    with pytest.raises(ConfigError) as caught:
        read_sources(tmp_path / "below", {})
    assert says in caught.value.summary
    assert caught.value.summary.startswith(f"{tmp_path}/pyproject.toml")
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "tool = 3\n", "[tool.other]\nharness = 1\n"])
def test_a_pyproject_of_somebody_else_is_passed_by(tmp_path: Path, text: str) -> None:
    """A pyproject.toml without our table must not be the project; the one above that has it is."""
    (tmp_path / "pyproject.toml").write_text('[tool.harness]\nkeep = "always"\n')
    below = tmp_path / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text(text)
    sources = read_sources(below, {})
    assert (sources.root, sources.table) == (tmp_path, {"keep": "always"})


@pytest.mark.parametrize("name", ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"])
def test_a_folder_with_a_compose_file_is_a_project(tmp_path: Path, name: str) -> None:
    """Without our table the nearest folder upwards with a Compose file must be the project, and that its stack."""
    stacks(tmp_path, name)
    (tmp_path / "a" / "b").mkdir(parents=True)
    found = load_settings(read_sources(tmp_path / "a" / "b", {}))
    assert (found.root, found.system, found.systems) == (tmp_path, None, ())
    assert found.default_stack() == f"./{name}"
    assert found.stack_files(found.default_stack()) == (tmp_path / name,)


def test_an_empty_table_makes_a_project(tmp_path: Path) -> None:
    """A [tool.harness] with nothing in it must be enough to be the project, below another one as well."""
    (tmp_path / "pyproject.toml").write_text('[tool.harness]\nkeep = "always"\n')
    below = tmp_path / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text("[tool.harness]\n")
    assert read_sources(below, {}).root == below


def test_a_folder_with_nothing_is_its_own_project(tmp_path: Path) -> None:
    """Where nothing is found, the folder itself must be the project, with every default."""
    sources = read_sources(tmp_path, {"A": "1"})
    assert (sources.root, dict(sources.environ), sources.table) == (tmp_path, {"A": "1"}, {})
    found = load_settings(sources)
    assert (found.engine, found.keep, found.stack, found.system) == ("auto", "never", "", None)
    assert set(found.origins.values()) == {"default"}


@pytest.mark.parametrize(
    ("table", "files", "options", "chosen"),
    [
        (SYSTEMS, (), {"system": "two", "stack": "kafka"}, "kafka"),
        (SYSTEMS, (), {"system": "one"}, "web"),
        (SYSTEMS, (), {"system": "three"}, "kafka"),
        ('default-system = "one"\n' + SYSTEMS, (), {}, "web"),
        ('[tool.harness.systems.only]\nstacks = ["kafka"]', (), {}, "kafka"),
        ("", ("compose.yml", "compose.yaml"), {}, "./compose.yaml"),
        ("", ("compose.yaml", "compose/other.yaml"), {}, "./compose.yaml"),
        ("", ("compose/other.yml",), {}, "other"),
    ],
)
def test_the_default_stack_is_the_configured_or_the_only_one(
    tmp_path: Path, table: str, files: tuple[str, ...], options: dict[str, str], chosen: str
) -> None:
    """Without a name the stack must be the configured one, or the only one that there is."""
    stacks(tmp_path, *files)
    assert settings(tmp_path, table, **options).default_stack() == chosen


@pytest.mark.parametrize(
    ("table", "files", "options", "there_are"),
    [
        (SYSTEMS, (), {"system": "two"}, "kafka, web"),
        ("", ("compose/b.yaml", "compose/a.yml", "compose/notes.txt"), {}, "a, b"),
        ("", (), {}, "none"),
        (SYSTEMS, ("compose/b.yaml", "compose/a.yaml"), {}, "a, b"),
    ],
)
def test_several_stacks_without_a_default_are_listed(
    tmp_path: Path, table: str, files: tuple[str, ...], options: dict[str, str], there_are: str
) -> None:
    """Where several stacks could be meant, or none, the error must list them and say what to do."""
    stacks(tmp_path, *files)
    found = settings(tmp_path, table, **options)
    with pytest.raises(ConfigError) as caught:
        found.default_stack()
    next_ = "give --stack NAME, or set default in [tool.harness.systems.<system>]"
    if table == SYSTEMS and not options:  # several systems, and none is chosen
        next_ = "give --system one|two|three, --stack NAME, or set default-system in [tool.harness]"
    if there_are == "none":
        next_ = f"`harness new --stack NAME` makes one in {tmp_path}; or go to a folder with a Compose file"
    assert str(caught.value) == f"No stack was named and none is the default; there are: {there_are}\nnext: {next_}"
    assert caught.value.exit_code == 10


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("kafka", "compose/kafka.yaml"),
        ("web", "compose/web.yml"),
        ("compose/web.yml", "compose/web.yml"),
        ("other.yaml", "other.yaml"),
        ("./other.yaml", "other.yaml"),
    ],
)
def test_a_stack_is_a_name_or_a_file(tmp_path: Path, name: str, file: str) -> None:
    """A stack must be found by its name in the stack folder, or by its path from the project's folder."""
    stacks(tmp_path, "compose/kafka.yaml", "compose/web.yml", "other.yaml")
    assert settings(tmp_path).stack_files(name) == (tmp_path / file,)


def test_an_unknown_stack_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    """An unknown name must list the known ones, the nearest, and where a new one goes; an unknown path its file."""
    stacks(tmp_path, "compose/kafka.yaml", "compose/web.yml")
    found = settings(tmp_path)
    with pytest.raises(ConfigError) as caught:
        found.stack_files("kafak")
    assert str(caught.value) == (
        "Stack 'kafak' is not known; there are: kafka, web; did you mean 'kafka'?\n"
        f"next: write {tmp_path}/compose/kafak.yaml, or name a Compose file by its path"
    )
    with pytest.raises(ConfigError) as caught:
        found.stack_files("./kafak.yml")
    assert caught.value.summary == f"Compose file {tmp_path}/kafak.yml does not exist"


def test_the_state_folder_is_the_users_runtime_folder(tmp_path: Path) -> None:
    """State must be in XDG_RUNTIME_DIR when that is a folder, else in a folder of this user below the temporary one."""
    assert read_sources(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path)}).state == tmp_path / "harness"
    fallback = read_sources(tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path / "none")}).state
    assert fallback == read_sources(tmp_path, {}).state
    assert fallback.parent == Path(tempfile.gettempdir())
    assert fallback.name.startswith("harness-")


def test_composes_own_choice_of_files_is_taken(tmp_path: Path) -> None:
    """Without a system, COMPOSE_FILE, else the default file with its override, must be the stack."""
    for name in ("compose.yaml", "compose.override.yaml", "b.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    found = settings(tmp_path)
    assert [path.name for path in found.stack_files(found.default_stack())] == ["compose.yaml", "compose.override.yaml"]
    found = settings(tmp_path, "", {"COMPOSE_FILE": "compose.yaml:b.yaml", "COMPOSE_PROFILES": "one, two"})
    assert [path.name for path in found.stack_files(found.default_stack())] == ["compose.yaml", "b.yaml"]
    assert (found.profiles, found.origins["profile"]) == (("one", "two"), "COMPOSE_PROFILES")


def test_a_matrix_that_is_not_there_is_told_to_whoever_asks_for_it(tmp_path: Path) -> None:
    """A copy of a project that leaves out a declared matrix must be usable; only who wants the matrix is told."""
    for asked in ("", "m"):
        found = settings(tmp_path, '[tool.harness.matrices]\nm = "not/here"', {"HARNESS_MATRIX": asked})
        with pytest.raises(ConfigError) as caught:
            found.matrix_file()
        assert f"{tmp_path}/not/here ([tool.harness.matrices]) does not exist".removeprefix("/") in caught.value.summary
