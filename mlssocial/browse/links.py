"""Addresses: of these pages, and of other sites as far as they may stand in a link."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import request, url_for

NAME = "mlssocial_browse"


def link(page: str, /, **arguments: Any) -> str:
    """
    Give the address of a page of these, wherever they are mounted; arguments that are None are left out.

    They are a visitor's own words, so they go past url_for, which takes some names for orders, such as _scheme.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    path = url_for(f"{request.blueprint or NAME}.{page}")
    return f"{path}?{urlencode(given)}" if given else path


def web_address(url: str | None) -> str | None:
    """Give a URL back if it leads to a web server: what an MLS or a platform sent may be a script, or nothing at all."""
    try:
        parts = urlsplit((url or "").strip())
        fits = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return None
    return parts.geturl() if fits else None


def site(url: str) -> str:
    """Give the host that a web address leads to."""
    return urlsplit(url).hostname or ""
