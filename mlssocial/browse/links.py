"""Addresses: of these pages, and of other sites as far as they may stand in a link."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import request, url_for

NAME = "mlssocial_browse"


def link(page: str, **arguments: Any) -> str:
    """Give the address of a page of these, wherever they are mounted; arguments that are None are left out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return url_for(f"{request.blueprint or NAME}.{page}", **given)


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
