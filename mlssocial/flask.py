"""
mlssocial in Flask: ``MLSSocial(app)``.

The application's configuration, keys ``MLSSOCIAL_*``, is in force wherever its context is: in its requests, its commands and
its shell. See docs/how-to/flask.md.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from . import httperrors
from .exceptions import ConfigurationError, MissingExtraError, MLSSocialError
from .settings import ENVIRONMENT_PREFIX, Settings, current, from_config, hide_keys, using

try:
    from flask import Flask, Response, appcontext_pushed, g, request
    from flask.cli import with_appcontext
except ModuleNotFoundError as error:
    if error.name != "flask":
        raise
    raise MissingExtraError("mlssocial.flask", "Flask", "flask") from None

import click

from .cli.app import LazyGroup, cli
from .cli.options import Globals

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MLSSocial"]

NAME = "mlssocial"
_TOKEN_KEYS = "MLSSOCIAL_TOKEN_KEYS"  # noqa: S105  a name
_SCOPES = "_mlssocial_scopes"


class MLSSocial:
    """
    Gives Flask applications their table.

    ``MLSSocial(app)``, or ``init_app`` for one extension and many applications, each with a table of its own. The configuration
    is read once: load it before. Its keys ``MLSSOCIAL_*`` are :class:`~mlssocial.Settings`'s names in capitals, and stand over
    what is configured in the process; an application that has none follows the process, ``mlssocial.configure()`` and the
    environment.

    Raises:
        ConfigurationError: A key is unknown or its value impossible, or the application has the extension already.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._settings: WeakKeyDictionary[Flask, Settings] = WeakKeyDictionary()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an application its settings, its commands, its shell's names and its error handlers."""
        if NAME in app.extensions:
            raise ConfigurationError(f"{app!r} has mlssocial already; call MLSSocial(app) or init_app(app), and once")
        if any(key.startswith(ENVIRONMENT_PREFIX) for key in app.config):
            if app.config.get(_TOKEN_KEYS):  # a configuration is printed whole, by debug pages for one
                app.config[_TOKEN_KEYS] = hide_keys(app.config[_TOKEN_KEYS])
            self._settings[app] = from_config(current(), app.config)
        app.extensions[NAME] = self
        _bind(app)
        app.cli.add_command(_commands())
        app.shell_context_processor(_names)
        handlers = app.error_handler_spec[None][None]
        for kind in httperrors.ERRORS:
            handlers.setdefault(kind, _refused)

    def settings(self, app: Flask) -> Settings:
        """Give the settings of an application."""
        return self._settings.get(app) or current()


def _bind(app: Flask) -> None:
    """Put an application's settings in force as long as a context of it is pushed."""
    appcontext_pushed.connect(_enter, app)
    teardown: Callable[..., None] = app.do_teardown_appcontext

    def do_teardown(*args: Any, **kwargs: Any) -> None:
        try:
            teardown(*args, **kwargs)
        finally:  # teardown functions still have the settings; one that fails may not leave them to the thread's next request
            g.pop(_SCOPES, ExitStack()).close()

    app.do_teardown_appcontext = do_teardown  # type: ignore[method-assign]


def _enter(app: Flask, **_: Any) -> None:
    scopes: ExitStack = g.setdefault(_SCOPES, ExitStack())
    scopes.enter_context(using(app.extensions[NAME].settings(app)))


def _refused(error: MLSSocialError) -> Response:
    status, media_type, body = httperrors.answer(error, request.headers.get("Accept", ""))
    return Response(body, status, {"Vary": "Accept"}, mimetype=media_type)


def _names() -> dict[str, Any]:
    """Give the names of ``flask shell``: all public ones of mlssocial."""
    from .cli.names import names

    return names()


def _commands() -> click.Group:
    """Give the ``mlssocial`` command as one of an application's, under the settings of the application."""

    @with_appcontext
    def in_context() -> None:
        context = click.get_current_context()
        settings = context.ensure_object(Globals).settings = current()
        context.with_resource(using(settings))

    return LazyGroup(NAME, callback=in_context, params=cli.params, help=cli.help, context_settings=cli.context_settings)
