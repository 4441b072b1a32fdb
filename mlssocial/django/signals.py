"""
Signals of writes that DynamoDB has acknowledged, after the manner of ``django.db.models.signals``.

*sender* is the model, *instance* the item as :func:`mlssocial.on_write` gives it, *operation* the verb: ``create``, ``save``,
``update``, ``increment``, ``complete`` or ``delete``. They are sent robustly: the write stands, so that a receiver's exception
is logged by ``django.dispatch`` and does not reach whoever wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.dispatch import Signal

if TYPE_CHECKING:
    from mlssocial import Item

post_save = Signal()
post_delete = Signal()


def send(verb: str, item: Item) -> None:
    """Send the signal of a write."""
    signal = post_delete if verb == "delete" else post_save
    signal.send_robust(sender=type(item), instance=item, operation=verb)
