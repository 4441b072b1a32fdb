"""What stands at a prompt and in a notebook: plans, pages, items, payloads, and what a tab completes."""

from __future__ import annotations

import inspect
import rlcompleter
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import (
    ALL_USERS,
    Item,
    Listing,
    ListingData,
    MLSConnection,
    PerformanceMetrics,
    Photo,
    SocialConnection,
    SocialConnectionData,
    SocialPost,
    count_capacity,
    for_user,
)
from mlssocial.cli.names import names
from mlssocial.notebook import MAX_COLUMNS, MAX_ROWS, MAX_TEXT
from mlssocial.testing import Factory, assert_requests

from .conftest import put_raw
from .leaks import CANARY, leak_in

MODELS: list[Any] = [Item, Listing, MLSConnection, SocialConnection, SocialPost, PerformanceMetrics]
LISTINGS = Listing.objects


class Parsed(HTMLParser):
    """The texts of an HTML table's cells, and the tags that there are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  the base's
        self.tags.add(tag)
        if tag in {"td", "th"}:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


TABLE = {"table", "caption", "thead", "tbody", "tr", "th", "td"}


class TestPlans:
    @pytest.mark.usefixtures("table")
    def test_nothing_is_read_to_show_them(self) -> None:
        """A query shows its plan, in text and in HTML, and sends nothing."""
        with assert_requests(max=0):
            results = LISTINGS.query_by_status("u1", "active")
            assert repr(results) == "<Results of Listing.objects.query_by_status: GSI2PK = USER#u1#STATUS#active>"
            html = Parsed(results._repr_html_())
        assert html.tags <= TABLE
        assert "GSI2PK = USER#u1#STATUS#active" in html.texts
        assert "up to 128 read units a page of DynamoDB's" in html.texts

    def test_an_explanation_reads_well_at_a_prompt(self) -> None:
        """It shows itself as it is printed, line by line, and in HTML the same."""
        explained = LISTINGS.query("u1").explain()
        assert repr(explained) == str(explained)
        assert str(explained).splitlines()[-1] == "  costs          up to 128 read units a page of DynamoDB's"
        assert [text for text in Parsed(explained._repr_html_()).texts if text in str(explained)] != []

    @pytest.mark.parametrize(
        ("results", "limit", "most"),
        [
            (LISTINGS.query("u1"), None, 128),
            (LISTINGS.query("u1", consistent=True), None, 256),
            (LISTINGS.query("u1", consistent=True), 1, 200),
            (LISTINGS.query("u1"), 1, 100),
            (LISTINGS.query("u1"), 2, 128),
            (LISTINGS.query_by_status("u1", "active"), 1, 128),
            (SocialPost.objects.pending_unpublish(user_id=ALL_USERS), None, 8 * 128),
            (SocialPost.objects.pending_unpublish(user_id="u1"), None, 128),
        ],
    )
    def test_the_most_that_a_page_costs(self, results: Any, limit: int | None, most: float) -> None:
        """1 MB at 4 KB a unit, or 8 KB where it is eventually consistent; less where a limit holds it to few items."""
        assert results.explain(limit=limit).max_read_units == most

    @pytest.mark.usefixtures("table")
    def test_no_request_costs_more(self) -> None:
        """What the engine tells of a query of a large partition is within the bound, but for the item that passes 1 MB."""
        for number in range(6):
            LISTINGS.save("u1", f"l{number}", ListingData(status="active", description="x" * 300_000))
        for consistent in (False, True):
            results = LISTINGS.query("u1", consistent=consistent)
            with count_capacity() as used, assert_requests(max=9) as calls:
                assert len(list(results)) == 6
            per_item = 100 if consistent else 50
            assert used.read_units <= len(calls) * (results.explain().max_read_units + per_item)
            with count_capacity() as used, assert_requests(exactly=1):
                assert len(results.page(1)) == 1
            assert used.read_units <= results.explain(limit=1).max_read_units


class TestPages:
    @pytest.mark.usefixtures("table")
    def test_show_their_first_items(self) -> None:
        """A page shows how many items it has and the first of them, and whether there are more."""
        factory = Factory()
        LISTINGS.save_many([factory.listing(user_id="u1") for _ in range(30)])
        page = LISTINGS.query("u1").page(25)
        with assert_requests(max=0):
            assert repr(page).startswith("<Page of 25, more behind its cursor: <Listing USER#u1 / LISTING#listing-1>, ")
            assert repr(page).count("<Listing ") == 5
            html = page._repr_html_()
        parsed = Parsed(html)
        assert html.count("<tr>") == 1 + MAX_ROWS
        assert parsed.texts[:4] == ["item", "user_id", "listing_id", "status"]
        assert parsed.texts.count("active") == MAX_ROWS
        assert html.count("<th ") == MAX_COLUMNS
        assert "and 5 more" in html
        assert repr(LISTINGS.query("u2").page()) == "<Page of 0, the last one>"

    @pytest.mark.usefixtures("table")
    def test_of_all_kinds(self) -> None:
        """Items of several classes and of another application stand in one table."""
        factory = Factory()
        factory.listing(user_id="u1").save()
        factory.social_connection(user_id="u1").save()
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "TASK#1"}, "EntityType": {"S": "Task"}, "Secret": {"S": CANARY}})
        html = Item.objects.query("u1").page()._repr_html_()
        assert Parsed(html).texts[MAX_COLUMNS::MAX_COLUMNS] == [repr(item) for item in Item.objects.query("u1")]
        assert leak_in(html) is None


class TestPayloads:
    @given(text=st.text(max_size=MAX_TEXT))
    def test_are_escaped(self, text: str) -> None:
        """Whatever stands in a field is text, and no markup."""
        data = ListingData(status="active", description=f"<script>{text}</script>", features=[f"<b>{text}"])
        html = Parsed(data._repr_html_())
        assert html.tags <= TABLE
        assert any(one.startswith("<script>") for one in html.texts)

    def test_are_bounded(self) -> None:
        """A long value is cut."""
        photos = [Photo(url="https://example.com/" + "x" * 1_000)] * 1_000
        data = ListingData(status="active", description="x" * 100_000, photos=photos)
        assert len(data._repr_html_()) < 2_000

    def test_show_no_token(self) -> None:
        """Tokens show as their masks, and open maps and unknown fields do not show, in a payload and in its item."""
        data = SocialConnectionData(access_token=CANARY, metadata={"page": CANARY}, other=CANARY)
        item = SocialConnection(user_id="u1", platform="facebook", data=data)
        for html in (data._repr_html_(), item._repr_html_()):
            assert leak_in(html) is None
            assert "**********" in Parsed(html).texts

    def test_items_show_their_fields(self) -> None:
        """An item shows its ids and the fields that are set."""
        item = Listing(user_id="u1", listing_id="l1", data=ListingData(status="active", price=Decimal("550000.10")))
        texts = Parsed(item._repr_html_()).texts
        assert texts == [
            "user_id",
            "u1",
            "listing_id",
            "l1",
            "status",
            "active",
            "price",
            "550000.10",
        ]


class TestCompletion:
    @pytest.mark.parametrize("model", MODELS)
    def test_managers_complete_to_their_methods(self, model: Any) -> None:
        """dir() of a manager has its public methods, each with a docstring and a signature, and nothing else."""
        manager = model.objects
        found = dir(manager)
        assert "query" in found
        methods = [name for name, _ in inspect.getmembers(type(manager), inspect.isfunction) if not name.startswith("_")]
        assert found == sorted(methods)
        for name in found:
            doc = inspect.getdoc(getattr(manager, name))
            assert doc, name
            assert "user_id" in inspect.signature(getattr(manager, name)).parameters or _takes_items(manager, name)

    def test_of_one_user(self) -> None:
        """The managers of one user complete to the same methods."""
        assert dir(for_user("u1").listings) == dir(Listing.objects)

    def test_in_the_shell(self) -> None:
        """Both prompts of ``mlssocial shell``, Python's and IPython's, complete the names that it begins with."""
        text, wanted = "Listing.objects.query_", ["query_by_mls_number", "query_by_status"]
        plain = rlcompleter.Completer(names())
        found = [str(plain.complete(text, number)) for number in range(2)]
        assert [one.rstrip("()") for one in found] == [f"Listing.objects.{name}" for name in wanted]
        assert plain.complete(text, 2) is None
        completer = pytest.importorskip("IPython.core.completer")
        with completer.provisionalcompleter():
            matches = completer.IPCompleter(shell=None, namespace=names(), use_jedi=False).completions(text, len(text))
            assert [match.text.rpartition(".")[2] for match in matches] == wanted


def _takes_items(manager: Any, name: str) -> bool:
    first = next(iter(inspect.signature(getattr(manager, name)).parameters))
    return first in {"item", "items", "ids", "lease", "queue", "connection"}
