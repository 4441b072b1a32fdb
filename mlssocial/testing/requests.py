"""Which requests a block sends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlssocial.operations import Call, recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def assert_requests(
    *,
    max: int = 1,  # noqa: A002  as one says it
    exactly: int | None = None,
    pattern: int | str | None = None,
) -> Iterator[list[Call]]:
    """
    Fail where the block sends more requests than it may, or others than it should.

    ``with assert_requests(max=1, pattern=3): ...``. Those of every thread of this process count, so that what is asked of a
    server in another thread is seen, and a request that is sent again counts again. The failure shows each of them. The block
    is given their list, which grows as they are sent.

    Args:
        max: How many requests there may be.
        exactly: How many there have to be, instead of *max*.
        pattern: What each of them has to serve, and one at least: an access pattern's number, or a method such as
            ``Listing.objects.query``.

    Raises:
        AssertionError: There were others. What the block itself raises goes before.
    """
    __tracebackhide__ = True
    with recorded(everywhere=True) as calls:
        yield calls
    wanted = f"at most {max}" if exactly is None else f"exactly {exactly}"
    fits = len(calls) <= max if exactly is None else len(calls) == exactly
    if pattern is not None:
        wanted += f", each for {pattern}" if isinstance(pattern, str) else f", each for access pattern {pattern}"
        fits = fits and bool(calls) and all(pattern in {call.name, call.access_pattern} for call in calls)
    if not fits:
        sent = "".join(f"\n  {number:>3}  {_shown(call)}" for number, call in enumerate(calls, 1)) or " none"
        raise AssertionError(f"requests: {wanted} wanted, {len(calls)} sent:{sent}")


def _shown(call: Call) -> str:
    pattern = f", access pattern {call.access_pattern}" if call.access_pattern else ""
    where = f"{call.operation} on {call.index or 'the table'}"
    return where if call.name == call.operation else f"{where}, for {call.name}{pattern}"
