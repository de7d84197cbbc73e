"""Goes on saying that the database is gone once it was."""

import sys

from django.contrib.auth.models import User
from django.http import HttpRequest
from serving import api, database
from serving.__main__ import main

_right = api._user
_gone: list[BaseException] = []


def _user(request: HttpRequest) -> User:
    if _gone:
        raise database.GONE[0]("gone")
    try:
        return _right(request)
    except database.GONE as error:
        _gone.append(error)
        raise


api._user = _user

if __name__ == "__main__":
    sys.exit(main())
