"""The pages to look at the table with, as a client without JavaScript sees them: Flask's own, on every engine."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from click.testing import CliRunner
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, TestResponse, run_wsgi_app

import mlssocial
from mlssocial import (
    Address,
    Listing,
    ListingData,
    ListingStatus,
    MLSConnection,
    MLSConnectionData,
    PerformanceMetrics,
    PerformanceMetricsData,
    Photo,
    PlatformMetrics,
    PostStatus,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    SocialPostData,
)
from mlssocial.browse import blueprint, create_app
from mlssocial.browse.charts import NARROW, charts, totals
from mlssocial.browse.links import web_address
from mlssocial.browse.serving import listen
from mlssocial.browse.shown import ago, money
from mlssocial.cli.app import cli
from mlssocial.connection import recorded, store
from mlssocial.rollups import FIGURES, MetricsRow, rollup

from .conftest import TOKEN_KEY, put_raw
from .leaks import CANARY, REFRESH, leak_in

TOKEN = "tok-2f9c-ümlaut"
PAGES = ("/", "/listings?user=u1", "/listing?user=u1&id=l01", "/connections?user=u1", "/queues", "/browse.css")
TODAY = datetime.now(UTC).date()
Get = Callable[..., TestResponse]


class Document(HTMLParser):
    """What a page is made of: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Take text."""
        self.words += data.split()

    @property
    def text(self) -> str:
        """All text, with single blanks."""
        return " ".join(self.words)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Give the attributes of each such element."""
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    @property
    def next(self) -> str | None:
        """The address of the next page."""
        return next((link["href"] for link in self.all("a", rel="next")), None)


def titles(page: TestResponse) -> list[str]:
    """Give the headings of the cards of a page of listings."""
    return re.findall(r'<h2><a href="[^"]*">([^<]*)</a></h2>', page.text)


def fill(listings: int = 30) -> None:
    """Give u1 listings, the first one with figures and posts, and connections; and u2 one of each number."""
    for number in range(1, listings + 1):
        data = ListingData(
            status=ListingStatus.SOLD if number % 5 == 0 else ListingStatus.ACTIVE,
            price=Decimal(100_000 * number),
            bedrooms=Decimal(3),
            bathrooms=Decimal("2.5"),
            square_feet=Decimal(1850),
            list_date=date(2024, 1, 1) + timedelta(days=number),
            mls_provider="flexmls",
            mls_number=f"MLS-{number}",
            address=Address(street=f"{number} Main St", city="Reno", state="NV", zip="89501"),
            photos=[Photo(url=f"https://photos.example/{number}.jpg", caption="Front", order=0)],
        )
        Listing.objects.save("u1", f"l{number:02}", data)
    Listing.objects.save("u2", "l01", Listing.objects.get("u1", "l01").data)
    for number, platform in enumerate(("facebook", "instagram", "facebook")):
        PerformanceMetrics.objects.increment("u1", "l01", TODAY - timedelta(days=number), platform, views=10, clicks=2)
    now = datetime.now(UTC)
    account: Any = SocialConnectionData(
        platform_username="reno.homes",
        access_token=CANARY,
        refresh_token=REFRESH,
        expires_at=now + timedelta(days=2),
        metadata={"pages": [{"accessToken": CANARY}]},
        pageToken=CANARY,
    )
    SocialConnection.objects.save("u1", "facebook", account)
    SocialConnection.objects.save("u2", "linkedin", SocialConnectionData(access_token="t", expires_at=now - timedelta(hours=3)))
    feed = MLSConnectionData(provider="flexmls", access_token=CANARY, last_synced_at=now - timedelta(hours=2))
    MLSConnection.objects.save("u1", "c1", feed)
    post = SocialPostData(
        listing_id="l01", platform="facebook", status=PostStatus.PUBLISHED, content="For sale", published_at=now
    )
    SocialPost.objects.save("u1", "p1", post)
    SocialPost.objects.save(
        "u1", "p2", SocialPostData(listing_id="l01", platform="x", status=PostStatus.FAILED, error="too long")
    )
    asked = SocialPostData(listing_id="l05", status=PostStatus.UNPUBLISH_PENDING, unpublish_requested_at=now)
    SocialPost.objects.save("u1", "p3", asked)


FILLED = mlssocial.Settings(endpoint_url="local:", table_name=f"browse-{uuid.uuid4().hex}", token_keys={"test": TOKEN_KEY})


@pytest.fixture(scope="module")
def filled() -> Iterator[None]:
    """Fill a table on the embedded engine, which the tests of this file share; what they add is another user's."""
    mlssocial.configure(FILLED)
    mlssocial.create_table()
    fill()
    yield
    mlssocial.configure(FILLED)
    store().call("DeleteTable", {"TableName": FILLED.table_name})


@pytest.fixture
def get(filled: None) -> Get:
    """Ask the pages of an application without a token, over the table that is filled."""
    mlssocial.configure(FILLED)
    return create_app(access_token=None).test_client().get


