"""The paths of the application. Every answer is JSON; one that is no success is ``{"error": "why"}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, abort, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from petsearch.store import WINDOW, EngineDownError, PetExistsError, UnknownOwnerError

if TYPE_CHECKING:
    from flask import Response

    from petsearch.store import Store

LARGEST = 1000
"""So many pets a page may have."""


class _Name(BaseConverter):
    """A name in a path: of any characters, slashes and line ends among them."""

    regex = "(?s:.+?)"
    part_isolating = False
    weight = 200  # what follows a name is looked at before it is taken for a part of the name


def make_app(store: Store) -> Flask:
    """Return the application on a store."""
    app = Flask("petsearch")
    app.url_map.merge_slashes = False
    app.url_map.converters["name"] = _Name
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    _tell_errors(app)

    @app.get("/")
    def hello() -> Response:
        return jsonify(message="hello")

    @app.get("/owner/<name:name>")
    def owner(name: str) -> Response:
        return jsonify(store.owner(_no_blank(name, "name of an owner")))

    @app.get("/owner/<name:name>/pets")
    def pets(name: str) -> Response:
        page, size = _number("page", 1), _number("size", 10, LARGEST)
        if page * size > WINDOW:
            abort(400, f"page {page} of {size} ends beyond pet {WINDOW}, the last that can be counted to")
        found = store.pets(_no_blank(name, "name of an owner"), page, size)
        return jsonify(owner=name, page=page, size=size, total=found.total, pets=found.pets)

    @app.post("/owner/<name:name>/pets")
    def add(name: str) -> tuple[Response, int]:
        pet = request.get_json(force=True, silent=True)
        if not isinstance(pet, dict):
            abort(400, "the body is no JSON object")
        given = {key: _text(pet, key) for key in ("name", "kind")}
        return jsonify(store.add(_no_blank(name, "name of an owner"), given["name"], given["kind"])), 201

    return app


def _number(key: str, default: int, most: int = WINDOW) -> int:
    """Return a number of the query. Aborts with 400 unless it is from 1 to ``most``."""
    written = request.args.get(key, str(default))
    # int() takes underscores, signs and the digits of every script; more digits than these are too many in any case.
    number = int(written) if written.isascii() and written.isdecimal() and len(written) < 8 else 0
    if not 1 <= number <= most:
        abort(400, f"{key} is {written!r}, a number from 1 to {most} was needed")
    return number


def _text(table: dict[str, Any], key: str) -> str:
    if not isinstance(table.get(key), str):
        abort(400, f"{key} is {table.get(key)!r}, a text was needed")
    return _no_blank(table[key], key)


def _no_blank(text: str, of: str) -> str:
    if not text.strip():
        abort(400, f"the {of} is empty")
    return text


def _tell_errors(app: Flask) -> None:
    def refused(error: HTTPException) -> tuple[Response, int, dict[str, str]]:
        allowed = getattr(error, "valid_methods", None)
        headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
        return jsonify(error=error.description), error.code or 500, headers

    def unknown(error: UnknownOwnerError) -> tuple[Response, int]:
        return jsonify(error=f"there is no owner {str(error)!r}"), 404

    def exists(error: PetExistsError) -> tuple[Response, int]:
        return jsonify(error=f"there is a pet {str(error)!r} already"), 409

    def down(error: EngineDownError) -> tuple[Response, int]:
        app.logger.warning("%s %s: %s", request.method, request.path, error)
        return jsonify(error=str(error)), 503

    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(UnknownOwnerError, unknown)
    app.register_error_handler(PetExistsError, exists)
    app.register_error_handler(EngineDownError, down)
