"""``mlssocial browse`` as a person sees it: the command in a process of its own, and a headless Chromium before it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright

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

from .conftest import TOKEN_KEY, put_raw
from .leaks import CANARY, REFRESH, leak_in

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PAGES = (
    "listings?user=u1",
    "listing?user=u1&id=l01",
    "connections?user=u1",
    "queues",
    "queues?user=u1",
    "listing?user=u1&id=no",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not there: install Debian's package of that name")


def fill() -> None:
    """Give u1 thirty listings, figures and posts of the first, and connections with canaries for tokens."""
    now = datetime.now(UTC)
    homes = []
    for number in range(1, 31):
        data = ListingData(
            status=ListingStatus.SOLD if number % 5 == 0 else ListingStatus.ACTIVE,
            price=550_000 + number,
            list_date=date(2024, 1, number),
            mls_provider="flexmls",
            mls_number=f"MLS-{number}",
            address=Address(street=f"{number} Main St", city="Reno", state="NV", zip="89501"),
            photos=[Photo(url=f"https://photos.example/{number}.jpg", caption="Front", order=0)],
            description="W" * 300,
        )
        homes.append(Listing(user_id="u1", listing_id=f"l{number:02}", data=data))
    Listing.objects.save_many(homes)
    days = []
    for age in range(30):
        figures = {name: PlatformMetrics(views=age + 5, shares=1) for name in ("facebook", "instagram")}
        figures_of_day = PerformanceMetricsData(views=2 * age + 10, shares=2, platforms=figures)
        day = now.date() - timedelta(days=age)
        days.append(PerformanceMetrics(user_id="u1", listing_id="l01", date=day, data=figures_of_day))
    PerformanceMetrics.objects.save_many(days)
    for number in range(3):
        status = (PostStatus.PUBLISHED, PostStatus.FAILED, PostStatus.UNPUBLISH_PENDING)[number]
        post = SocialPostData(listing_id="l01", platform="facebook", status=status, content="For sale", error="too long")
        SocialPost.objects.save("u1", f"p{number}", post)
    metadata = {"pages": [{"id": "7", "accessToken": CANARY}]}
    account = SocialConnectionData(access_token=CANARY, refresh_token=REFRESH, expires_at=now, metadata=metadata)
    SocialConnection.objects.save("u1", "facebook", account)
    MLSConnection.objects.save("u1", "c1", MLSConnectionData(provider="flexmls", access_token=CANARY))
    clear = {"platform": {"S": "twitter"}, "accessToken": {"S": CANARY}, "pageToken": {"S": REFRESH}}
    key = {"PK": {"S": "USER#u1"}, "SK": {"S": "SOCIAL#TWITTER"}, "EntityType": {"S": "SocialConnection"}}
    put_raw(key | {"Data": {"M": clear}})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Fill a table in a file, serve it, and give the address with its token."""
    endpoint = f"local:{tmp_path_factory.mktemp('browse') / 'homes.db'}"
    mlssocial.configure(endpoint_url=endpoint, token_keys={"test": TOKEN_KEY})
    mlssocial.create_table()
    fill()
    command = [sys.executable, "-m", "mlssocial.cli", "--endpoint", endpoint, "browse"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all of these tests."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


class Visit:
    """
    A visitor who was let in.

    Attributes:
        requests: The address of every request, to whatever host.
        said: What the browser's console said, such as of a violated policy.
    """

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.home = context, address.partition("?")[0]
        self.requests: list[str] = []
        self.said: list[str] = []
        context.on("request", lambda request: self.requests.append(request.url))
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.goto(address)

    def open(self, path: str) -> Response:
        """Open a page."""
        answer = self.page.goto(self.home + path)
        assert answer is not None
        return answer


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """Visit with the token, in a context of its own; nothing may go to another host, and no policy be violated."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(5_000)
    visit = Visit(context, address)
    yield visit
    context.close()
    assert {urlsplit(url).netloc for url in visit.requests if not url.startswith("data:")} == {urlsplit(address).netloc}
    assert [text for text in visit.said if "404" not in text] == []


def test_pages_and_filters(visit: Visit) -> None:
    """A person finds the user's listings, goes to the last page, and narrows them down by status and by number."""
    page = visit.page
    assert (urlsplit(page.url).path, urlsplit(page.url).query) == ("/", "")
    page.get_by_label("User", exact=True).fill("u1")
    page.get_by_role("button", name="Show listings").click()
    expect(page.get_by_role("article")).to_have_count(24)
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("article")).to_have_count(6)
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    page.get_by_role("navigation", name="Status").get_by_role("link", name="Sold").click()
    expect(page.get_by_role("article")).to_have_count(6)
    expect(page.locator(".badge")).to_have_text(["Sold"] * 6)
    page.get_by_label("MLS provider").fill("flexmls")
    page.get_by_label("MLS number", exact=True).fill("MLS-10")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text(["10 Main St"])


