"""Social connections: access patterns 6 and 9."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlssocial import keys
from mlssocial.entities import SocialConnectionData
from mlssocial.results import Guard, Results
from mlssocial.schema import DATA

from .base import WhoseItems, queue_user, tenant
from .connections import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from mlssocial.models import SocialConnection


class SocialConnectionManager(ConnectionManager["SocialConnection", SocialConnectionData]):
    """The access to social connections, at ``SocialConnection.objects``; platforms in any case."""

    def get(self, user_id: str, platform: str, *, consistent: bool = False) -> SocialConnection:
        """
        Read a user's connection to a platform; SocialConnection.DoesNotExist if there is none.

        Access pattern 6. ``PK = USER#<user_id>``, ``SK = SOCIAL#<PLATFORM>``. One request.
        """
        return self._get(user_id, platform, consistent=consistent)

    def find(self, user_id: str, platform: str, *, consistent: bool = False) -> SocialConnection | None:
        """Read a user's connection to a platform, None if there is none. One request."""
        return self._find(user_id, platform, consistent=consistent)

    def create(self, user_id: str, platform: str, data: SocialConnectionData) -> SocialConnection:
        """Write a new connection; ItemAlreadyExistsError if there is one. One request."""
        return self._create(user_id, platform, data=data)

    def save(self, user_id: str, platform: str, data: SocialConnectionData) -> SocialConnection:
        """Write a connection whole, over what was there; CreatedAt and foreign attributes stay. One request."""
        return self._save(user_id, platform, data=data)

    def update(
        self,
        user_id: str,
        platform: str,
        *,
        remove: Iterable[str] = (),
        if_unchanged_since: SocialConnection | None = None,
        **fields: Any,
    ) -> SocialConnection:
        """
        Change some fields of a connection, and give it as it is now. One request.

        With *if_unchanged_since*, the item as it was read, it is StaleItemError if anybody has written it since.

        Raises:
            SocialConnection.DoesNotExist: It is not there.
            StaleItemError: It has changed since it was read; *item* is what it is now.
            WrongEntityError: Another entity is stored under its key.
            InvalidItemError: A field is unknown or its value is not valid. Nothing was sent.
        """
        return self._update(user_id, platform, values=fields, remove=remove, seen=if_unchanged_since)

    def delete(self, user_id: str, platform: str) -> bool:
        """Delete a connection; True if it was there. One request."""
        return self._delete(user_id, platform)

    def query(self, user_id: str, *, reverse: bool = False, consistent: bool = False) -> Results[SocialConnection]:
        """
        Find all social connections of a user, ordered by platform.

        Access pattern 6. ``PK = USER#<user_id>``, ``SK begins_with SOCIAL#``.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        return self._results(
            "query",
            6,
            keys.user_partition(user_id),
            prefix=keys.SOCIAL_CONNECTIONS,
            reverse=reverse,
            consistent=consistent,
        )

    def expiring(self, before: datetime, *, user_id: WhoseItems) -> Results[SocialConnection]:
        """
        Find the connections whose token expires at or before a time, soonest first; those that have expired come first.

        Access pattern 9. TokenExpiryIndex: ``GSI2PK = TOKEN_EXPIRY#<0..7>``, eight partitions merged in time order, or a
        user's one. Eventually consistent.

        Raises:
            InvalidKeyError: *before* has no time zone, or *user_id* is no id.
        """
        return self._results(
            "expiring",
            9,
            *keys.expiry_partitions(queue_user(user_id)),
            index="GSI2",
            between=(keys.QUEUE_START, keys.queue_end(before)),
            guards=(Guard((DATA, "expiresAt"), "<=", {"N": keys.queue_time(before)}),),
            tenant=tenant(user_id),
            moving=True,
        )
