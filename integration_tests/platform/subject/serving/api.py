"""JSON in and out. What is no success is ``{"error": "why"}``, and a field that is wrong is named in it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import RequestDataTooBig
from django.http import JsonResponse

from serving.database import GONE
from serving.models import NAME_LENGTH, ApiKey

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import HttpRequest, HttpResponse

BAD_REQUEST, UNAUTHORIZED, NO_METHOD, TOO_LARGE, UNAVAILABLE = 400, 401, 405, 413, 503
_log = logging.getLogger("serving")


class Refused(Exception):
    """A request is answered by an error: a status, words, and what else is told."""

    def __init__(self, status: int, words: str, **others: object) -> None:
        super().__init__(words)
        self.status, self.others = status, others


@dataclass(frozen=True)
class Asked:
    """A request of a user."""

    user: User
    request: HttpRequest

    def body(self, *names: str) -> dict[str, Any]:
        """Return the JSON object of the request, which may have these members. Raises Refused."""
        try:
            document = json.loads(self.request.body)
        except RequestDataTooBig as error:
            raise Refused(TOO_LARGE, "the body is larger than 1 MiB") from error
        except (ValueError, RecursionError) as error:
            raise Refused(BAD_REQUEST, "the body is no JSON") from error
        if not isinstance(document, dict):
            raise Refused(BAD_REQUEST, "the body is no JSON object")
        if unknown := sorted(set(document) - set(names)):
            raise Refused(BAD_REQUEST, f"{unknown[0]!r} is no field; there are: {', '.join(names)}")
        return document

    def name(self) -> str:
        """Return the name in the body, which is all that it has. Raises Refused."""
        name = self.body("name").get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH:
            raise Refused(BAD_REQUEST, f"name must be a text of 1 to {NAME_LENGTH} characters")
        if not all(character.isprintable() for character in name):
            raise Refused(BAD_REQUEST, "name has a character that cannot be shown")
        return name.strip()

    def number(self, key: str, default: int, most: int) -> int:
        """Return a number from 1 to ``most`` of the query. Raises Refused."""
        written = self.request.GET.get(key, str(default))
        number = int(written) if written.isascii() and written.isdecimal() and len(written) < 8 else 0
        if not 1 <= number <= most:
            raise Refused(BAD_REQUEST, f"{key} is {written!r}, a number from 1 to {most} was needed")
        return number


Answer = tuple[int, dict[str, Any]]
Method = Callable[..., Answer]


def endpoint(**methods: Method) -> Callable[..., HttpResponse]:
    """Return a view of Django for methods, each a function of what is asked and the ids in the path."""

    def view(request: HttpRequest, **ids: int) -> HttpResponse:
        try:
            method = methods.get(request.method)
            if method is None:
                raise Refused(NO_METHOD, f"there is no {request.method} here")  # noqa: TRY301 - told as any other
            status, document = method(Asked(_user(request), request), **ids)
        except Refused as error:
            response = JsonResponse({"error": str(error), **error.others}, status=error.status)
            if error.status == NO_METHOD:
                response["Allow"] = ", ".join(sorted(methods))
            if error.status == UNAUTHORIZED:
                response["WWW-Authenticate"] = "Bearer"
            return response
        except GONE as error:
            _log.warning("%s %s: %s", request.method, request.path, " ".join(str(error).split()))
            return JsonResponse({"error": "the database cannot be reached; try again later"}, status=UNAVAILABLE)
        return JsonResponse(document, status=status)

    # No cookie of a browser is ever looked at, so there is nothing that another site could use.
    view.csrf_exempt = True  # type: ignore[attr-defined]
    return view


def _user(request: HttpRequest) -> User:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        raise Refused(UNAUTHORIZED, "an API key was needed: Authorization: Bearer KEY")
    user = ApiKey.owner(key.strip())
    if user is None:
        raise Refused(UNAUTHORIZED, "the API key is nobody's")
    return user


def unknown(_: HttpRequest, *__: object, **___: object) -> HttpResponse:
    """Answer for a path that is none."""
    return JsonResponse({"error": "there is no such path"}, status=404)


def failed(_: HttpRequest) -> HttpResponse:
    """Answer for a fault of the platform's own; the log has it."""
    return JsonResponse({"error": "the platform failed; its log says why"}, status=500)
