"""
For tests of what uses this library: a fresh table, valid payloads, and a check of the requests that a block sends.

With pytest the fixtures ``mlssocial_table`` and ``mlssocial_factory`` are there by themselves; without it :func:`fresh_table`
and :class:`Factory` do the same. pytest loads this package wherever it is installed, so nothing that costs is imported, ours,
botocore's or an engine's, before one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .requests import assert_requests

if TYPE_CHECKING:
    from .factory import Factory
    from .tables import fresh_table

__all__ = ["Factory", "assert_requests", "fresh_table"]

pytest_plugins = ("mlssocial.testing.plugin",)


def __getattr__(name: str) -> Any:
    if name == "Factory":
        from .factory import Factory

        return Factory
    if name == "fresh_table":
        from .tables import fresh_table

        return fresh_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
