"""
The managers with their user fixed: ``mlssocial.for_user("u1")``, the door for request handlers.

What is called on it is the manager's own method without its user, under the manager's own docstring. None takes another user,
and another user's item is refused before anything is sent.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812  as the manager of metrics has it
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Never, ParamSpec, Protocol, TypeVar

from . import keys
from .exceptions import InvalidKeyError
from .managers import (
    EntityManager,
    ItemManager,
    ListingManager,
    MLSConnectionManager,
    PerformanceMetricsManager,
    QueueManager,
    SocialConnectionManager,
    SocialPostManager,
)
from .managers.bulk import CreateMany, DeleteMany, SaveMany, check_tenant
from .models import Item, Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from .tokens import hide

if TYPE_CHECKING:
    from datetime import datetime

    from .batch import BatchResult
    from .entities import ListingStatus
    from .propagation import Propagation
    from .results import Results

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
M = TypeVar("M", bound=Item)
K = TypeVar("K")
F = TypeVar("F", bound=Callable[..., Any])


# --- What makes a manager's method one of a user's -------------------------------------------------------------------


class _TakesUser(Protocol[P, R_co]):
    """A manager's method that takes its user in first place."""

    def __call__(_, self: Any, user_id: str, *args: P.args, **kwargs: P.kwargs) -> R_co: ...  # noqa: N805  self is the manager


class _TakesItem(Protocol[P, R_co]):
    """A manager's method that takes an item in first place."""

    def __call__(_, self: Any, *args: P.args, **kwargs: P.kwargs) -> R_co: ...  # noqa: N805  self is the manager


class _Method(Protocol[P, R_co]):
    """What mypy and editors see of a method: the manager's parameters without the user."""

    def __get__(self, one: Any, kind: Any = None) -> Callable[P, R_co]: ...


class _NamesNoUser(Protocol[R_co]):
    def __call__(self, *args: Any, user_id: Never = ..., **kwargs: Any) -> R_co: ...


class _OpenMethod(Protocol[P, R_co]):
    """The same of one that takes fields of any name: a call has to fit both forms, and in the second none is named user_id."""

    def __get__(self, one: Any, kind: Any = None) -> Callable[P, R_co] | _NamesNoUser[R_co]: ...


def _of_user(method: _TakesUser[P, R]) -> _Method[P, R]:
    """Make a method that gives its user in first place."""

    def of_user(self: _OfUser, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._manager, self._user_id, *args, **hide(kwargs))

    update_wrapper(of_user, method)
    signature = inspect.signature(method)
    mine = [one for name, one in signature.parameters.items() if name != "user_id"]
    of_user.__signature__ = signature.replace(parameters=mine)  # type: ignore[attr-defined]  # inspect reads it
    return of_user


def _of_user_open(method: _TakesUser[P, R]) -> _OpenMethod[P, R]:
    """Make a method as :func:`_of_user` does, of one that takes fields of any name."""
    return _of_user(method)


def _of_item(method: _TakesItem[P, R]) -> _Method[P, R]:
    """Make a method that refuses another user's item in first place."""
    verb, name = method.__name__, list(inspect.signature(method).parameters)[1]  # type: ignore[attr-defined]  # a function's

    def of_item(self: _OfUser, *args: P.args, **kwargs: P.kwargs) -> R:
        hide(kwargs)
        self._own(verb, args[0] if args else kwargs.get(name))
        return method(self._manager, *args, **kwargs)

    update_wrapper(of_item, method)
    return of_item


def _as_in(method: Callable[..., Any]) -> Callable[[F], F]:
    """Give a method that takes its user by name, or items, the docstring of the manager's."""

    def documented(function: F) -> F:
        function.__doc__ = method.__doc__
        return function

    return documented


# --- The managers of one user ----------------------------------------------------------------------------------------


class _OfUser:
    """A manager, and the user that its methods are confined to."""

    __slots__ = ("_manager", "_tenant", "_user_id")

    def __init__(self, manager: Any, user_id: str) -> None:
        self._manager = manager
        self._user_id = user_id
        self._tenant = keys.user_partition(user_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._user_id}>"

    def __dir__(self) -> list[str]:
        """Give the methods, for tab completion."""
        return [name for name in super().__dir__() if not name.startswith("_")]

    def _own(self, verb: str, item: Any) -> Any:
        if isinstance(item, Item):  # what is none the manager refuses
            check_tenant(f"{verb} {self._manager.entity.name}", item, self._tenant)
        return item


