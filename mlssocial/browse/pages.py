"""The pages: each asks the managers for one page of each of its queries, and hands a template what is to be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from flask import Response, make_response, redirect, render_template, request

from mlssocial.entities import ListingStatus
from mlssocial.exceptions import InvalidKeyError, shown
from mlssocial.managers import ALL_USERS
from mlssocial.models import Listing, MLSConnection, PerformanceMetrics, SocialConnection, SocialPost
from mlssocial.results import Results, Unreadable
from mlssocial.rollups import period_of, rollup
from mlssocial.settings import current
from mlssocial.status import EXPIRY

from .access import Options, options
from .charts import charts, mark, totals
from .links import link
from .shown import Connection, Home, Post

LISTINGS, ROWS = 24, 20
"""How many cards, and rows of a table, a page has."""

SPANS = (7, 30, 90, 365)
"""Over how many days figures are shown."""

View = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Section:
    """
    One page of a query.

    Attributes:
        items: What is to be seen.
        unreadable: Rows that were met and left out.
        more: The address of the page that follows, None at the end.
        start: The address of the first page, None on it.
        explained: How the query is answered.
    """

    items: list[Any]
    unreadable: list[Unreadable]
    more: str | None
    start: str | None
    explained: str


def home() -> Any:
    """Ask whose listings are to be seen; where that is known, go to them."""
    if options().user is not None:
        return redirect(link("listings"))
    return _render("home", "Whose listings?", user=None)


def listings() -> Any:
    """Show a user's listings, by status and MLS number if asked. One request."""
    user, status = _user(), _given("status")
    provider, number = _given("provider"), _given("number")
    found: Results[Listing]
    if number is not None:
        if provider is None:
            raise InvalidKeyError("provider", "an MLS number is one of a provider's; fill in both")
        found = Listing.objects.query_by_mls_number(provider, number, user_id=user, status=status)
    elif status is not None:
        found = Listing.objects.query_by_status(user, status, reverse=True)
    else:
        found = Listing.objects.query(user)
    section = _section("cursor", found, Home.of, LISTINGS)
    kept = {"user": user, "provider": provider, "number": number}
    tabs = [(name, value, link("listings", **kept, status=value)) for name, value in _TABS]
    return _render("listings", f"Listings of {user}", user=user, section=section, status=status, tabs=tabs, **_filled(kept))


def listing() -> Any:
    """Show a listing with its figures and its posts. Three requests."""
    user, listing_id = _user(), _given("id") or ""
    item = Listing.objects.get(user, listing_id)
    found = SocialPost.objects.query_by_listing(listing_id, user_id=user, reverse=True)
    return _render(
        "listing",
        f"Listing {listing_id}",
        user=user,
        home=Home.of(item),
        posts=_section("posts", found, Post.of, ROWS),
        mark=mark,
        **_figures(user, listing_id),
    )


def connections() -> Any:
    """Show a user's connections to MLS feeds and to platforms. Two requests."""
    user = _user()
    feeds = _section("feeds", MLSConnection.objects.query(user), Connection.of, ROWS)
    accounts = _section("accounts", SocialConnection.objects.query(user), Connection.of, ROWS)
    return _render("connections", f"Connections of {user}", user=user, feeds=feeds, accounts=accounts)


def queues() -> Any:
    """Show what waits for workers: a user's, in three requests, or everybody's, in 24."""
    user = _given("user") or options().user
    everybody = user is None or _given("all") is not None
    whose: Any = ALL_USERS if everybody else user
    soon = datetime.now(UTC) + EXPIRY
    return _render(
        "queues",
        "Work queues",
        user=user,
        everybody=everybody,
        syncs=_section("syncs", MLSConnection.objects.due_for_sync(user_id=whose), Connection.of, ROWS),
        tokens=_section("tokens", SocialConnection.objects.expiring(soon, user_id=whose), Connection.of, ROWS),
        posts=_section("posts", SocialPost.objects.pending_unpublish(user_id=whose), Post.of, ROWS),
    )


def stylesheet() -> Response:
    """Give the style sheet."""
    answer = make_response(files(__package__).joinpath("browse.css").read_bytes())
    answer.content_type = "text/css; charset=utf-8"
    return answer


ROUTES: dict[str, View] = {
    "/": home,
    "/listings": listings,
    "/listing": listing,
    "/connections": connections,
    "/queues": queues,
    "/browse.css": stylesheet,
}


def context(given: Options) -> dict[str, Any]:
    """Give what every template needs."""
    user = _given("user") or given.user
    return {"options": given, "link": link, "table": current().table_name, "user": user, "page": ""}


_TABS = (("All", None), *((status.value.capitalize(), status.value) for status in ListingStatus))


def _figures(user: str, listing_id: str) -> dict[str, Any]:
    """Ask for a listing's days, as many as there can be in the time, and draw them."""
    span = _given("days") or "30"
    if span not in map(str, SPANS):
        raise InvalidKeyError("days", f"one of {', '.join(map(str, SPANS))} is needed, not {shown(span)}")
    until = datetime.now(UTC).date()
    since = until - timedelta(days=int(span) - 1)
    found = PerformanceMetrics.objects.query(user, listing_id, since=since, until=until)
    page = found.page(int(span))
    by = period_of(since, until)
    rows = rollup([(item.date, item.data) for item in page.items], since, until, by)
    spans = [(days, str(days) == span, link("listing", user=user, id=listing_id, days=days)) for days in SPANS]
    return {
        "spans": spans,
        "span": int(span),
        "charts": charts(rows, by) if page.items else [],
        "totals": totals(rows),
        "figures": Section([], page.unreadable, None, None, str(found.explain())),
    }


def _section(parameter: str, results: Results[Any], show: Callable[[Any], Any], limit: int) -> Section:
    """Read the page of a query that the URL's cursor of that name leads to."""
    cursor = _given(parameter)
    page = results.page(limit, cursor)
    here = {name: value for name, value in request.args.items() if name != parameter}
    endpoint = (request.endpoint or "").rpartition(".")[2]
    more = None if page.cursor is None else link(endpoint, **here, **{parameter: page.cursor})
    start = None if cursor is None else link(endpoint, **here)
    return Section([show(item) for item in page.items], page.unreadable, more, start, str(results.explain()))


def _given(name: str) -> str | None:
    """Give a field of the URL; one that a form sent empty was not given."""
    return request.args.get(name, "").strip() or None


def _filled(fields: dict[str, str | None]) -> dict[str, str]:
    return {name: value or "" for name, value in fields.items() if name != "user"}


def _user() -> str:
    user = _given("user") or options().user
    if user is None:
        raise InvalidKeyError("user", "the address names nobody; fill in whose items are to be seen")
    return user


def _render(template: str, title: str, **values: Any) -> str:
    return render_template(f"mlssocial_browse/{template}.html", title=title, page=template, **values)
