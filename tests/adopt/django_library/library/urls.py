from django.db import connection
from django.http import JsonResponse
from django.urls import path

from library.models import Book


def ready(request):
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return JsonResponse({"ready": True})


def books(request):
    return JsonResponse({"books": list(Book.objects.order_by("id").values("title", "lent"))})


urlpatterns = [path("ready", ready), path("books", books)]