def test_charts(visit: Visit) -> None:
    """A listing's figures are drawn by platform, are named for those who cannot see them, and open as a table."""
    visit.open("listings?user=u1")
    page = visit.page
    page.get_by_role("link", name="1 Main St", exact=True).click()
    drawing = page.get_by_role("img", name="Views a day")
    expect(drawing).to_have_count(1)
    expect(drawing).to_have_accessible_description(
        f"{datetime.now(UTC).date() - timedelta(days=29)} to {datetime.now(UTC).date()}. all: 1,170 in all, 68 at most. "
        "facebook: 585 in all, 34 at most. instagram: 585 in all, 34 at most."
    )
    assert drawing.locator("path.line").count() == 3
    assert drawing.locator("path.s2.line").evaluate("line => getComputedStyle(line).strokeDasharray") == "9px, 4px"
    page.get_by_text("Views a day as a table").click()
    expect(page.get_by_role("region", name="Views a day").get_by_role("row")).to_have_count(31)
    page.get_by_role("link", name="7 days", exact=True).click()
    expect(page.get_by_role("img", name="Views a day")).to_have_accessible_description(
        f"{datetime.now(UTC).date() - timedelta(days=6)} to {datetime.now(UTC).date()}. all: 112 in all, 22 at most. "
        "facebook: 56 in all, 11 at most. instagram: 56 in all, 11 at most."
    )


def test_refuses_a_wrong_token(browser: Browser, address: str) -> None:
    """With another token, or with none, there is nothing to see and nothing is kept."""
    context = browser.new_context()
    page = context.new_page()
    for tried in (address + "x", address.partition("?")[0], address.partition("?")[0] + "listings?user=u1"):
        answer = page.goto(tried)
        assert (answer and answer.status, context.cookies()) == (403, [])
        assert "Main St" not in page.content()
    context.close()


def test_shows_no_secret(visit: Visit, address: str) -> None:
    """No token is in any page, answer or address, or in what the browser keeps; the access token is a cookie alone."""
    seen = []
    for path in (*PAGES, "browse.css"):
        answer = visit.open(path)
        seen += [answer.text(), str(answer.all_headers()), visit.page.content()]
    visit.open(PAGES[0])
    kept = visit.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])")
    assert "sealed under test" in "".join(seen)
    assert "clear text" in "".join(seen)
    assert leak_in("\n".join([*seen, *visit.requests, kept])) is None
    token = address.partition("token=")[2]
    assert visit.requests[0] == address
    assert token not in "\n".join([*seen, *visit.requests[1:], kept])
    (cookie,) = visit.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)


_TOO_FAINT = """() => {
  const number = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const [r, g, b, a = 1] = number(getComputedStyle(element).backgroundColor);
      if (a > 0.7) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), svg = element.namespaceURI.endsWith("svg");
    if (svg && element.tagName !== "text") continue;
    const [one, other] = [light(number(svg ? style.fill : style.color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) faint.push(`${element.className} ${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return faint;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_can_be_read(visit: Visit, scheme: Any) -> None:
    """All text stands out from what is behind it by 4.5 to 1, in the light and in the dark."""
    visit.page.emulate_media(color_scheme=scheme)
    for path in ("", *PAGES):
        visit.open(path)
        backdrop = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert backdrop == {"light": "rgb(244, 245, 247)", "dark": "rgb(15, 19, 24)"}[scheme]
        assert visit.page.evaluate(_TOO_FAINT) == []


@pytest.mark.parametrize("width", [390, 320])
def test_fits_a_telephone(visit: Visit, width: int) -> None:
    """No page is wider than a telephone's, and its charts are drawn for that."""
    visit.page.set_viewport_size({"width": width, "height": 800})
    for path in ("", *PAGES):
        visit.open(path)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, path
    visit.open(PAGES[1])
    assert visit.page.get_by_role("img", name="Views a day").get_attribute("viewBox") == "0 0 350 230"


def test_can_be_used_by_keyboard(visit: Visit) -> None:
    """The first key leads past the navigation, and whatever has the focus shows it."""
    visit.open("listings?user=u1&status=sold")
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="All", exact=True)).to_be_focused()
    outlined = "[getComputedStyle(document.activeElement), getComputedStyle(document.activeElement, '::after')]"
    for _ in range(14):
        styles = page.evaluate(f"{outlined}.map(style => style.outlineStyle + ' ' + style.outlineWidth)")
        assert "solid 3px" in styles, page.evaluate("document.activeElement.outerHTML")
        page.keyboard.press("Tab")
    page.get_by_role("link", name="25 Main St").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("25 Main St")


def test_another_site_cannot_show_it(visit: Visit, tmp_path: Path) -> None:
    """A page from elsewhere can neither frame these pages nor load anything of theirs."""
    other = tmp_path / "other.html"
    other.write_text(f'<iframe src="{visit.home}queues"></iframe><img src="{visit.home}browse.css"><p>elsewhere</p>')
    page = visit.context.new_page()
    page.goto(other.as_uri())
    assert "Work queues" not in "".join(frame.content() for frame in page.frames)
    page.close()
    visit.requests[:] = [url for url in visit.requests if not url.startswith("file:")]
