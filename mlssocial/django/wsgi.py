"""A WSGI application below one of the site's URLs, for staff alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@method_decorator([staff_member_required, never_cache], name="dispatch")
class StaffWSGIView(View):
    """
    Serves a read-only WSGI application to members of staff; others are sent to the admin's login.

    ``re_path(r"^(?P<path>.*)$", StaffWSGIView.as_view(application=app))`` in a urlconf of its own, which is included where the
    application is to stand. It takes GET and HEAD, and works under ASGI too.
    """

    application: Application | None = None
    http_method_names = ["get", "head"]  # noqa: RUF012  Django's own is a list

    def get(self, request: HttpRequest, path: str) -> HttpResponse:
        """Ask the application."""
        if self.application is None:
            raise TypeError("as_view(application=...) is needed: a WSGI application")
        response = HttpResponse()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:  # noqa: ARG001
            code, _, response.reason_phrase = status.partition(" ")
            response.status_code = int(code)
            _take_headers(response, headers)
            write: Callable[[bytes], object] = response.write
            return write

        body = self.application(_environ(request, path), start)
        try:
            for part in body:
                response.write(part)
        finally:
            getattr(body, "close", lambda: None)()
        return response

    head = get


def _environ(request: HttpRequest, path: str) -> dict[str, Any]:
    """Make the environment of the request as it looks from below the application's URL."""
    mount = request.path.removesuffix(path).rstrip("/")
    return {name: value for name, value in request.META.items() if not name.startswith("wsgi.")} | {
        "SCRIPT_NAME": _as_wsgi(mount),
        "PATH_INFO": _as_wsgi(f"/{path}"),
        "SERVER_PROTOCOL": request.META.get("SERVER_PROTOCOL", "HTTP/1.1"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }


def _as_wsgi(text: str) -> str:
    """Write text as WSGI wants it: its UTF-8, as Latin-1. https://peps.python.org/pep-3333/#unicode-issues."""
    return text.encode().decode("latin-1")


def _take_headers(response: HttpResponse, headers: list[tuple[str, str]]) -> None:
    del response["Content-Type"]
    for name, value in headers:
        if name.lower() == "set-cookie":
            response.cookies.load(value)
        else:
            response[name] = value
