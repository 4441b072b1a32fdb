"""Listings: access patterns 1, 2 and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlssocial import keys
from mlssocial.entities import ListingData, ListingStatus
from mlssocial.exceptions import InvalidKeyError
from mlssocial.results import Guard, Results
from mlssocial.schema import DATA

from .base import EntityManager, WhoseItems, tenant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlssocial.models import Listing


class ListingManager(EntityManager["Listing", ListingData]):
    """The access to listings, at ``Listing.objects``."""

    def get(self, user_id: str, listing_id: str, *, consistent: bool = False) -> Listing:
        """Read a listing; Listing.DoesNotExist (an ItemNotFoundError) if it is not there. One request."""
        return self._get(user_id, listing_id, consistent=consistent)

    def find(self, user_id: str, listing_id: str, *, consistent: bool = False) -> Listing | None:
        """Read a listing, None if it is not there. One request."""
        return self._find(user_id, listing_id, consistent=consistent)

    def create(self, user_id: str, listing_id: str, data: ListingData) -> Listing:
        """Write a new listing; ItemAlreadyExistsError if it is there. One request."""
        return self._create(user_id, listing_id, data=data)

    def save(self, user_id: str, listing_id: str, data: ListingData) -> Listing:
        """Write a listing whole, over what was there; CreatedAt and foreign attributes stay. One request."""
        return self._save(user_id, listing_id, data=data)

    def update(
        self,
        user_id: str,
        listing_id: str,
        *,
        remove: Iterable[str] = (),
        if_unchanged_since: Listing | None = None,
        **fields: Any,
    ) -> Listing:
        """
        Change some fields of a listing, and give it as it is now.

        ``update("u1", "l1", price=Decimal(550000), address__city="Reno", remove=("description",))``. None writes null. One
        request; a consistent read before it where status, list date, provider or number change, since index keys follow.

        With *if_unchanged_since*, the item as it was read, it is StaleItemError if anybody has written it since.

        Raises:
            Listing.DoesNotExist: It is not there.
            StaleItemError: It has changed since it was read; *item* is what it is now.
            WrongEntityError: Another entity is stored under its key.
            InvalidItemError: A field is unknown or its value is not valid. Nothing was sent.
        """
        return self._update(user_id, listing_id, values=fields, remove=remove, seen=if_unchanged_since)

    def delete(self, user_id: str, listing_id: str) -> bool:
        """Delete a listing; True if it was there. One request. Its posts and metrics stay."""
        return self._delete(user_id, listing_id)

    def query(self, user_id: str, *, reverse: bool = False, consistent: bool = False) -> Results[Listing]:
        """
        Find all listings of a user, ordered by listing id.

        Access pattern 1. ``PK = USER#<user_id>``, ``SK begins_with LISTING#``. One request a 1 MB page, as you iterate.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        return self._results(
            "query", 1, keys.user_partition(user_id), prefix=keys.LISTINGS, reverse=reverse, consistent=consistent
        )

    def query_by_mls_number(
        self,
        mls_provider: str,
        mls_number: str,
        *,
        user_id: WhoseItems,
        status: ListingStatus | str | None = None,
    ) -> Results[Listing]:
        """
        Find the copies of an MLS number: one user's, or with ALL_USERS everyone's.

        Access patterns 2 and 3. MLSNumberIndex: ``GSI1PK = MLS#<provider>#<number>``. The number's whole index partition is
        read, a handful of rows, and provider, number and status are checked against the items themselves: their index keys
        may be another writer's, and old. Eventually consistent, as every index is.

        Raises:
            InvalidKeyError: An argument is empty, too long, or contains ``#``.
        """
        guards = [
            Guard((DATA, "mlsProvider"), "=", {"S": mls_provider}),
            Guard((DATA, "mlsNumber"), "=", {"S": mls_number}),
        ]
        if status is not None:
            guards.append(_status_guard(status))
        return self._results(
            "query_by_mls_number",
            2 if status is None else 3,
            keys.mls_number_partition(mls_provider, mls_number),
            index="GSI1",
            guards=tuple(guards),
            tenant=tenant(user_id),
        )

    def query_by_status(
        self, user_id: str, status: ListingStatus | str, *, reverse: bool = False, consistent: bool = False
    ) -> Results[Listing]:
        """
        Find a user's listings in *status*, ordered by list date.

        Access pattern 3. StatusIndex: ``GSI2PK = USER#<user_id>#STATUS#<status>``. Eventually consistent, and without the
        listings that another application created since the last audit: those have no GSI2 keys.

        Args:
            user_id: Without the ``USER#`` prefix.
            status: One of the four.
            reverse: Newest list date first.
            consistent: Read the user's listings from the table instead, with a filter: always right, ordered by listing id, and
                it costs all of the user's listings.

        Raises:
            InvalidKeyError: *user_id* is empty, too long, or contains ``#``.
        """
        how: dict[str, Any] = {"guards": (_status_guard(status),), "reverse": reverse}
        if consistent:
            partition = keys.user_partition(user_id)
            return self._results("query_by_status", 3, partition, prefix=keys.LISTINGS, consistent=True, **how)
        return self._results("query_by_status", 3, keys.status_partition(user_id, status), index="GSI2", **how)


def _status_guard(status: ListingStatus | str) -> Guard:
    if status not in ListingStatus._value2member_map_:
        raise InvalidKeyError("status", f"one of {', '.join(ListingStatus)} is needed, not {str(status)[:40]!r}")
    return Guard((DATA, "status"), "=", {"S": ListingStatus(status).value})