@pytest.fixture
def client() -> Client:
    """Give a client of an application with a token, where there is no table."""
    mlssocial.configure(endpoint_url="local:", table_name="none-such")
    return create_app(access_token=TOKEN).test_client()


class TestAccess:
    def test_turns_the_token_into_a_cookie(self, client: Client) -> None:
        """The first visit is sent on to the same page without the token, with a cookie that no script and no other site has."""
        first = client.get("/listings", query_string={"user": "u1", "token": TOKEN})
        assert (first.status_code, first.headers["Location"]) == (303, "/listings?user=u1")
        (cookie,) = first.headers.getlist("Set-Cookie")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "Max-Age" not in cookie
        assert "Expires" not in cookie
        assert client.get("/").status_code == 200

    @pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], f"{TOKEN}x", TOKEN.upper(), "\ud800", "a" * 10_000])
    def test_refuses_a_wrong_token(self, client: Client, token: str) -> None:
        """Without the token, or with another, every page is 403 and sets no cookie, whether there is such a page or not."""
        for path in (*PAGES, "/no-such-page"):
            where = urlsplit(path)
            answer = client.get(where.path, query_string={"user": "u1", "token": token.encode("utf-8", "surrogatepass")})
            assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (403, [])
            assert client.get(path).status_code == 403

    def test_refuses_a_wrong_token_beside_a_right_cookie(self, client: Client) -> None:
        """A visitor who was let in and comes with another token is refused."""
        client.get("/", query_string={"token": TOKEN})
        assert client.get("/", query_string={"token": "x"}).status_code == 403
        assert client.get("/?token=").status_code == 403
        assert client.get("/").status_code == 200

    def test_each_server_has_a_cookie_of_its_own(self, client: Client) -> None:
        """Servers on different ports, which share a browser's cookies, do not take each other's away."""
        name = client.get("/", query_string={"token": TOKEN}).headers["Set-Cookie"].partition("=")[0]
        other = create_app(access_token="other").test_client().get("/?token=other")
        assert other.headers["Set-Cookie"].partition("=")[0] != name

    def test_sends_nobody_elsewhere(self, client: Client) -> None:
        """A path that looks like another site's address does not become one when the token is taken off."""
        answer = client.get("//evil.example/", base_url="http://localhost", query_string={"token": TOKEN})
        assert answer.headers.get("Location", "/").startswith("/")
        assert not answer.headers.get("Location", "/").startswith("//")

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", ""]
    )
    def test_refuses_another_sites_name(self, client: Client, host: str) -> None:
        """A request under a name that is not this server's is refused, the right token or not."""
        answer = client.get("/", query_string={"token": TOKEN}, environ_overrides={"HTTP_HOST": host})
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (400, False)

    @pytest.mark.parametrize(
        "host", ["127.0.0.1:8000", "[::1]:8000", "localhost", "LocalHost:1", "192.168.1.7", "Tables.Local:80"]
    )
    def test_takes_addresses_and_known_names(self, host: str) -> None:
        """Addresses, localhost, and the names that were given are this server's."""
        client = create_app(access_token=None, hosts=["tables.local"]).test_client()
        assert client.get("/", environ_overrides={"HTTP_HOST": host}).status_code == 200
        anywhere = create_app(access_token=None, hosts=None).test_client()
        assert anywhere.get("/", environ_overrides={"HTTP_HOST": "office.example"}).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
    def test_is_read_only(self, method: str) -> None:
        """Only GET and HEAD are answered."""
        client = create_app(access_token=None).test_client()
        for path in PAGES:
            answer = client.open(path, method=method)
            assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"GET", "HEAD"})

    @pytest.mark.usefixtures("get")
    def test_answers_head(self) -> None:
        """HEAD is GET without a body."""
        app = create_app(access_token=None)
        for path in PAGES:
            answer = app.test_client().head(path)
            assert (answer.status_code, answer.data) == (200, b"")

    @pytest.mark.usefixtures("get")
    def test_every_answer_has_its_headers(self) -> None:
        """Pages, errors and the style sheet may load, frame and store nothing, and tell no other site where they were."""
        app = create_app(access_token=TOKEN)
        client = app.test_client()
        answers = [
            client.get("/"),
            client.get("/", query_string={"token": TOKEN}),
            client.post("/"),
            client.get("/no-such-page"),
        ]
        for answer in (*answers, *map(client.get, PAGES), client.get("/listing?user=u1&id=none")):
            assert answer.headers["Content-Security-Policy"] == (
                "default-src 'none'; style-src 'self'; img-src 'self' data:; "
                "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            )
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


class TestHome:
    def test_asks_whose(self) -> None:
        """Where nobody is named, there is a field for the user's id, and a way to the queues."""
        page = Document(create_app(access_token=None).test_client().get("/").text)
        assert page.all("input", name="user", id="user")
        assert {"href": "/queues"} in page.all("a")

    def test_goes_to_the_user_that_was_given(self) -> None:
        """Where a user was given at the start, their listings come first."""
        client = create_app(access_token=None, user="u1").test_client()
        assert client.get("/").headers["Location"] == "/listings"


def test_pages_on_every_engine(table: str) -> None:
    """On every engine each page is there for the requests that it promises."""
    fill(6)
    client = create_app(access_token=None).test_client()
    costs = {"/": 0, "/listings?user=u1&status=sold": 1, "/listing?user=u1&id=l01": 3, "/connections?user=u1": 2, "/queues": 24}
    for path, cost in costs.items():
        with recorded() as requests:
            assert client.get(path).status_code == 200
        assert len(requests) == cost


class TestListings:
    def test_shows_photo_price_and_status(self, get: Get) -> None:
        """A card has the status in words, the price, the size and the number, and leads to the listing."""
        page = get("/listings?user=u1")
        shown = Document(page.text)
        assert (
            "$100,000 Active 1 Main St Reno, NV 89501 3 bd · 2.5 ba · 1,850 sq ft MLS MLS-1 · listed 2024-01-02" in shown.text
        )
        assert {"href": "/listing?user=u1&id=l01"} in shown.all("a")
        assert "1 photo" in shown.text

    def test_each_page_is_one_request(self, get: Get) -> None:
        """Every way to look for listings costs one request a page."""
        for query in ("", "&status=active", "&status=sold", "&provider=flexmls&number=MLS-3"):
            with recorded() as requests:
                assert get(f"/listings?user=u1{query}").status_code == 200
            assert len(requests) == 1

    @pytest.mark.parametrize(
        ("query", "wanted"), [("", range(1, 31)), ("&status=active", [n for n in range(30, 0, -1) if n % 5])]
    )
    def test_pages_give_every_listing_once(self, get: Get, query: str, wanted: Any) -> None:
        """From the first page over the links to the next, every listing comes once and in order, and then there is none."""
        address: str | None = f"/listings?user=u1{query}"
        found: list[str] = []
        sizes = []
        while address is not None:
            page = get(address)
            found += titles(page)
            sizes.append(len(titles(page)))
            address = Document(page.text).next
        assert found == [f"{number} Main St" for number in wanted]
        assert sizes == [24, len(wanted) - 24] if len(wanted) > 24 else [len(wanted)]

    def test_filters_by_status(self, get: Get) -> None:
        """Only listings in that status, and the chosen one is marked for those who cannot see its colour."""
        page = get("/listings?user=u1&status=sold")
        assert titles(page) == [f"{number} Main St" for number in (30, 25, 20, 15, 10, 5)]
        chosen = [link["href"] for link in Document(page.text).all("a") if link.get("aria-current") == "true"]
        assert chosen[-1] == "/listings?user=u1&status=sold"

    def test_filters_by_mls_number(self, get: Get) -> None:
        """A number of a provider's is the user's own copy, and with a status only where it has that."""
        assert titles(get("/listings?user=u1&provider=flexmls&number=MLS-5")) == ["5 Main St"]
        assert titles(get("/listings?user=u1&provider=flexmls&number=MLS-5&status=sold")) == ["5 Main St"]
        page = get("/listings?user=u1&provider=flexmls&number=MLS-5&status=active")
        assert (titles(page), "No such listings of u1" in Document(page.text).text) == ([], True)

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("", "user"),
            ("?user=%20", "user"),
            ("?user=a%23b", "user_id"),
            ("?user=u1&number=MLS-1", "provider"),
            ("?user=u1&status=gone", "status"),
            ("?user=u1&cursor=abc", "cursor"),
            ("?user=u1&provider=a%23&number=1", "mls_provider"),
        ],
    )
    def test_what_cannot_be_looked_for_is_said(self, get: Get, query: str, reason: str) -> None:
        """A field that cannot be is 400, names itself, and costs no request."""
        with recorded() as requests:
            page = get(f"/listings{query}")
        assert (page.status_code, len(requests)) == (400, 0)
        assert reason in page.text

    def test_a_cursor_is_one_users(self, get: Get) -> None:
        """The cursor of one user's page does not go on in another's."""
        cursor = parse_qs(urlsplit(Document(get("/listings?user=u1").text).next or "").query)["cursor"][0]
        assert get("/listings", query_string={"user": "u2", "cursor": cursor}).status_code == 400
        assert get("/listings", query_string={"user": "u1", "cursor": cursor}).status_code == 200

    def test_names_rows_that_cannot_be_read(self, get: Get) -> None:
        """A row that cannot be read is named by its key, with the reason and without its values."""
        broken = {"status": {"S": "active"}, "price": {"S": CANARY}}
        key = {"PK": {"S": "USER#u3"}, "SK": {"S": "LISTING#a"}, "EntityType": {"S": "Listing"}}
        put_raw(key | {"Data": {"M": broken}})
        page = get("/listings?user=u3")
        assert "1 row cannot be read and is left out: LISTING#a : price" in Document(page.text).text
        assert leak_in(page.text) is None

    @pytest.mark.parametrize(
        ("kind", "wall"), [("Residential", "M92 96"), ("Condominium", "M84 58"), ("Vacant Land", "M44 160"), (None, "M92 96")]
    )
    def test_draws_what_is_for_sale(self, get: Get, kind: str | None, wall: str) -> None:
        """Where no photo is loaded there is a drawing of the kind of property, and a listing with next to nothing says so."""
        Listing.objects.save("u7", "l1", ListingData(status=ListingStatus.EXPIRED, property_type=kind))
        page = get("/listings?user=u7")
        assert f'class="wall" d="{wall}' in page.text
        assert "No photo No price Expired No address" in Document(page.text).text

    def test_photos_are_loaded_only_if_asked(self, get: Get) -> None:
        """By default no page has an image of another site's; with photos=True it has, without telling the site where from."""
        assert Document(get("/listings?user=u1").text).all("img") == []
        page = create_app(access_token=None, photos=True).test_client().get("/listings?user=u1")
        image = Document(page.text).all("img")[0]
        assert (image["src"], image["referrerpolicy"]) == ("https://photos.example/1.jpg", "no-referrer")
        assert image["alt"] == "Front"
        assert "img-src 'self' data: https:;" in page.headers["Content-Security-Policy"]


