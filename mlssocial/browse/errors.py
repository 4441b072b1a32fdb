"""Errors as pages: what happened, and what to do about it."""

from __future__ import annotations

from flask import Response, make_response, render_template
from werkzeug.exceptions import HTTPException

from mlssocial.exceptions import (
    InvalidCursorError,
    InvalidItemError,
    InvalidKeyError,
    ItemNotFoundError,
    MLSSocialError,
    StoreError,
    WrongEntityError,
)

_KINDS: tuple[tuple[type[MLSSocialError], int, str, str], ...] = (
    (ItemNotFoundError, 404, "Not there", "It was deleted, or it is another user's. Look for it among the listings."),
    (InvalidCursorError, 400, "This page cannot be found again", "Start from the first page."),
    (InvalidKeyError, 400, "That cannot be looked for", "Correct the field that is named, and ask again."),
    (InvalidItemError, 502, "The stored item cannot be read", "Run 'mlssocial show' for its raw form."),
    (WrongEntityError, 502, "Another kind of item is stored there", "Run 'mlssocial show' for its raw form."),
    (StoreError, 502, "DynamoDB refused", "Check the table, the region and the credentials that this server was started with."),
    (MLSSocialError, 500, "That did not work", "The message says why."),
)

_MISSING_TABLE = "Make the table with 'mlssocial init', or start this server with the name of another."
_TRY_AGAIN = "Wait a moment, and load the page again."


def own(error: MLSSocialError) -> Response:
    """Answer with an error of this package's."""
    status, title, remedy = next((status, title, remedy) for kind, status, title, remedy in _KINDS if isinstance(error, kind))
    if isinstance(error, StoreError):
        status, title, remedy = _store(error, title, remedy)
    return _page(status, title, str(error), remedy)


def http(error: HTTPException) -> Response:
    """Answer with an error of HTTP's."""
    status = error.code or 500
    made = _page(status, error.name, error.description or "", "")
    made.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
    return made


def _store(error: StoreError, title: str, remedy: str) -> tuple[int, str, str]:
    """Tell what passes from what stays until somebody does something."""
    if error.code == "ResourceNotFoundException":
        return 502, "The table is not there", _MISSING_TABLE
    if error.code in _REFUSALS:
        return 502, title, remedy
    return 503, "DynamoDB does not answer now", _TRY_AGAIN


_REFUSALS = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "MissingAuthenticationToken",
        "NoCredentialsError",
        "NoRegionError",
        "UnrecognizedClientException",
        "ValidationException",
    }
)


def _page(status: int, title: str, message: str, remedy: str) -> Response:
    text = render_template("mlssocial_browse/error.html", title=title, message=message, remedy=remedy, status=status)
    return make_response(text, status)
