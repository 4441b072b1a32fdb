"""MLS connections: access patterns 7 and 8."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlssocial import keys
from mlssocial.entities import MLSConnectionData
from mlssocial.results import Guard, Results
from mlssocial.schema import DATA

from .base import WhoseItems, queue_user, tenant
from .connections import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlssocial.models import MLSConnection


class MLSConnectionManager(ConnectionManager["MLSConnection", MLSConnectionData]):
    """The access to MLS connections, at ``MLSConnection.objects``."""

    def get(self, user_id: str, connection_id: str, *, consistent: bool = False) -> MLSConnection:
        """Read a connection; MLSConnection.DoesNotExist (an ItemNotFoundError) if it is not there. One request."""
        return self._get(user_id, connection_id, consistent=consistent)

    def find(self, user_id: str, connection_id: str, *, consistent: bool = False) -> MLSConnection | None:
        """Read a connection, None if it is not there. One request."""
        return self._find(user_id, connection_id, consistent=consistent)

    def create(self, user_id: str, connection_id: str, data: MLSConnectionData) -> MLSConnection:
        """Write a new connection; ItemAlreadyExistsError if it is there. One request."""
        return self._create(user_id, connection_id, data=data)

    def save(self, user_id: str, connection_id: str, data: MLSConnectionData) -> MLSConnection:
        """Write a connection whole, over what was there; CreatedAt and foreign attributes stay. One request."""
        return self._save(user_id, connection_id, data=data)

    def update(
        self,
        user_id: str,
        connection_id: str,
        *,
        remove: Iterable[str] = (),
        if_unchanged_since: MLSConnection | None = None,
        **fields: Any,
    ) -> MLSConnection:
        """
        Change some fields of a connection, and give it as it is now. One request.

        With *if_unchanged_since*, the item as it was read, it is StaleItemError if anybody has written it since.

        Raises:
            MLSConnection.DoesNotExist: It is not there.
            StaleItemError: It has changed since it was read; *item* is what it is now.
            WrongEntityError: Another entity is stored under its key.
            InvalidItemError: A field is unknown or its value is not valid. Nothing was sent.
        """
        return self._update(user_id, connection_id, values=fields, remove=remove, seen=if_unchanged_since)

    def delete(self, user_id: str, connection_id: str) -> bool:
        """Delete a connection; True if it was there. One request. The listings that came by it stay."""
        return self._delete(user_id, connection_id)

    def query(self, user_id: str, *, reverse: bool = False, consistent: bool = False) -> Results[MLSConnection]:
        """
        Find all MLS connections of a user, ordered by connection id.

        Access pattern 7. ``PK = USER#<user_id>``, ``SK begins_with MLS_CONNECTION#``.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        return self._results(
            "query",
            7,
            keys.user_partition(user_id),
            prefix=keys.MLS_CONNECTIONS,
            reverse=reverse,
            consistent=consistent,
        )

    def due_for_sync(self, before: datetime | None = None, *, user_id: WhoseItems) -> Results[MLSConnection]:
        """
        Find the connections that were last synced at or before a time, or never, longest ago first.

        Access pattern 8. SyncQueueIndex: ``GSI2PK = MLS_SYNC#<0..7>``, eight partitions merged in time order, or a user's one.
        Eventually consistent.

        Args:
            before: Now, where not given.
            user_id: Whose; workers ask for ALL_USERS.

        Raises:
            InvalidKeyError: *before* has no time zone, or *user_id* is no id.
        """
        end = before or datetime.now(UTC)
        return self._results(
            "due_for_sync",
            8,
            *keys.sync_partitions(queue_user(user_id)),
            index="GSI2",
            between=(keys.QUEUE_START, keys.queue_end(end)),
            guards=(Guard((DATA, "lastSyncedAt"), "<=", {"N": keys.queue_time(end)}, or_no_number=True),),
            tenant=tenant(user_id),
            moving=True,
        )