class TestListing:
    def test_is_three_requests(self, get: Get) -> None:
        """A listing with its figures and its posts costs three requests, whatever the time."""
        for days in (7, 30, 90, 365):
            with recorded() as requests:
                assert get(f"/listing?user=u1&id=l01&days={days}").status_code == 200
            assert len(requests) == 3

    def test_draws_its_figures_by_platform(self, get: Get) -> None:
        """Each figure is a drawing with a title and a description in words, and a legend, and a table of the same values."""
        page = get("/listing?user=u1&id=l01")
        shown = Document(page.text)
        drawings = shown.all("svg", role="img")
        ids = {element["id"] for _, element in shown.elements if "id" in element}
        assert len(drawings) == 2 * len(FIGURES)
        assert all({drawing["aria-labelledby"], drawing["aria-describedby"]} <= ids for drawing in drawings)
        assert "all: 30 in all, 10 at most. facebook: 20 in all, 10 at most. instagram: 10 in all" in shown.text
        assert "Platform views shares inquiries clicks all 30 0 0 \u2013 facebook 20 0 0 4 instagram 10 0 0 2" in shown.text
        assert "Time all facebook instagram" in shown.text

    def test_shows_its_posts(self, get: Get) -> None:
        """Posts come newest first with status and error, those of other listings not."""
        shown = Document(get("/listing?user=u1&id=l01").text).text
        assert "Posts x Failed not published too long p2 facebook Published published just now For sale p1" in shown
        assert "p3" not in shown

    def test_pages_its_posts(self, get: Get) -> None:
        """Many posts come page after page, each once, and the rest of the address stays as it was."""
        Listing.objects.save("u3", "l02", ListingData(status=ListingStatus.ACTIVE))
        for number in range(30):
            SocialPost.objects.save("u3", f"q{number:02}", SocialPostData(listing_id="l02", platform="x"))
        address: str | None = "/listing?user=u3&id=l02&days=90"
        found: list[str] = []
        while address is not None:
            page = get(address)
            found += re.findall(r"\bq\d\d\b", page.text)
            assert "days=90" in address
            address = Document(page.text).next
        assert found == [f"q{number:02}" for number in reversed(range(30))]

    @pytest.mark.parametrize(
        ("query", "status"), [("id=none", 404), ("", 400), ("id=a%23b", 400), ("id=l01&days=31", 400), ("id=l01&days=x", 400)]
    )
    def test_what_is_not_there(self, get: Get, query: str, status: int) -> None:
        """A listing that is not there is 404, an id or a time that cannot be 400."""
        assert get(f"/listing?user=u1&{query}").status_code == status

    def test_another_users_listing_is_not_there(self, get: Get) -> None:
        """A listing is looked for under its user."""
        assert get("/listing?user=u2&id=l02").status_code == 404

    def test_without_figures(self, get: Get) -> None:
        """A listing without figures or posts says so."""
        shown = Document(get("/listing?user=u1&id=l07").text).text
        assert "No figures in the last 30 days." in shown
        assert "No posts of this listing." in shown


