"""``mlssocial listings``, ``posts``, ``metrics`` and ``connections``: one page of a query."""

from __future__ import annotations

from typing import Any

import click

from mlssocial.entities import ListingStatus
from mlssocial.models import Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from mlssocial.results import Results

from .connect import connect
from .options import Command, Globals, paging
from .output import everything, show_pages

_user = click.option("--user", required=True, metavar="ID", help="Whose.")
_STATUSES = click.Choice([status.value for status in ListingStatus])


@click.command("listings", cls=Command)
@_user
@click.option("--status", type=_STATUSES, help="Only those, by list date.")
@click.option("--mls-number", nargs=2, metavar="PROVIDER NUMBER", help="Only the copies of this MLS number.")
@paging
@click.pass_obj
def listings_command(
    options: Globals,
    /,
    user: str,
    status: str | None,
    mls_number: tuple[str, str] | None,
    limit: int,
    cursor: str | None,
    **how: bool,
) -> None:
    """List a user's listings."""
    found: Results[Listing]
    if mls_number:
        _refuse("--mls-number", **how)
        found = Listing.objects.query_by_mls_number(*mls_number, user_id=user, status=status)
    elif status:
        found = Listing.objects.query_by_status(user, status, **how)
    else:
        found = Listing.objects.query(user, **how)
    connect(options)
    show_pages(options, [found.page(limit, cursor)], f"such listings of {user}")


@click.command("posts", cls=Command)
@_user
@click.option("--listing", metavar="ID", help="Only those of this listing.")
@paging
@click.pass_obj
def posts_command(options: Globals, /, user: str, listing: str | None, limit: int, cursor: str | None, **how: bool) -> None:
    """List a user's social posts, all or those of a listing."""
    found: Results[SocialPost]
    if listing is None:
        found = SocialPost.objects.query(user, **how)
    else:
        _refuse("--listing", consistent=how.pop("consistent"))
        found = SocialPost.objects.query_by_listing(listing, user_id=user, **how)
    connect(options)
    show_pages(options, [found.page(limit, cursor)], f"such posts of {user}")


@click.command("metrics", cls=Command)
@_user
@click.option("--listing", required=True, metavar="ID", help="Of which listing.")
@click.option("--since", metavar="YYYY-MM-DD", help="From this day on.")
@click.option("--until", metavar="YYYY-MM-DD", help="Up to this day, it included.")
@paging
@click.pass_obj
def metrics_command(
    options: Globals,
    /,
    user: str,
    listing: str,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
    **how: bool,
) -> None:
    """List a listing's figures, day by day."""
    found = PerformanceMetrics.objects.query(user, listing, since=since, until=until, **how)
    connect(options)
    show_pages(options, [found.page(limit, cursor)], f"figures of {listing} in that time")


@click.command("connections", cls=Command)
@_user
@click.option("--mls", "kind", flag_value="mls", help="Only those to MLS feeds.")
@click.option("--social", "kind", flag_value="social", help="Only those to social platforms.")
@click.pass_obj
def connections_command(options: Globals, user: str, kind: str | None) -> None:
    """List a user's connections to MLS feeds and platforms."""
    found: dict[str, Results[Any]] = {"mls": MLSConnection.objects.query(user), "social": SocialConnection.objects.query(user)}
    connect(options)
    pages = [everything(results) for name, results in found.items() if kind in {name, None}]
    show_pages(options, pages, f"such connections of {user}")


def _refuse(option: str, **how: bool) -> None:
    """Say that an index query has no such choice."""
    for name, given in how.items():
        if given:
            raise click.UsageError(f"--{name} cannot stand beside {option}")