class _OfEntity(_OfUser, Generic[M, K]):
    """The methods in bulk. Ids are given without the user; a BatchResult has them whole."""

    __slots__ = ()
    _manager: EntityManager[M, Any]

    def get_many(self, ids: Iterable[K], *, consistent: bool = False) -> dict[K, M]:
        """
        Read many items at once, by their ids without the user: ``get_many(["l1", "l2"])``, of metrics ``[("l1", day)]``.

        Any number, 100 a request and a few requests at a time. What is not there is not in the answer; a row that cannot be
        read is left out with an UnreadableItemWarning. The answer has the ids as they were given, in their order.

        Raises:
            InvalidKeyError: An id cannot go into a key. Nothing was sent.
            StoreError: DynamoDB refused, or left keys unprocessed until the deadline.
        """
        wanted = [(one, self._whole(one)) for one in ids]
        found = self._manager.get_many((whole for _, whole in wanted), consistent=consistent)
        return {one: found[whole] for one, whole in wanted if whole in found}

    @_as_in(EntityManager.save_many)
    def save_many(self, items: Iterable[M]) -> BatchResult:
        return SaveMany("save_many", self._manager.model, self._manager.entity, self._tenant).run(items)

    @_as_in(EntityManager.create_many)
    def create_many(self, items: Iterable[M]) -> BatchResult:
        return CreateMany("create_many", self._manager.model, self._manager.entity, self._tenant).run(items)

    def delete_many(self, ids: Iterable[K]) -> BatchResult:
        """
        Delete many items by their ids without the user, whether they are there or not: ``delete_many(["l1", "l2"])``.

        Any number, 25 a request and a few requests at a time. DynamoDB's batches take no conditions: whatever is stored under
        such a key goes, however new it is. What ``result.written`` names is gone; where an answer was lost, that is what a
        consistent read says.

        Raises:
            InvalidKeyError: An id cannot go into a key. Nothing was sent.
            BatchIncompleteError: Some were not deleted, or nobody can tell: *unprocessed* are those ids, as they were given.
        """
        return DeleteMany(self._manager.model, self._manager.entity, self._whole).run(ids)

    def _whole(self, ids: K) -> tuple[Any, ...]:
        """Put the user before ids; InvalidKeyError if they are not all there, or cannot go into a key."""
        entity = self._manager.entity
        names = entity.id_names[1:]
        parts = (ids,) if len(names) == 1 else ids
        if not isinstance(parts, tuple) or len(parts) != len(names):
            raise InvalidKeyError("ids", f"({', '.join(names)}) is needed for each {entity.name}, not {ids!r}")
        whole = (self._user_id, *parts)
        entity.keys(whole)
        return whole


class _OfQueue(_OfEntity[M, K]):
    """The methods of work queues, for items of this user."""

    __slots__ = ()
    _manager: QueueManager[M, Any]

    @_as_in(QueueManager.claim_each)
    def claim_each(self, queue: Iterable[M], *, seconds: float) -> Iterator[M]:
        return self._manager.claim_each((self._own("claim", item) for item in queue), seconds=seconds)


class UserListings(_OfEntity[Listing, str]):
    """A user's listings, as ``Listing.objects`` has everyone's."""

    __slots__ = ()
    _manager: ListingManager

    get = _of_user(ListingManager.get)
    find = _of_user(ListingManager.find)
    create = _of_user(ListingManager.create)
    save = _of_user(ListingManager.save)
    update = _of_user_open(ListingManager.update)
    delete = _of_user(ListingManager.delete)
    query = _of_user(ListingManager.query)
    query_by_status = _of_user(ListingManager.query_by_status)

    @_as_in(ListingManager.query_by_mls_number)
    def query_by_mls_number(
        self, mls_provider: str, mls_number: str, *, status: ListingStatus | str | None = None
    ) -> Results[Listing]:
        return self._manager.query_by_mls_number(mls_provider, mls_number, user_id=self._user_id, status=status)

    @_as_in(ListingManager.propagate_status)
    def propagate_status(
        self, mls_provider: str, mls_number: str, status: ListingStatus | str, *, operation_id: str | None = None
    ) -> Propagation:
        return self._manager.propagate_status(
            mls_provider, mls_number, status, user_id=self._user_id, operation_id=operation_id
        )


class UserMLSConnections(_OfQueue[MLSConnection, str]):
    """A user's MLS connections, as ``MLSConnection.objects`` has everyone's."""

    __slots__ = ()
    _manager: MLSConnectionManager

    get = _of_user(MLSConnectionManager.get)
    find = _of_user(MLSConnectionManager.find)
    create = _of_user(MLSConnectionManager.create)
    save = _of_user(MLSConnectionManager.save)
    update = _of_user_open(MLSConnectionManager.update)
    delete = _of_user(MLSConnectionManager.delete)
    query = _of_user(MLSConnectionManager.query)
    claim = _of_item(MLSConnectionManager.claim)
    complete = _of_item(MLSConnectionManager.complete)
    extend = _of_item(MLSConnectionManager.extend)
    release = _of_item(MLSConnectionManager.release)
    refresh_tokens = _of_item(MLSConnectionManager.refresh_tokens)

    @_as_in(MLSConnectionManager.due_for_sync)
    def due_for_sync(self, before: datetime | None = None) -> Results[MLSConnection]:
        return self._manager.due_for_sync(before, user_id=self._user_id)