class TestConnections:
    def test_is_two_requests(self, get: Get) -> None:
        """Both kinds of connections are a request each."""
        with recorded() as requests:
            assert get("/connections?user=u1").status_code == 200
        assert len(requests) == 2

    def test_shows_expiry_and_health(self, get: Get) -> None:
        """Health is a word, expiry a time, and of tokens there is how they lie in the table."""
        shown = Document(get("/connections?user=u1").text).text
        assert re.search(
            r"facebook reno\.homes Expires soon [\d-]+ [\d:]+ UTC in \d days? sealed under test sealed under test", shown
        )
        assert "c1 flexmls Healthy no date sealed under test none 2 hours ago" in shown
        assert "linkedin \u2013 Expired" in Document(get("/connections?user=u2").text).text

    def test_says_what_lies_in_clear_text(self, get: Get) -> None:
        """A token that another application left in clear text is said to be, and is not shown."""
        key = {"PK": {"S": "USER#u3"}, "SK": {"S": "SOCIAL#TWITTER"}, "EntityType": {"S": "SocialConnection"}}
        put_raw(key | {"Data": {"M": {"platform": {"S": "twitter"}, "accessToken": {"S": CANARY}}}})
        page = get("/connections?user=u3")
        assert "twitter \u2013 Healthy no date clear text none" in Document(page.text).text
        assert leak_in(page.text) is None

    @pytest.mark.parametrize(
        ("fields", "health"),
        [
            ({"access_token": None}, "No token"),
            ({"access_token": "t"}, "Never synced"),
            ({"access_token": "t", "expires_at": timedelta(days=-1)}, "Expired"),
            ({"access_token": "t", "expires_at": timedelta(days=6)}, "Expires soon"),
            ({"access_token": "t", "expires_at": timedelta(days=8), "last_synced_at": timedelta(0)}, "Healthy"),
        ],
    )
    def test_health_of_a_feed(self, get: Get, fields: dict[str, Any], health: str) -> None:
        """A feed's health is the worst that is known of it."""
        now = datetime.now(UTC)
        given = {name: now + value if isinstance(value, timedelta) else value for name, value in fields.items()}
        MLSConnection.objects.save("u6", "c1", MLSConnectionData(**given))
        assert f"c1 \u2013 {health} " in Document(get("/connections?user=u6").text).text


