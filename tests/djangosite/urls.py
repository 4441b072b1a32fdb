"""The site's URLs: a list in pages, the admin, and a WSGI application beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.views.generic import ListView

from mlssocial import Results, for_user
from mlssocial.django.paginator import CursorPaginationMixin
from mlssocial.django.shortcuts import get_item_or_404
from mlssocial.django.wsgi import StaffWSGIView


class Listings(CursorPaginationMixin, ListView):
    """A user's listings, two at a time."""

    template_name = "listings.html"
    paginate_by = 2

    def get_queryset(self) -> Results[Any]:
        return for_user(self.kwargs["user_id"]).listings.query()


def listing(request: HttpRequest, user_id: str, listing_id: str) -> HttpResponse:
    return HttpResponse(get_item_or_404(for_user(user_id).listings, listing_id).data.description)


def echo(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Say what a WSGI application was asked; a Content-Security-Policy and two cookies go with it."""
    headers = [("Content-Type", "text/plain"), ("Content-Security-Policy", "default-src 'none'")]
    start("203 Echoed", [*headers, ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly")])
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "wsgi.url_scheme")
    return [f"{name}={environ[name].encode('latin-1').decode()}\n".encode() for name in names]


beside = [re_path(r"^(?P<path>.*)$", StaffWSGIView.as_view(application=echo))]

urlpatterns = [
    path("users/<user_id>/", Listings.as_view()),
    path("users/<user_id>/<listing_id>/", listing),
    path("admin/echo/", include(beside)),
    path("admin/listings/", include("mlssocial.django.browse")),
    path("admin/", admin.site.urls),
]
