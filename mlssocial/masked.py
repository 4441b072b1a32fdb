"""Bytes that do not show themselves, for what would otherwise stand readable in a log or in a traceback with locals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tokens import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable


class MaskedBytes(bytes):
    """Bytes of which only the length is shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self):,} bytes {MASK}>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __rich_repr__(self) -> Iterable[object]:
        """Show nothing more to rich, which shows the beginning of long bytes past ``__repr__``."""
        yield "length", len(self)