class TestQueues:
    def test_costs_a_request_for_each_partition(self, get: Get) -> None:
        """Everybody's queues are eight requests each, one user's are one each."""
        for query, cost in (("", 24), ("?user=u1", 3), ("?user=u1&all=yes", 24)):
            with recorded() as requests:
                assert get(f"/queues{query}").status_code == 200
            assert len(requests) == cost

    def test_shows_what_waits(self, get: Get) -> None:
        """Syncs, tokens and posts are there with their users, and what a worker has claimed says until when."""
        feed = MLSConnectionData(access_token="t", last_synced_at=datetime.now(UTC) - timedelta(days=3))
        MLSConnection.objects.claim(MLSConnection.objects.save("u3", "c3", feed), seconds=3600)
        shown = Document(get("/queues").text).text
        assert re.search(r"u3 c3 \u2013 [\d-]+ [\d:]+ UTC 3 days ago claimed, free in \d+ minutes u1 c1 flexmls", shown)
        assert re.search(r"u2 linkedin Expired [\d-]+ [\d:]+ UTC 3 hours ago free u1 facebook Expires soon", shown)
        assert re.search(r"u1 p3 l05 [\d-]+ [\d:]+ UTC just now free", shown)

    def test_shows_one_users(self, get: Get) -> None:
        """One user's queues leave out the others'."""
        shown = Document(get("/queues?user=u1").text).text
        assert "u2" not in shown
        assert "facebook Expires soon" in shown


SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x1b{{ 7*7 }}"


def hostile() -> str:
    """Put markup, scripts and braces into everything of a user that has text, and give the user's id."""
    user = "<b onclick=x>\"'&"
    texts: dict[str, Any] = dict.fromkeys(
        ("mls_id", "mls_number", "property_type", "description", "standard_status", "mls_status", "list_office_name"), SCRIPT
    )
    data = ListingData(
        status=ListingStatus.ACTIVE,
        price=Decimal("9.99E+125"),
        square_feet=Decimal("1E-100"),
        address=Address(street=SCRIPT, city=SCRIPT, state=SCRIPT, zip=SCRIPT),
        features=[SCRIPT],
        photos=[
            Photo(url="javascript:alert(1)", caption=SCRIPT),
            Photo(url="JaVaScRiPt:alert(1)"),
            Photo(url="data:text/html,<script>alert(1)</script>"),
            Photo(url="//evil.example/x"),
            Photo(url="http://[::1"),
            Photo(url='https://evil.example/"onload=alert(1)<script>', caption=SCRIPT),
        ],
        **texts | {"mls_number": "1<script>"},
        mls_provider="<script>alert(1)</script>",
        virtualTourUrl="javascript:alert(1)",
    )
    Listing.objects.save(user, "<l>", data)
    figures = {SCRIPT: PlatformMetrics(views=10**100, clicks=1), "all": PlatformMetrics(views=-5)}
    PerformanceMetrics.objects.save(user, "<l>", TODAY, PerformanceMetricsData(views=10**120, platforms=figures))
    for number, url in enumerate(("javascript:alert(1)", "vbscript:x", "", "https://ok.example/<script>")):
        post = SocialPostData(
            listing_id="<l>",
            platform=SCRIPT,
            content=SCRIPT,
            hashtags=[SCRIPT],
            error=SCRIPT,
            platform_post_url=url,
            status=PostStatus.UNPUBLISH_PENDING,
            unpublish_requested_at=datetime.now(UTC),
        )
        SocialPost.objects.save(user, f"<p{number}>", post)
    account = SocialConnectionData(
        access_token="t", platform_username=SCRIPT, scope=[SCRIPT], expires_at=datetime(9999, 12, 31, tzinfo=UTC)
    )
    SocialConnection.objects.save(user, "<x>", account)
    feed = MLSConnectionData(provider=SCRIPT, agent_id=SCRIPT, access_token="t", last_synced_at=datetime(1, 1, 1, tzinfo=UTC))
    MLSConnection.objects.save(user, "<c>", feed)
    return user


