"""Social posts: access patterns 4 and 10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlssocial import atomic, keys
from mlssocial.entities import PostStatus, SocialPostData
from mlssocial.results import Guard, Results
from mlssocial.schema import DATA

from .base import WhoseItems, queue_user, tenant
from .queues import QueueManager

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlssocial.models import SocialPost


class SocialPostManager(QueueManager["SocialPost", SocialPostData]):
    """The access to social posts, at ``SocialPost.objects``."""

    def get(self, user_id: str, post_id: str, *, consistent: bool = False) -> SocialPost:
        """Read a post; SocialPost.DoesNotExist (an ItemNotFoundError) if it is not there. One request."""
        return self._get(user_id, post_id, consistent=consistent)

    def find(self, user_id: str, post_id: str, *, consistent: bool = False) -> SocialPost | None:
        """Read a post, None if it is not there. One request."""
        return self._find(user_id, post_id, consistent=consistent)

    def create(self, user_id: str, post_id: str, data: SocialPostData) -> SocialPost:
        """
        Write a new post, of the listing that its listing_id names. One request.

        One that is published goes in a transaction with a check that its listing is active or pending, which costs four units
        of capacity where a small post costs one. A listing that this table does not have is no hindrance: another application
        may keep it elsewhere.

        Raises:
            ItemAlreadyExistsError: It is there.
            InvalidItemError: Its listing is off the market: no post of it can be created as published.
        """
        ids = (user_id, post_id)
        return self._told("create", self._load(atomic.creation(self.entity, ids, self._encoded("create", ids, data))()))

    def save(self, user_id: str, post_id: str, data: SocialPostData) -> SocialPost:
        """Write a post whole, over what was there; CreatedAt and foreign attributes stay. One request."""
        return self._save(user_id, post_id, data=data)

    def update(
        self,
        user_id: str,
        post_id: str,
        *,
        remove: Iterable[str] = (),
        if_unchanged_since: SocialPost | None = None,
        **fields: Any,
    ) -> SocialPost:
        """
        Change some fields of a post, and give it as it is now.

        One request; a consistent read before it where listing or status change, since index keys follow.

        With *if_unchanged_since*, the item as it was read, it is StaleItemError if anybody has written it since.

        Raises:
            SocialPost.DoesNotExist: It is not there.
            StaleItemError: It has changed since it was read; *item* is what it is now.
            WrongEntityError: Another entity is stored under its key.
            InvalidItemError: A field is unknown or its value is not valid. Nothing was sent.
        """
        return self._update(user_id, post_id, values=fields, remove=remove, seen=if_unchanged_since)

    def delete(self, user_id: str, post_id: str) -> bool:
        """Delete a post from the table; True if it was there. One request. The platform is not asked."""
        return self._delete(user_id, post_id)

    def query(self, user_id: str, *, reverse: bool = False, consistent: bool = False) -> Results[SocialPost]:
        """
        Find all posts of a user, ordered by post id.

        ``PK = USER#<user_id>``, ``SK begins_with POST#``.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        return self._results(
            "query", 0, keys.user_partition(user_id), prefix=keys.SOCIAL_POSTS, reverse=reverse, consistent=consistent
        )

    def query_by_listing(self, listing_id: str, *, user_id: WhoseItems, reverse: bool = False) -> Results[SocialPost]:
        """
        Find the posts of a listing, ordered by post id: one user's, or with ALL_USERS everyone's of that listing id.

        Access pattern 4. ListingPostIndex: ``GSI1PK = LISTING#<listing_id>``, ``GSI1SK begins_with POST#``. Eventually
        consistent.

        Raises:
            InvalidKeyError: An argument is empty, too long, or contains ``#``.
        """
        return self._results(
            "query_by_listing",
            4,
            keys.listing_partition(listing_id),
            index="GSI1",
            prefix=keys.SOCIAL_POSTS,
            guards=(Guard((DATA, "listingId"), "=", {"S": listing_id}),),
            tenant=tenant(user_id),
            reverse=reverse,
        )

    def pending_unpublish(self, *, user_id: WhoseItems) -> Results[SocialPost]:
        """
        Find the posts that wait to be unpublished, oldest request first.

        Access pattern 10. UnpublishQueueIndex: ``GSI2PK = UNPUBLISH#<0..7>``, eight partitions merged in time order, or a
        user's one. Eventually consistent.

        Args:
            user_id: Whose; workers ask for ALL_USERS.

        Raises:
            InvalidKeyError: *user_id* is no id.
        """
        return self._results(
            "pending_unpublish",
            10,
            *keys.unpublish_partitions(queue_user(user_id)),
            index="GSI2",
            guards=(Guard((DATA, "status"), "=", {"S": PostStatus.UNPUBLISH_PENDING.value}),),
            tenant=tenant(user_id),
        )
