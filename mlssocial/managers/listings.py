"""Listings: access patterns 1, 2 and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlssocial import keys
from mlssocial.entities import ListingData, ListingStatus
from mlssocial.exceptions import InvalidKeyError, shown
from mlssocial.operations import running
from mlssocial.propagation import Change, Propagation
from mlssocial.results import Guard, Plan, Results
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
        more = () if status is None else (_status_guard(status),)
        plan = copies_of("query_by_mls_number", mls_provider, mls_number, user_id, *more)
        return Results(plan, self._load, self._decode_row)

    def propagate_status(
        self,
        mls_provider: str,
        mls_number: str,
        status: ListingStatus | str,
        *,
        user_id: WhoseItems,
        operation_id: str | None = None,
    ) -> Propagation:
        """
        Bring a status to every copy of an MLS number, and to the posts of each.

        Each copy is one transaction: status, statusChangeTimestamp (now) and index keys, and where the status leaves the market
        (sold, expired) its published posts become ``unpublish_pending``, as many as there is room for; the others follow in
        further transactions. A copy that has the status already has its posts turned all the same. A status that returns to the
        market (active, pending) changes no post. It is safe to interrupt, to repeat and to run twice at once.

        The copies are those that MLSNumberIndex shows, and an index lags: run it again some seconds after a copy was created,
        or with each sync. A copy whose index keys another writer left behind is found once an audit has repaired it.

        For each copy: one read, and one or more transactions at twice the capacity of their writes. Where the status leaves the
        market all posts of its user are read consistently, before each transaction and once more at the end: the index of
        posts by listing may not show one that was just published. Each of these rounds has a deadline of its own.

        Args:
            mls_provider: The feed.
            mls_number: The property's number there.
            status: What it is from now on.
            user_id: Whose copies; ALL_USERS for everyone's.
            operation_id: Names this change: a repeat under it leaves alone what has got another status since, and finishes the
                posts that an interrupted run has left. The ledger has it for 30 days, once for each copy.

        Raises:
            InvalidKeyError: An argument cannot go into a key, or *status* is none of the four.
            StoreError: The copies could not be found. What fails later, copy by copy, is in the answer.
        """
        copies = Results(copies_of("propagate_status", mls_provider, mls_number, user_id), lambda row: row)
        if operation_id is not None:
            keys.operation_keys("any", operation_id)
        change = Change(mls_provider, mls_number, _known(status), operation_id, self.model.class_of)
        with running("propagate_status Listing"):
            return change.propagate(copies)

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
        partition = keys.user_partition(user_id)
        if consistent:
            return self._results("query_by_status", 3, partition, prefix=keys.LISTINGS, consistent=True, **how)
        how |= {"index": "GSI2", "tenant": partition}  # another writer may give any item these index keys
        return self._results("query_by_status", 3, keys.status_partition(user_id, status), **how)


def copies_of(method: str, mls_provider: str, mls_number: str, user_id: WhoseItems, *more: Guard) -> Plan:
    """Plan the query of an MLS number's copies."""
    guards = (
        Guard((DATA, "mlsProvider"), "=", {"S": mls_provider}),
        Guard((DATA, "mlsNumber"), "=", {"S": mls_number}),
        *more,
    )
    return Plan(
        f"Listing.objects.{method}",
        3 if more else 2,
        (keys.mls_number_partition(mls_provider, mls_number),),
        index="GSI1",
        guards=guards,
        tenant=tenant(user_id),
    )


def _known(status: ListingStatus | str) -> ListingStatus:
    if not isinstance(status, str) or status not in ListingStatus._value2member_map_:
        raise InvalidKeyError("status", f"one of {', '.join(ListingStatus)} is needed, not {shown(status)}")
    return ListingStatus(status)


def _status_guard(status: ListingStatus | str) -> Guard:
    return Guard((DATA, "status"), "=", {"S": _known(status).value})