@pytest.mark.parametrize("photos", [False, True])
def test_hostile_text_stays_text(table: str, photos: bool) -> None:
    """Whatever is stored, a page has no script, no handler, no style of its own, and no link but to the web and to itself."""
    user = hostile()
    client = create_app(access_token=None, photos=photos).test_client()
    for path in ("listings", "listing", "connections", "queues", "no-such-page"):
        for query in ({"user": user, "id": "<l>"}, {"user": user, "id": "<l>", "status": "active", "days": SCRIPT}):
            answer = client.get(f"/{path}", query_string=query)
            page = Document(answer.text)
            assert answer.status_code == (400 if path == "listing" and "days" in query else 404 if "no-" in path else 200)
            assert {tag for tag, _ in page.elements} & {"script", "iframe", "object", "embed", "base", "style", "b"} == set()
            names = {name for _, attributes in page.elements for name in attributes}
            assert {name for name in names if name.startswith("on") or name == "style"} == set()
            links = {
                attributes[name] for _, attributes in page.elements for name in ("href", "src", "action") if name in attributes
            }
            assert {urlsplit(link).scheme for link in links} <= {"", "https", "data"}
            assert {link for link in links if link.startswith(("//", "data:")) and link != "data:,"} == set()
            assert "49" not in page.words
            assert "\x00" not in answer.text


def test_no_page_shows_a_secret(get: Get) -> None:
    """No token, no metadata and no unknown field of a connection is on any page."""
    for path in (*PAGES, "/connections?user=u2", "/queues?user=u1", "/listing?user=u1&id=none"):
        answer = get(path)
        assert leak_in(f"{answer.text}{answer.headers}") is None


def test_pages_can_be_used_without_seeing_them(get: Get) -> None:
    """Every page has one h1, landmarks, a way past the navigation, a label for each field, headings in order, ids once."""
    for path in (*PAGES[:-1], "/listing?user=u1&id=none", "/listings?user=u1&status=sold"):
        page = Document(get(path).text)
        tags = [tag for tag, _ in page.elements]
        assert page.all("html", lang="en")
        assert (tags.count("h1"), tags.count("main"), tags.count("header"), tags.count("footer")) == (1, 1, 1, 1)
        assert page.all("a")[0] == {"class": "skip", "href": "#content"}
        levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
        assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
        labelled = {label["for"] for label in page.all("label")}
        assert {field["id"] for field in page.all("input") if field.get("type") != "hidden"} == labelled
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert all("aria-label" in part or "aria-labelledby" in part for part in page.all("nav"))
        assert all({"scope"} <= cell.keys() for cell in page.all("th"))


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "remedy"),
        [
            ("AccessDeniedException", 502, "credentials"),
            ("ResourceNotFoundException", 502, "mlssocial init"),
            ("ThrottlingException", 503, "load the page again"),
        ],
    )
    def test_of_dynamodb_have_a_remedy(self, code: str, status: int, remedy: str) -> None:
        """What DynamoDB refuses is 502, what passes is 503, and both say what to do."""
        mlssocial.configure(endpoint_url="local:", table_name="refused", deadline=0.2)
        from botocore.awsrequest import AWSResponse

        def refuse(**_: Any) -> Any:
            parsed = {
                "Error": {"Code": code, "Message": "injected"},
                "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {}},
            }
            return AWSResponse("", 400, {}, None), parsed

        store().client.meta.events.register_first("before-call.dynamodb.Query", refuse)
        page = create_app(access_token=None).test_client().get("/listings?user=u1")
        assert (page.status_code, remedy in page.text) == (status, True)

    def test_of_a_table_that_is_not_there(self) -> None:
        """Where there is no table, the page says how one is made."""
        mlssocial.configure(endpoint_url="local:", table_name="none-such")
        page = create_app(access_token=None).test_client().get("/connections?user=u1")
        assert (page.status_code, "mlssocial init" in page.text) == (502, True)

    def test_of_a_program_show_nothing_of_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """A fault of the pages themselves is a plain 500, with its headers."""
        app = create_app(access_token=None)
        app.view_functions["mlssocial_browse.home"] = lambda: dict[str, str]()[CANARY]
        page = app.test_client().get("/")
        assert (page.status_code, leak_in(page.text)) == (500, None)
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert "Exception on / [GET]" in caplog.text


