"""
Values that do not show themselves, for what would otherwise stand readable in a log or in a traceback with locals.

They are what they are made of to whoever computes with them: bytes, text or a dict. What is taken out of a masked map is not
masked. A pickle of one holds nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from .tokens import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable


class LeftBehind:
    """Stands for a masked value on the other side of a pickle, which would show what is in it; nothing can be done with it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK


class _Masked:
    """Is left behind by a pickle, so that an error that holds one can cross processes; a copy is the value itself."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[LeftBehind], tuple[()]]:
        return LeftBehind, ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class MaskedBytes(_Masked, bytes):
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


class MaskedText(_Masked, str):
    """Text that shows as the mask; ``str.__str__`` of it is the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __rich_repr__(self) -> Iterable[object]:
        """Show nothing more to rich, which shows the beginning of long text past ``__repr__``."""
        yield MASK


class MaskedMap(_Masked, dict[str, Any]):
    """A map of which only the names are shown. It is not to be changed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<map of {', '.join(self)}>"

    def __rich_repr__(self) -> Iterable[object]:
        """Show the names to rich."""
        yield from self


def without_frames(error: Exception) -> Exception:
    """Take the frames out of an error of another package's and those behind it: what was sent and received stands in them."""
    inner: BaseException | None = error
    while inner is not None and inner.__traceback__ is not None:
        inner.__traceback__ = None
        inner = inner.__cause__ or inner.__context__
    return error
