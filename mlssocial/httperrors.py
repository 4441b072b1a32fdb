"""What a web application answers where an operation was refused: the status, and a body in JSON or HTML, as the client asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from http import HTTPStatus
from typing import NamedTuple

from .exceptions import (
    InvalidCursorError,
    InvalidKeyError,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    MLSSocialError,
    StaleItemError,
)

# An error about an item names its key and what a programmer may do about it: that is for the log. What cannot be a key or a
# cursor came from the client, and its error shows no more of it than the client knows.
_ANSWERS: Mapping[type[MLSSocialError], tuple[HTTPStatus, str | None]] = {
    ItemNotFoundError: (HTTPStatus.NOT_FOUND, "There is no such item."),
    InvalidCursorError: (HTTPStatus.BAD_REQUEST, None),
    InvalidKeyError: (HTTPStatus.BAD_REQUEST, None),
    StaleItemError: (HTTPStatus.CONFLICT, "The item has changed since it was read. Read it again."),
    ItemAlreadyExistsError: (HTTPStatus.CONFLICT, "There is such an item already."),
}

ERRORS = tuple(_ANSWERS)
"""The errors that are the client's to mend. Any other is the server's: the framework answers 500, and shows nothing of it."""


_PAGE = '<!doctype html>\n<html lang="en">\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{detail}</p>\n'


class Answer(NamedTuple):
    """An HTTP answer: its body is ``application/problem+json`` of RFC 9457, or a page."""

    status: int
    media_type: str
    body: str


def answer(error: MLSSocialError, accept: str) -> Answer:
    """Give the answer to one of :data:`ERRORS`; *accept* is the request's header."""
    status, words = next(_ANSWERS[kind] for kind in ERRORS if isinstance(error, kind))
    detail = words or str(error)
    if _prefers_html(accept):
        return Answer(status, "text/html", _PAGE.format(title=status.phrase, detail=escape(detail)))
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return Answer(status, "application/problem+json", json.dumps(problem))


def _prefers_html(accept: str) -> bool:
    """Tell whether HTML is asked for before JSON; who takes anything gets JSON."""
    ranges = dict(_range(part) for part in accept.split(","))
    html = max(ranges.get("text/html", 0.0), ranges.get("application/xhtml+xml", 0.0))
    return html > max(ranges.get("application/json", 0.0), ranges.get("application/problem+json", 0.0))


def _range(part: str) -> tuple[str, float]:
    """Read a media range and its weight: https://www.rfc-editor.org/rfc/rfc9110#name-accept."""
    name, *parameters = [word.strip().lower() for word in part.split(";")]
    weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 0.0
