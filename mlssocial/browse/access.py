"""Who may see the pages, and what a browser may do with them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from typing import cast

from flask import Response, abort, g, redirect, request

from mlssocial.tokens import Secret

from .links import link

PARAMETER = "token"
"""What the access token is called in a URL."""

METHODS = frozenset({"GET", "HEAD"})

_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:{photos}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the pages were made with; see :func:`mlssocial.browse.blueprint`."""

    access_token: Secret | None
    user: str | None
    photos: bool
    hosts: frozenset[str] | None

    @property
    def policy(self) -> str:
        """The Content-Security-Policy."""
        return _POLICY.format(photos=" https:" if self.photos else "")


def options() -> Options:
    """Give the options of the pages that this request is for."""
    return cast(Options, g.mlssocial_browse)


def admit(given: Options) -> Response | None:
    """Let a request in, or refuse it; one that brings the token in its URL goes on to the same page without it."""
    g.mlssocial_browse = given
    if given.hosts is not None and not _trusted(request.environ.get("HTTP_HOST", ""), given.hosts):
        abort(400, "The Host header names a site that this server does not know. Open it by its address, or as localhost.")
    if request.method not in METHODS:
        abort(405, "These pages are read-only.", valid_methods=METHODS)
    if given.access_token is None:
        return None
    name = _cookie_name(given.access_token)
    brought = request.args.get(PARAMETER)
    if Secret(brought or request.cookies.get(name, "")) != given.access_token:
        abort(403, "The access token is missing or wrong. Open the whole URL that 'mlssocial browse' printed when it started.")
    return None if brought is None else _remember(name, brought)


def protect(given: Options, response: Response) -> Response:
    """Put the headers on an answer that keep other sites, and this one's contents, in their place."""
    response.headers.update(_HEADERS)
    response.headers["Content-Security-Policy"] = given.policy
    return response


def _remember(name: str, token: str) -> Response:
    rest = {key: value for key, value in request.args.items() if key != PARAMETER}
    endpoint = (request.endpoint or "home").rpartition(".")[2]
    answer = cast(Response, redirect(link(endpoint, **rest), code=303))
    home = link("home")
    answer.set_cookie(name, token, path=home, secure=request.is_secure, httponly=True, samesite="Strict")
    return answer


def _cookie_name(token: Secret) -> str:
    """Name the cookie after its token: cookies do not know ports, and several of these servers may run on a machine."""
    return f"mlssocial_browse_{blake2b(token.reveal().encode(), digest_size=4).hexdigest()}"


def _trusted(host: str, names: frozenset[str]) -> bool:
    """
    Tell whether a Host header is an address, localhost, or a name that is known.

    Where another site points its own name at this machine (DNS rebinding), its pages could read these; the header has its name.
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in names | {"localhost"}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
