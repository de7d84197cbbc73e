"""Answers in HTML for a path that is none, and for a method that is none as if the path were none."""

import sys

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from serving import api, urls
from serving.__main__ import main

urls.handler404 = "spoiled.plain_errors.unknown"


def unknown(_: HttpRequest, *__: object, **___: object) -> HttpResponse:
    """Answer for a path that is none."""
    return HttpResponseNotFound("<h1>Not Found</h1>")


api.NO_METHOD = 404

if __name__ == "__main__":
    sys.exit(main())
