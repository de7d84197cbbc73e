#!/bin/sh
# Makes the database that POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB name, once, and becomes the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo "POSTGRES_PASSWORD is not set" >&2
        exit 1
    fi
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    word=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:-unused}" > "$word"
    # shellcheck disable=SC2086 # several options
    initdb -U "$user" --pwfile="$word" --auth-local=trust --auth-host="$method" ${POSTGRES_INITDB_ARGS:-}
    rm "$word"
    echo "host all all all $method" >> "$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s"\n' "$database" | postgres --single -D "$PGDATA" postgres
    fi
fi
case ${1:-} in
    postgres) shift ;;
    -* | "") ;;
    *) exec "$@" ;;
esac
exec postgres -c listen_addresses='*' "$@"
