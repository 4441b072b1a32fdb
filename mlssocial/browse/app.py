"""The pages put together, as a blueprint and as an application."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from flask import Blueprint, Flask
from flask.sansio.scaffold import Scaffold
from werkzeug.exceptions import HTTPException

from mlssocial.exceptions import MLSSocialError
from mlssocial.tokens import Secret

from . import access, errors, pages
from .access import Options
from .links import NAME


def blueprint(
    *,
    access_token: str | None,
    user: str | None = None,
    photos: bool = False,
    hosts: Iterable[str] | None = None,
    name: str = NAME,
) -> Blueprint:
    """
    Make a blueprint of the pages, to be registered under a prefix of a Flask application's.

    Args:
        access_token: What the URL has to say as ``?token=`` on the first visit. None is for an application that admits its own
            users: whoever reaches the pages then sees every user's items.
        user: Whose items are shown where a URL names no user.
        photos: Load photos from the hosts that the listings name. Otherwise no page loads anything from another host, and
            photos are links.
        hosts: Names that the Host header may have beside ``localhost`` and addresses; None leaves it to the application.
        name: The blueprint's name.
    """
    made = _pages(name)
    _guard(made, _options(access_token, user, photos, hosts))
    return made


def create_app(
    *,
    access_token: str | None,
    user: str | None = None,
    photos: bool = False,
    hosts: Iterable[str] | None = (),
) -> Flask:
    """
    Make a WSGI application of the pages. Arguments are as :func:`blueprint` has them.

    The Host header is checked unless *hosts* is None, so that no other site's name can lead a browser here.
    """
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.register_blueprint(_pages(NAME))
    _guard(app, _options(access_token, user, photos, hosts))
    return app


def _options(access_token: str | None, user: str | None, photos: bool, hosts: Iterable[str] | None) -> Options:  # noqa: FBT001
    return Options(
        access_token=None if access_token is None else Secret(access_token),
        user=user,
        photos=photos,
        hosts=None if hosts is None else frozenset(name.lower() for name in hosts),
    )


def _pages(name: str) -> Blueprint:
    made = Blueprint(name, __name__, template_folder="templates")
    for path, view in pages.ROUTES.items():
        made.add_url_rule(path, view.__name__, view, methods=["GET"], provide_automatic_options=False)
    return made


def _guard(scaffold: Scaffold, options: Options) -> None:
    """Put every request of a blueprint or an application under the rules of access, and its errors into pages."""
    scaffold.before_request(partial(access.admit, options))
    scaffold.after_request(partial(access.protect, options))
    scaffold.context_processor(partial(pages.context, options))
    scaffold.register_error_handler(MLSSocialError, errors.own)
    scaffold.register_error_handler(HTTPException, errors.http)
