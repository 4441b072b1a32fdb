"""Whose listings a feed's records become, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args
from uuid import uuid4

from mlssocial import keys
from mlssocial.changes import Path
from mlssocial.codec import AttributeValue
from mlssocial.entities import ListingStatus
from mlssocial.exceptions import ConfigurationError
from mlssocial.managers import ALL_USERS
from mlssocial.managers.base import WhoseItems

Removals = Literal["mark", "delete", "skip"]
"""What becomes of a listing whose removal the feed asks for."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whose listings the records become, and how; *run* tells one import from others."""

    user_id: str
    provider: str
    connection_id: str | None = None
    default_status: ListingStatus | None = None
    removals: Removals = "mark"
    propagate_to: WhoseItems | None = None
    adopt: bool = True
    dry_run: bool = False
    run: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        """Refuse names that cannot go into a key."""
        keys.listing_keys(self.user_id, "any", self.provider, "any")
        if self.connection_id is not None:
            keys.mls_connection_keys(self.user_id, self.connection_id)
        if self.removals not in get_args(Removals):
            raise ConfigurationError(f"removals: one of {', '.join(get_args(Removals))} is needed, not {self.removals!r}")
        if self.propagate_to not in {None, self.user_id, ALL_USERS}:
            raise ConfigurationError("propagate_to: ALL_USERS is needed, or nothing for the user's own copies")


class Action(StrEnum):
    """What became of a record."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    MARKED = "marked"
    SKIPPED = "skipped"
    REJECTED = "rejected"


@dataclass(slots=True)
class Outcome:
    """
    What became of a record.

    Attributes:
        reason: Why it was skipped or rejected.
        fields: What changed, by path: what was there, None where nothing was, and what is.
        photos: How many photos were kept, and how many there are, where an item cannot hold all.
        propagated: Whether a status was brought to all copies and posts.
    """

    action: Action
    listing_id: str = ""
    key: str = ""
    reason: str = ""
    fields: Mapping[Path, tuple[AttributeValue | None, AttributeValue]] = field(default_factory=dict)
    photos: tuple[int, int] | None = None
    propagated: bool = False