class UserSocialConnections(_OfQueue[SocialConnection, str]):
    """A user's social connections, as ``SocialConnection.objects`` has everyone's."""

    __slots__ = ()
    _manager: SocialConnectionManager

    get = _of_user(SocialConnectionManager.get)
    find = _of_user(SocialConnectionManager.find)
    create = _of_user(SocialConnectionManager.create)
    save = _of_user(SocialConnectionManager.save)
    update = _of_user_open(SocialConnectionManager.update)
    delete = _of_user(SocialConnectionManager.delete)
    query = _of_user(SocialConnectionManager.query)
    claim = _of_item(SocialConnectionManager.claim)
    complete = _of_item(SocialConnectionManager.complete)
    extend = _of_item(SocialConnectionManager.extend)
    release = _of_item(SocialConnectionManager.release)
    refresh_tokens = _of_item(SocialConnectionManager.refresh_tokens)

    @_as_in(SocialConnectionManager.expiring)
    def expiring(self, before: datetime) -> Results[SocialConnection]:
        return self._manager.expiring(before, user_id=self._user_id)


class UserPosts(_OfQueue[SocialPost, str]):
    """A user's posts, as ``SocialPost.objects`` has everyone's."""

    __slots__ = ()
    _manager: SocialPostManager

    get = _of_user(SocialPostManager.get)
    find = _of_user(SocialPostManager.find)
    create = _of_user(SocialPostManager.create)
    save = _of_user(SocialPostManager.save)
    update = _of_user_open(SocialPostManager.update)
    delete = _of_user(SocialPostManager.delete)
    query = _of_user(SocialPostManager.query)
    claim = _of_item(SocialPostManager.claim)
    complete = _of_item(SocialPostManager.complete)
    extend = _of_item(SocialPostManager.extend)
    release = _of_item(SocialPostManager.release)

    @_as_in(SocialPostManager.query_by_listing)
    def query_by_listing(self, listing_id: str, *, reverse: bool = False) -> Results[SocialPost]:
        return self._manager.query_by_listing(listing_id, user_id=self._user_id, reverse=reverse)

    @_as_in(SocialPostManager.pending_unpublish)
    def pending_unpublish(self) -> Results[SocialPost]:
        return self._manager.pending_unpublish(user_id=self._user_id)


class UserMetrics(_OfEntity[PerformanceMetrics, tuple[str, Date | str]]):
    """The figures of a user's listings, as ``PerformanceMetrics.objects`` has everyone's."""

    __slots__ = ()

    get = _of_user(PerformanceMetricsManager.get)
    find = _of_user(PerformanceMetricsManager.find)
    create = _of_user(PerformanceMetricsManager.create)
    save = _of_user(PerformanceMetricsManager.save)
    update = _of_user_open(PerformanceMetricsManager.update)
    increment = _of_user_open(PerformanceMetricsManager.increment)
    delete = _of_user(PerformanceMetricsManager.delete)
    query = _of_user(PerformanceMetricsManager.query)
    rollup = _of_user(PerformanceMetricsManager.rollup)


class UserItems(_OfUser):
    """Everything of a user, as ``Item.objects`` has everyone's."""

    __slots__ = ()

    query = _of_user(ItemManager.query)


@dataclass(frozen=True, slots=True, repr=False)
class UserManagers:
    """
    The managers of one user, as :func:`for_user` gives them.

    Attributes:
        user_id: Whose.
        listings: As ``Listing.objects``.
        mls_connections: As ``MLSConnection.objects``.
        social_connections: As ``SocialConnection.objects``.
        posts: As ``SocialPost.objects``.
        metrics: As ``PerformanceMetrics.objects``.
        items: As ``Item.objects``: everything of the user.
    """

    user_id: str
    listings: UserListings
    mls_connections: UserMLSConnections
    social_connections: UserSocialConnections
    posts: UserPosts
    metrics: UserMetrics
    items: UserItems

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.user_id}>"


def for_user(user_id: str) -> UserManagers:
    """
    Give the managers of one user, and of nobody else.

    ``agent = for_user(request.user.id)``, and then ``agent.listings.get("l1")``. Their methods are those of ``Model.objects``
    without the user: where a docstring speaks of *user_id*, it is this one. In bulk, ids are given without it. Another user's
    item is refused with InvalidItemError, another's cursor with InvalidCursorError. Sends nothing.

    Raises:
        InvalidKeyError: *user_id* is empty, too long, or contains ``#``; ALL_USERS is no user.
    """
    user_id = keys.parse_user(keys.operation_keys(user_id, "any").pk)
    return UserManagers(
        user_id,
        UserListings(Listing.objects, user_id),
        UserMLSConnections(MLSConnection.objects, user_id),
        UserSocialConnections(SocialConnection.objects, user_id),
        UserPosts(SocialPost.objects, user_id),
        UserMetrics(PerformanceMetrics.objects, user_id),
        UserItems(Item.objects, user_id),
    )
