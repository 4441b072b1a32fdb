"""``mlssocial listings``, ``posts``, ``metrics`` and ``connections``: one page of a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlssocial.entities import ListingStatus
from mlssocial.models import Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from mlssocial.results import Results
from mlssocial.rollups import Period, period_of, rollup

from .connect import connect
from .options import Command, Globals, paging
from .output import console, everything, print_json, show_pages
from .plot import save, terminal

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
@click.option("--plot", is_flag=True, help="Draw views, shares and inquiries over time, by platform.")
@click.option("--by", type=click.Choice(["day", "week", "month"]), help="What a point of the plot sums up [by the time].")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False), help="Draw into a file, .png or .svg.")
@paging
@click.pass_obj
def metrics_command(
    options: Globals,
    /,
    user: str,
    listing: str,
    since: str | None,
    until: str | None,
    plot: bool,  # noqa: FBT001  click passes by name
    by: Period | None,
    output: str | None,
    limit: int,
    cursor: str | None,
    **how: bool,
) -> None:
    """List a listing's figures, day by day, or draw them."""
    found = PerformanceMetrics.objects.query(user, listing, since=since, until=until, **how)
    connect(options)
    if plot or output is not None:
        _plot(options, found, f"{listing} of {user}", by, output)
    else:
        show_pages(options, [found.page(limit, cursor)], f"figures of {listing} in that time")


def _plot(options: Globals, found: Results[PerformanceMetrics], title: str, by: Period | None, output: str | None) -> None:
    """Draw all days of a query, in the terminal or into a file."""
    path = None if output is None else Path(output)
    if path is not None and path.suffix.lower() not in {".png", ".svg"}:
        raise click.BadParameter("a name that ends with .png or .svg is needed", param_hint="--output")
    days = [(item.date, item.data) for item in found]
    if not days:
        click.echo(f"no figures of {title} in that time")
        return
    first, last = min(day for day, _ in days), max(day for day, _ in days)
    period = by or period_of(first, last)
    rows = rollup(days, first, last, period)
    if path is not None:
        save(rows, period, title, path)
        click.echo(f"{len(rows)} {period}s of {title}: {path}")
    elif options.json:
        print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
    else:
        console().print(*terminal(rows, period), sep="\n")


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
