"""
Pages to look at the table with: listings, their posts and figures, connections, and the work queues.

Server-rendered and read-only, without JavaScript. :func:`create_app` gives a WSGI application of its own, :func:`blueprint` the
same pages for a Flask application of yours; ``mlssocial browse`` serves the former on this machine.
"""

from __future__ import annotations

from mlssocial.exceptions import ConfigurationError

try:
    import flask as _flask  # noqa: F401  to say which extra it is that is missing
except ImportError:
    raise ConfigurationError("browse needs Flask: pip install 'mlssocial[browse]'") from None

from .app import blueprint, create_app

__all__ = ["blueprint", "create_app"]