class TestMounting:
    @pytest.mark.usefixtures("get")
    def test_in_a_flask_application(self) -> None:
        """A blueprint's links, cookie and errors stay under its prefix; the application's own pages stay as they are."""
        app = Flask("office")
        app.register_blueprint(blueprint(access_token=TOKEN), url_prefix="/table")
        app.add_url_rule("/", "index", lambda: "the office")
        client = app.test_client()
        assert client.get("/table/").status_code == 403
        first = client.get("/table/", query_string={"token": TOKEN})
        assert (first.headers["Location"], "Path=/table/" in first.headers["Set-Cookie"]) == ("/table/", True)
        page = client.get("/table/listings?user=u1")
        links = [attributes["href"] for tag, attributes in Document(page.text).elements if tag in {"a", "link"}]
        assert {link.split("?")[0].rsplit("/", 1)[0] for link in links if link.startswith("/")} == {"/table"}
        assert client.get("/table/listing?user=u1&id=none").status_code == 404
        own = client.get("/")
        assert (own.text, "Content-Security-Policy" in own.headers) == ("the office", False)
        assert "mlssocial" not in client.get("/none").text

    @pytest.mark.usefixtures("get")
    def test_twice_with_names(self) -> None:
        """Two of them in one application keep to themselves."""
        app = Flask("office")
        app.register_blueprint(blueprint(access_token=None, user="u1", name="one"), url_prefix="/one")
        app.register_blueprint(blueprint(access_token=None, user="u2", name="two"), url_prefix="/two")
        client = app.test_client()
        assert client.get("/one/").headers["Location"] == "/one/listings"
        assert "Listings of u2" in Document(client.get("/two/listings").text).text

    @pytest.mark.usefixtures("get")
    def test_as_wsgi_below_a_prefix(self) -> None:
        """As a WSGI application below another one's path, all links begin with that path."""
        environment = {
            "SCRIPT_NAME": "/admin/table",
            "PATH_INFO": "/listings",
            "QUERY_STRING": "user=u1",
            "HTTP_HOST": "office",
        }
        body, status, _ = run_wsgi_app(
            create_app(access_token=None, hosts=None),
            {
                "REQUEST_METHOD": "GET",
                "wsgi.url_scheme": "https",
                "SERVER_NAME": "office",
                "SERVER_PORT": "443",
                **environment,
            },
        )
        page = Document(b"".join(body).decode())
        assert status == "200 OK"
        assert {link["href"].startswith("/admin/table/") for link in page.all("a") if link["href"] != "#content"} == {True}

    def test_says_which_extra_is_missing(self) -> None:
        """Without Flask the import ends with an error that names the extra."""
        script = "import sys; sys.modules['flask'] = None\ntry:\n import mlssocial.browse\nexcept Exception as e: print(e)"
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert said == "browse needs Flask: pip install 'mlssocial[browse]'\n"


COUNTS = st.integers(-5, 10**6) | st.sampled_from([0, 10**38 - 1, 10**125])


@st.composite
def rows(draw: st.DrawFn) -> list[MetricsRow]:
    """Make rows of a few platforms, with any figures."""
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(draw(st.integers(1, 70)))]
    platforms = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=9))

    def figures() -> PerformanceMetricsData:
        found = {name: PlatformMetrics(views=draw(COUNTS), shares=draw(COUNTS)) for name in platforms}
        return PerformanceMetricsData(views=draw(COUNTS), shares=draw(COUNTS), platforms=found)

    data = figures()
    return rollup([(day, data if day.day % 2 else figures()) for day in days[:6]], days[0], days[-1], "day")


