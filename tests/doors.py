"""Every method of ``for_user()``, called once: what the tests of tenants and of IAM policies walk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from mlssocial import (
    Item,
    Listing,
    ListingData,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    PerformanceMetricsData,
    Results,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
    UserManagers,
)

MANAGERS: dict[str, Any] = {
    "listings": Listing.objects,
    "mls_connections": MLSConnection.objects,
    "social_connections": SocialConnection.objects,
    "posts": SocialPost.objects,
    "metrics": PerformanceMetrics.objects,
    "items": Item.objects,
}
"""The managers, by their names on the door."""

DAY = date(2024, 1, 15)
LATE = datetime(2024, 6, 1, tzinfo=UTC)
HOME = ListingData.model_validate({"status": "active", "mls_provider": "p", "mls_number": "n", "list_date": DAY})
FEED = MLSConnectionData.model_validate({"provider": "p", "access_token": "t", "last_synced_at": 1})
ACCOUNT = SocialConnectionData.model_validate({"access_token": "t", "expires_at": 1})
POST = SocialPostData.model_validate({"listing_id": "l", "status": "published"})
WAITING = SocialPostData.model_validate({"status": "unpublish_pending", "unpublish_requested_at": 1})
FIGURES = PerformanceMetricsData(views=1)


def methods(of: Any) -> set[str]:
    """Name the public methods of a manager or of its door."""
    return {name for name in dir(type(of)) if not name.startswith("_") and callable(getattr(of, name))}


def fill(user: str) -> None:
    """Give a user an item of each kind, in every index."""
    Listing.objects.save(user, "l", HOME)
    MLSConnection.objects.save(user, "c", FEED)
    SocialConnection.objects.save(user, "facebook", ACCOUNT)
    SocialPost.objects.save(user, "p", POST)
    SocialPost.objects.save(user, "w", WAITING)
    PerformanceMetrics.objects.save(user, "l", DAY, FIGURES)


def verbs(door: str, ids: tuple[Any, ...], data: Any, change: dict[str, Any]) -> dict[str, Callable[[UserManagers], Any]]:
    """Give calls of the verbs, and of the methods in bulk, that every entity has."""

    def of(agent: UserManagers) -> Any:
        return getattr(agent, door)

    def new(agent: UserManagers) -> Any:
        manager = MANAGERS[door]
        fresh = [f"{ids[0]}9", *ids[1:]]
        named = dict(zip(manager.entity.id_names, [agent.user_id, *fresh], strict=True))
        return manager.model(**named, data=data.model_copy())

    one = ids[0] if len(ids) == 1 else ids
    calls: dict[str, Callable[[UserManagers], Any]] = {
        "get": lambda agent: of(agent).get(*ids),
        "find": lambda agent: of(agent).find(*ids, consistent=True),
        "create": lambda agent: of(agent).create(f"{ids[0]}8", *ids[1:], data),
        "save": lambda agent: of(agent).save(*ids, data),
        "update": lambda agent: of(agent).update(*ids, **change),
        "delete": lambda agent: of(agent).delete(*ids),
        "query": lambda agent: of(agent).query(*ids[:-1]),
        "get_many": lambda agent: of(agent).get_many([one]),
        "save_many": lambda agent: of(agent).save_many([of(agent).get(*ids)]),
        "create_many": lambda agent: of(agent).create_many([new(agent)]),
        "delete_many": lambda agent: of(agent).delete_many([one]),
    }
    return {f"{door}.{name}": call for name, call in calls.items()}


def leases(door: str, name: str, change: dict[str, Any]) -> dict[str, Callable[[UserManagers], Any]]:
    """Give calls of the methods that every work queue has."""

    def of(agent: UserManagers) -> Any:
        return getattr(agent, door)

    def lease(agent: UserManagers) -> Any:
        return of(agent).claim(of(agent).get(name), seconds=60)

    calls: dict[str, Callable[[UserManagers], Any]] = {
        "claim": lease,
        "claim_each": lambda agent: of(agent).claim_each(of(agent).query(), seconds=60),
        "complete": lambda agent: of(agent).complete(lease(agent), **change),
        "extend": lambda agent: of(agent).extend(lease(agent), seconds=60),
        "release": lambda agent: of(agent).release(lease(agent)),
    }
    return {f"{door}.{name}": call for name, call in calls.items()}


CALLS: dict[str, Callable[[UserManagers], Any]] = {
    **verbs("listings", ("l",), HOME, {"status": "sold"}),
    **verbs("mls_connections", ("c",), FEED, {"agent_id": "a"}),
    **verbs("social_connections", ("facebook",), ACCOUNT, {"platform_username": "a"}),
    **verbs("posts", ("p",), POST, {"status": "unpublished"}),
    **verbs("metrics", ("l", DAY), FIGURES, {"views": 2}),
    **leases("mls_connections", "c", {"last_synced_at": 5}),
    **leases("social_connections", "facebook", {"expires_at": 5}),
    **leases("posts", "w", {"status": "unpublished"}),
    "listings.query_by_status": lambda agent: agent.listings.query_by_status("active"),
    "listings.query_by_mls_number": lambda agent: agent.listings.query_by_mls_number("p", "n"),
    "listings.propagate_status": lambda agent: agent.listings.propagate_status("p", "n", "sold", operation_id="sale"),
    "mls_connections.due_for_sync": lambda agent: agent.mls_connections.due_for_sync(LATE),
    "mls_connections.refresh_tokens": lambda agent: agent.mls_connections.refresh_tokens(
        agent.mls_connections.get("c"), access_token="new", expires_at=LATE
    ),
    "social_connections.expiring": lambda agent: agent.social_connections.expiring(LATE),
    "social_connections.refresh_tokens": lambda agent: agent.social_connections.refresh_tokens(
        agent.social_connections.get("facebook"), access_token="new", expires_at=LATE
    ),
    "posts.query_by_listing": lambda agent: agent.posts.query_by_listing("l"),
    "posts.pending_unpublish": lambda agent: agent.posts.pending_unpublish(),
    "metrics.increment": lambda agent: agent.metrics.increment("l", DAY, "facebook", views=1, operation_id="seen"),
    "metrics.rollup": lambda agent: agent.metrics.rollup("l", DAY, DAY),
    "items.query": lambda agent: agent.items.query(),
}
"""A call of each method, by its name on the door; it needs what :func:`fill` gives."""


def finished(answer: Any) -> Any:
    """Do all that a lazy answer still has to do."""
    if isinstance(answer, Results):
        return list(answer), answer.count(), answer.page(1), answer.first()
    return list(answer) if isinstance(answer, Iterator) else answer
