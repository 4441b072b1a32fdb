"""The site's tests, over HTTP: python manage.py test."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

from django.test import LiveServerTestCase

from mlssocial import Listing, ListingData
from mlssocial.django.test import MLSSocialTestMixin
from mlssocial.testing import assert_requests


class Pages(MLSSocialTestMixin, LiveServerTestCase):
    """The pages, of a table with fifty active listings and one that is sold."""

    databases: frozenset[str] = frozenset()

    def setUp(self) -> None:
        """Fill the table."""
        super().setUp()
        payloads = [
            ListingData(status="active", price=500_000 + number, list_date=f"2024-01-{number % 28 + 1:02}")
            for number in range(50)
        ]
        payloads.append(ListingData(status="sold", price=1))
        Listing.objects.save_many(
            [Listing(user_id="agent-1", listing_id=f"l{number}", data=data) for number, data in enumerate(payloads)]
        )

    def get(self, path: str) -> str:
        """Get a page as a browser does."""
        with urlopen(self.live_server_url + path, timeout=30) as response:  # noqa: S310  our own server
            text: str = response.read().decode()
        return text

    def status(self, path: str) -> int:
        """Get the status of a page that is refused."""
        with self.assertRaises(HTTPError) as refused:
            self.get(path)
        refused.exception.close()
        return refused.exception.code

    def test_each_page_is_one_request(self) -> None:
        """Going by the links from the first page on shows every active listing once, for one request a page."""
        shown: list[str] = []
        more = "/agents/agent-1/"
        while more:
            with assert_requests(exactly=1, pattern=3):
                page = self.get(more)
            shown += re.findall(r'<li><a href="([^"]+)"', page)
            link = re.search(r'<a href="([^"]+)" rel="next"', page)
            more = f"/agents/agent-1/{html.unescape(link[1])}" if link else ""
        assert sorted(shown) == sorted(f"/agents/agent-1/l{number}/" for number in range(50))

    def test_a_listing(self) -> None:
        """A listing's page is one request; one that is sold, another agent's or none at all is not found."""
        with assert_requests(exactly=1):
            assert "500007 USD" in self.get("/agents/agent-1/l7/")
        for path in ("agent-1/l50", "agent-2/l7", "agent-1/none", "agent-1/a%23b"):
            assert self.status(f"/agents/{path}/") == HTTPStatus.NOT_FOUND
        assert self.status("/agents/agent-1/?cursor=nonsense") == HTTPStatus.NOT_FOUND
        assert "None at the moment" in self.get("/agents/agent-2/")