class TestCharts:
    @given(rows())
    def test_stay_within_their_frame(self, rows: list[MetricsRow]) -> None:
        """Every point lies between the axes, and no two labels of an axis stand at one place, whatever the figures."""
        for chart in charts(rows, "day"):
            assert len(chart.rows) == len(rows)
            for drawing in chart.drawings:
                for line in drawing.lines:
                    points = [tuple(map(float, pair)) for pair in re.findall(r"([\d.-]+) ([\d.-]+)", line.path)]
                    assert len(points) == len(rows)
                    assert all(drawing.left <= x <= drawing.right and drawing.top <= y <= drawing.bottom for x, y in points)
                assert len({tick.at for tick in drawing.up}) == len(drawing.up) <= 6
                gaps = [b.at - a.at for a, b in pairwise(drawing.across)]
                assert all(gap > 60 for gap in gaps)
                assert drawing.across[-1].label == chart.rows[-1][0]

    def test_lines_differ_in_more_than_colour(self) -> None:
        """Six platforms have six styles, the same in every chart, and the total one of its own."""
        data = PerformanceMetricsData(
            views=6, shares=6, platforms={name: PlatformMetrics(views=1, shares=1) for name in "abcdef"}
        )
        made = charts(rollup([(TODAY, data)], TODAY, TODAY, "day"), "day")
        styles = [{line.name: line.style for line in chart.drawings[0].lines} for chart in made[:2]]
        assert styles == [{"all": 0} | dict(zip("abcdef", range(1, 7), strict=True))] * 2
        marks = {re.sub(r"[\d.]+", "", line.marks) + line.marks for line in made[0].drawings[0].lines if line.style}
        assert len(marks) == 6

    def test_a_telephone_has_a_drawing_of_its_own(self) -> None:
        """Each chart is drawn for a narrow page too."""
        row = MetricsRow(TODAY, TODAY, 1, 1, 1, {})
        assert all(chart.drawings[-1].width == NARROW < chart.drawings[0].width for chart in charts([row], "month"))

    def test_totals_leave_rates_out(self) -> None:
        """A rate is not summed up, and any other counter of a platform is."""
        figures: dict[str, int | Decimal] = {"views": 2, "saves": Decimal("1.0"), "engagement": Decimal("0.5")}
        row = MetricsRow(TODAY, TODAY, 7, 0, 0, {"facebook": figures})
        assert totals([row, row]).figures == ["views", "shares", "inquiries", "saves"]
        assert totals([row, row]).rows == [("all", ["14", "0", "0", ""]), ("facebook", ["4", "0", "0", "2"])]


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://a.example/x.jpg", True),
        ("HTTP://a.example", True),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("\x01javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//a.example", False),
        ("/relative", False),
        ("https://", False),
        ("http://[::1", False),
        ("", False),
        (None, False),
    ],
)
def test_only_web_addresses_become_links(url: str | None, fits: bool) -> None:
    """A link leads to http or https and a host, or is none."""
    assert (web_address(url) is not None) is fits


@given(st.text())
def test_no_other_scheme_passes(url: str) -> None:
    """Whatever the text, what passes begins as a web address does."""
    found = web_address(url)
    assert found is None or found.lower().startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(seconds=-5), "in less than a minute"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=-49), "in 2 days"),
        (timedelta(days=1500), "1,500 days ago"),
    ],
)
def test_times_in_words(passed: timedelta, said: str) -> None:
    """Times are said in their largest whole unit."""
    assert ago(passed) == said


def test_prices() -> None:
    """Cents are there where they are some."""
    assert [money(price) for price in (Decimal(550000), Decimal("550000.50"), None)] == ["$550,000", "$550,000.50", "No price"]


@pytest.fixture
def served(tmp_path: Any) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``mlssocial browse`` on a table in a file, and give the address that it prints."""
    command = [sys.executable, "-m", "mlssocial.cli", "--endpoint", f"local:{tmp_path / 'homes.db'}"]
    subprocess.run([*command, "init"], check=True, capture_output=True)
    with subprocess.Popen(
        [*command, "browse", "--user", "u1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


class TestCommand:
    def test_serves_until_ctrl_c(self, served: tuple[str, subprocess.Popen[str]]) -> None:
        """It prints one address on this machine with a token, answers there, logs nothing, and Ctrl-C is its end."""
        address, process = served
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", address)
        opener = build_opener(HTTPCookieProcessor())
        with opener.open(address) as answer:
            assert (answer.status, answer.url) == (200, address.partition("?")[0] + "listings")
            assert answer.headers["Server"] == "mlssocial"
            assert b"No such listings of" in answer.read()
        with pytest.raises(HTTPError, match="403"):
            build_opener().open(address + "x")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "Ctrl-C ends it\n"

    def test_says_that_a_port_is_taken(self) -> None:
        """An address that cannot be listened at is one line and exit code 1, and one that others can reach is warned of."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            result = CliRunner().invoke(cli, ["--endpoint", "local:", "browse", "--port", port])
            assert (result.exit_code, result.stdout) == (1, "")
            assert f"error: --host 127.0.0.1 --port {port}: " in result.stderr
            result = CliRunner().invoke(cli, ["--endpoint", "local:", "browse", "--host", "192.0.2.1"])
            assert (result.exit_code, "warning: 192.0.2.1 can be reached by others" in result.stderr) == (1, True)

    def test_prints_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With --json the address is a document, and another address than loopback's is warned of where it can be had."""
        monkeypatch.setattr("mlssocial.browse.serving.Server.serve_forever", lambda _: None)
        result = CliRunner().invoke(cli, ["--endpoint", "local:", "--json", "browse", "--host", "0.0.0.0"])  # noqa: S104
        assert json.loads(result.stdout)["url"].startswith("http://0.0.0.0:")
        assert result.stderr.startswith("warning: 0.0.0.0 can be reached by others")

    @pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
    def test_writes_ipv6_addresses_as_urls_do(self) -> None:
        """An IPv6 address stands in brackets."""
        with listen(create_app(access_token="t"), "::1", 0) as server:
            assert re.fullmatch(r"http://\[::1\]:\d+/\?token=t", server.address("t"))
