"""Notes that are kept in PostgreSQL, and counted in Redis."""

import config
import psycopg
import redis
from flask import Flask, jsonify, request

app = Flask(__name__)
cache = redis.Redis.from_url(config.REDIS_URL, decode_responses=True)


def connect():
    return psycopg.connect(config.DATABASE_URL, autocommit=True)


def create_tables():
    with connect() as db:
        db.execute("create table if not exists note (id serial primary key, text text not null)")


@app.get("/health")
def health():
    with connect() as db:
        db.execute("select 1")
    cache.ping()
    return jsonify(status="ok")


@app.post("/notes")
def add():
    create_tables()
    with connect() as db:
        row = db.execute("insert into note (text) values (%s) returning id", (request.json["text"],)).fetchone()
    cache.incr("written")
    return jsonify(id=row[0]), 201


@app.get("/notes")
def every():
    create_tables()
    with connect() as db:
        rows = db.execute("select id, text from note order by id").fetchall()
    return jsonify([{"id": number, "text": text} for number, text in rows])


@app.get("/stats")
def stats():
    return jsonify(written=int(cache.get("written") or 0))
