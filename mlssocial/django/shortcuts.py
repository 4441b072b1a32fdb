"""What request handlers write again and again."""

from __future__ import annotations

from typing import Any

from django.http import Http404

from mlssocial import InvalidKeyError, ItemNotFoundError


def get_item_or_404(source: Any, *ids: Any, consistent: bool = False) -> Any:
    """
    Read an item, or raise Http404: ``get_item_or_404(for_user(user_id).listings, listing_id)``. One request.

    Args:
        source: A model, a manager, or one of a user's managers.
        ids: What its ``get()`` takes; an id that cannot be a key's, such as one with a ``#``, is not found either.
        consistent: See every write before this one.
    """
    try:
        return getattr(source, "objects", source).get(*ids, consistent=consistent)
    except (ItemNotFoundError, InvalidKeyError) as error:
        raise Http404(str(error)) from error
