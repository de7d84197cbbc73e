"""Lets in who has no key, or nobody's, as the first user."""

import sys

from django.contrib.auth.models import User
from django.http import HttpRequest
from serving import api
from serving.__main__ import main

_right = api._user


def _user(request: HttpRequest) -> User:
    try:
        return _right(request)
    except api.Refused:
        return User.objects.earliest("pk")


api._user = _user

if __name__ == "__main__":
    sys.exit(main())
