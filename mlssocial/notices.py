"""Who is told of a write once DynamoDB has acknowledged it: signals of a framework, a cache, a search index."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .models import Item

    Listener = Callable[[str, Item], object]

_logger = logging.getLogger(__name__)
_lock = Lock()
_listeners: tuple[Listener, ...] = ()


def on_write(listener: Listener) -> Callable[[], None]:
    """
    Call *listener* after every acknowledged write of this process: ``listener("update", item)``. What it gives back ends that.

    The verb is ``create``, ``save``, ``update``, ``increment``, ``complete`` or ``delete``, and the item what is stored now.
    Where DynamoDB does not give it back, after a delete by ids, in a transaction and where a status is propagated, it has its
    key alone: its *data* is None, and ``refresh()`` reads it. Told in the thread of the caller, before the call returns; a
    batch's items once their request was answered. An error of a listener is logged and goes no further: the write stands.

    Not told are writes whose outcome is unknown, leases, and the jobs over whole tables: imports but for the statuses that they
    propagate, audits, migrations, restores, erasures. Other processes' writes are in the table's stream: ``mlssocial.streams``.
    """
    global _listeners
    with _lock:
        _listeners = (*_listeners, listener)

    def end() -> None:
        global _listeners
        with _lock:
            _listeners = tuple([one for one in _listeners if one is not listener])

    return end


def tell(verb: str, item: Item) -> None:
    """Tell the listeners of a write."""
    for listener in _listeners:
        try:
            listener(verb, item)
        except Exception:
            _logger.exception("a listener of on_write() failed after %s %r, which stands", verb, item)


def tell_key(verb: str, model: type[Item], key: tuple[str, str]) -> None:
    """Tell them of a write that did not give the item back."""
    if _listeners:
        tell(verb, model.unread(key))
