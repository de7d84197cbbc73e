"""Which path is which view."""

from __future__ import annotations

from django.urls import path

from serving import views
from serving.api import endpoint

urlpatterns = [
    path("ready", views.ready),
    path("api/quota", endpoint(GET=views.quota)),
    path("api/applications", endpoint(GET=views.applications, POST=views.new_application)),
    path("api/applications/<int:pk>", endpoint(GET=views.application, DELETE=views.delete_application)),
    path("api/applications/<int:pk>/models", endpoint(POST=views.new_model)),
    path("api/models/<int:pk>", endpoint(GET=views.model, DELETE=views.delete_model)),
    path("api/models/<int:pk>/versions", endpoint(POST=views.new_version)),
    path("api/models/<int:pk>/invoke", endpoint(POST=views.invoke_model)),
    path("api/versions/<int:pk>", endpoint(GET=views.version, DELETE=views.delete_version)),
    path("api/versions/<int:pk>/promote", endpoint(POST=views.promote)),
    path("api/versions/<int:pk>/scale", endpoint(POST=views.scale)),
    path("api/versions/<int:pk>/restart", endpoint(POST=views.restart)),
    path("api/versions/<int:pk>/logs", endpoint(GET=views.logs)),
    path("api/versions/<int:pk>/invoke", endpoint(POST=views.invoke_version)),
]
handler404 = "serving.api.unknown"
handler500 = "serving.api.failed"
