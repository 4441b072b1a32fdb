"""A RESO Web API server is read to its end however it behaves, or the error says why not; and no secret leaves."""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import mlssocial
from mlssocial import (
    ConfigurationError,
    FeedError,
    ItemNotFoundError,
    Listing,
    MLSConnection,
    MLSConnectionData,
    MLSSocialError,
    Token,
)
from mlssocial.connection import recorded
from mlssocial.reso import ClientCredentials, ImportReport, Record, Server, import_feed

from .resoserver import (
    Answer,
    Api,
    Asked,
    Handler,
    cut_archive,
    cut_body,
    cut_without_length,
    damaged_archive,
    drip,
    hang_up,
    page_of,
    serving,
    silence,
    status,
)
from .test_reso_importing import WRITES

CANARY = "tok-canary-4711"


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Make records, one changed a second after the other."""
    return [
        {
            "ListingKey": f"K{number:04}",
            "ListingId": f"N{number}",
            "StandardStatus": "Active",
            "ListPrice": 1000 + number,
            "City": "Reno" if number % 2 else "Sparks",
            "ModificationTimestamp": f"2024-01-15T10:{number // 60:02}:{number % 60:02}.250Z",
        }
        for number in range(start, start + count)
    ]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Serve 35 records, four pages of them, to whoever does not wait long."""
    monkeypatch.setattr("mlssocial.reso.web._FIRST_PAUSE", 0.01)
    with serving(Api(records(35))) as made:
        yield made


@pytest.fixture
def memory() -> None:
    """Have a table, in memory: what is proved here is no engine's doing."""
    mlssocial.configure(endpoint_url="local:", table_name="homes")
    mlssocial.local.forget()
    mlssocial.create_table()


def sync(api: Api, checkpoint: Path | None = None, **options: Any) -> ImportReport:
    """Import what the server has."""
    server = Server(url=options.pop("url", api.url), timeout=options.pop("timeout", 2), **options)
    return import_feed(server, user_id="u1", provider="flexmls", checkpoint=checkpoint)


def everything(api: Api, **options: Any) -> list[Record]:
    """Read what the server has, without a table."""
    from mlssocial.reso.sources import Ledger

    options = {"timeout": 2.0, **options}
    server = Server(url=options.pop("url", api.url), **options)
    steps = server.steps(None, Ledger({}, lambda: None))
    return [step.record for step in steps if step.record is not None]


def keys(found: list[Record]) -> list[str]:
    """Give the records' keys."""
    return [record.fields["ListingKey"] for record in found]


ALL = [record["ListingKey"] for record in records(35)]


class TestPages:
    def test_are_read_to_the_end(self, api: Api) -> None:
        """Every page is read, by its next links, with the page size that was asked for, and positions count through."""
        found = everything(api)
        assert keys(found) == ALL
        assert [record.position for record in found] == list(range(1, 36))
        assert {record.source for record in found} == {api.url}
        assert [asked.headers["prefer"] for asked in api.asked] == ["odata.maxpagesize=1000"] * 4
        assert api.asked[0].query["$orderby"] == "ModificationTimestamp,ListingKey"

    def test_options(self, api: Api) -> None:
        """The page size and the order can be left to the server, and a URL's own filter and fields are kept."""
        found = everything(api, url=f"{api.url}?$filter=City eq 'Reno'&$expand=Media", page_size=None, ordered=False)
        assert len(found) == 17
        assert "prefer" not in api.asked[0].headers
        assert api.asked[0].query == {"$filter": "City eq 'Reno'", "$expand": "Media"}

    def test_a_relative_link(self, api: Api) -> None:
        """A next link may be relative."""

        def relative(handler: Handler, asked: Asked) -> dict[str, Any]:
            made = handler.page(asked)
            made["@odata.nextLink"] = made["@odata.nextLink"].replace(api.url, "Property")
            return made

        api.faults = [page_of(relative)]
        assert keys(everything(api)) == ALL

    def test_a_page_that_comes_twice(self, api: Api) -> None:
        """A page that a server repeats under another link is read again, and what follows it too."""

        def repeated(handler: Handler, asked: Asked) -> dict[str, Any]:
            return handler.page(asked) | {"@odata.nextLink": f"{api.url}?again=1&$orderby=ModificationTimestamp"}

        api.faults = [page_of(repeated)]
        assert keys(everything(api)) == ALL[:10] + ALL

    def test_a_circle(self, api: Api) -> None:
        """A next link that leads back is an error, and no endless loop."""
        api.faults = [
            None,
            page_of(lambda handler, asked: handler.page(asked) | {"@odata.nextLink": f"{api.url}?$orderby=x"}),
        ] * 3
        with pytest.raises(FeedError, match="leads back to a page that was read"):
            everything(api, url=f"{api.url}?$orderby=x")

    @pytest.mark.parametrize("empty", [False, True])
    def test_a_spiral(self, api: Api, empty: bool) -> None:
        """Pages that show nothing new, under links that are always new, are an error too."""

        def same(handler: Handler, asked: Asked) -> dict[str, Any]:
            first = [] if empty else api.records[:10]
            return {"value": first, "@odata.nextLink": f"{api.url}?step={len(api.asked)}"}

        api.faults = [page_of(same)] * 50
        with pytest.raises(FeedError, match="10 pages in a row showed nothing new"):
            everything(api)
        assert len(api.asked) <= 11

    def test_huge_pages(self, api: Api) -> None:
        """A page of 60 MB, gzipped, is read in a fraction of that memory."""
        long = "By the park. " * 700
        api.records = [record | {"PublicRemarks": long} for record in records(60)] * 110
        api.page = 100_000
        tracemalloc.start()
        try:
            steps = Server(url=api.url, timeout=60).steps(None, _ledger())
            count = 0
            for step in steps:
                count += step.record is not None
                if count == 1:  # what the server made of it is freed by now
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert count == 6_600
        assert peak < 12_000_000

    def test_a_page_without_an_end(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """A page that passes what a page may have is an error, however small it is on the wire."""
        monkeypatch.setattr("mlssocial.reso.web.MAX_PAGE", 100_000)
        api.faults = [page_of(lambda *_: {"value": [], "x": "0" * 200_000})]
        with pytest.raises(FeedError, match="more than 100,000 bytes; ask for smaller pages"):
            everything(api)


def _ledger() -> Any:
    from mlssocial.reso.sources import Ledger

    return Ledger({}, lambda: None)


class TestPassingFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            status(429),
            status(429, Retry_After="0"),
            status(429, Retry_After=" 0 "),
            status(429, Retry_After="nonsense"),
            status(503, Retry_After="0"),
            status(500),
            status(502),
            status(504),
            cut_body,
            cut_without_length,
            cut_archive,
            damaged_archive,
            hang_up,
        ],
    )
    @pytest.mark.parametrize("page", [0, 2])
    def test_are_tried_again(self, api: Api, fault: Answer, page: int) -> None:
        """Whatever fails once is asked for again, and nothing is lost or doubled by it."""
        api.faults = [None] * page + [fault]
        assert keys(everything(api)) == ALL
        assert len(api.asked) == 5

    @pytest.mark.parametrize("fault", [drip, silence])
    def test_of_slow_servers(self, api: Api, fault: Answer) -> None:
        """An answer that drips, or does not come, is given up in time and asked for again."""
        api.faults = [fault]
        assert keys(everything(api, timeout=0.4)) == ALL

    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_retry_after_is_respected(self, api: Api, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that asks to wait, in seconds or until a date, is asked again then and not before."""
        pauses: list[float] = []
        monkeypatch.setattr("mlssocial.reso.web.time.sleep", pauses.append)
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        api.faults = [status(429, Retry_After="30" if form == "seconds" else later)] * 2
        assert keys(everything(api)) == ALL
        assert len(pauses) == 2
        assert all(28 < pause <= 30 for pause in pauses)

    def test_a_long_wait(self, api: Api) -> None:
        """A server that asks to wait longer than it is waited for is an error that says how long."""
        api.faults = [status(429, Retry_After="3600")]
        with pytest.raises(FeedError, match=r"answers 429 and asks to wait 3,600 s; import again later, with a checkpoint"):
            everything(api)
        assert len(api.asked) == 1

    @pytest.mark.parametrize("fault", [status(500), cut_body, cut_without_length, cut_archive, damaged_archive, hang_up])
    def test_that_stay(self, api: Api, fault: Answer) -> None:
        """What fails again and again is an error after eight attempts."""
        api.faults = [fault] * 100
        with pytest.raises(FeedError, match="import again later"):
            everything(api)
        assert len(api.asked) == 8

    def test_nobody_there(self, api: Api) -> None:
        """A server that is not there is an error, with its address."""
        with pytest.raises(FeedError, match=r"http://127.0.0.1:1/x: no answer, or not all of it \(ConnectError\)"):
            everything(api, url="http://127.0.0.1:1/x")


class TestLastingFaults:
    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (status(400), "answers 400: status 400"),
            (status(403), "the token may not read this"),
            (status(404), r"is it the address of a resource, such as .../Property\?"),
            (
                lambda handler, _: handler.send(200, b"<html>please log in</html>", kind="text/html"),
                "is text/html, and not JSON",
            ),
            (lambda handler, _: handler.send(200, b"x", Content_Encoding="br"), "packed as br, which was not asked for"),
            (lambda handler, _: handler.send(418, b"\xff\xfe not json"), "answers 418$"),
            (page_of(lambda *_: {"error": {"message": "odd"}}), "the server's answer is an error: odd"),
            (lambda handler, _: handler.send(200, b'{"value": [{"a" 1}]}'), "not JSON"),
            (page_of(lambda *_: {"value": [], "@odata.nextLink": ["x"]}), "its next link leads nowhere"),
            (page_of(lambda *_: {"value": [], "@odata.nextLink": "http://[x"}), "its next link leads"),
        ],
    )
    def test_are_errors(self, api: Api, fault: Answer, message: str) -> None:
        """What another attempt would not mend is an error at once, in the server's words where it has some."""
        api.faults = [fault]
        with pytest.raises(FeedError, match=message):
            everything(api)
        assert len(api.asked) == 1

    @pytest.mark.usefixtures("memory")
    def test_what_came_before_is_imported(self, api: Api, tmp_path: Path) -> None:
        """Pages before the one that fails are imported, and the next import goes on behind them."""
        api.faults = [None, None, status(400)]
        with pytest.raises(FeedError, match="answers 400"):
            sync(api, tmp_path / "c.json")
        assert Listing.objects.query("u1").count() == 20
        report = sync(api, tmp_path / "c.json")
        assert (report.created, report.unchanged) == (35, 1)
        assert api.asked[3].query["$filter"] == "ModificationTimestamp ge 2024-01-15T10:00:19.250Z"


class TestOrigins:
    def test_redirects_within(self, api: Api) -> None:
        """A redirect within the server is followed, with the token."""
        api.tokens = {CANARY}
        api.faults = [lambda handler, asked: handler.send(307, {}, Location=f"/odata/Property?{asked.query.get('x', '')}")]
        assert keys(everything(api, url=f"{api.url}?x=1", token=CANARY, ordered=False)) == ALL

    def test_redirects_without_end(self, api: Api) -> None:
        """Redirects in a circle are an error."""
        api.faults = [lambda handler, _: handler.send(302, {}, Location="/odata/Property?a=b")] * 30
        with pytest.raises(FeedError, match="more than 5 redirects"):
            everything(api)

    @pytest.mark.parametrize("how", ["redirect", "link"])
    def test_the_token_stays(self, api: Api, how: str) -> None:
        """Neither a redirect nor a next link takes the token to another origin: another host, port or scheme."""
        with serving(Api(records(3))) as other:
            for url in (other.url, api.url.replace("127.0.0.1", "localhost"), api.url.replace("http:", "https:")):
                link = {"value": [], "@odata.nextLink": f"{url}?token=1"}
                fault: Answer = page_of(lambda *_, link=link: link)
                if how == "redirect":
                    fault = status(302, Location=url)
                api.faults = [fault]
                with pytest.raises(FeedError, match="and the token is not for that") as caught:
                    everything(api, token=CANARY)
                assert CANARY not in str(caught.value)
            assert other.asked == []

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("http://api.example.com/Property", "https only"),
            ("https://u:p@api.example.com/Property", "no password"),
            ("https://api.example.com/Property?access_token=x", "no token"),
            ("ftp://api.example.com/Property", "https://HOST/PATH"),
            ("/odata/Property", "https://HOST/PATH"),
            ("https://[x/", "https://HOST/PATH"),
            ("https://\x00/", "no URL"),
        ],
    )
    def test_urls(self, url: str, message: str) -> None:
        """A URL that shows a secret, or would send it in clear, is refused before anything is sent."""
        with pytest.raises(ConfigurationError, match=message) as caught:
            Server(url=url, token=CANARY)
        assert "p@" not in str(caught.value)
        with pytest.raises(ConfigurationError):
            ClientCredentials(token_url=url, client_id="c", client_secret=CANARY)


class TestTokens:
    def credentials(self, api: Api) -> ClientCredentials:
        """Give the client that the server knows."""
        return ClientCredentials(token_url=f"{api.url}/token", client_id="client", client_secret=Token(api.secret), scope="api")

    def test_a_bearer(self, api: Api) -> None:
        """A bearer goes with each request."""
        api.tokens = {CANARY}
        assert keys(everything(api, token=Token(CANARY))) == ALL

    @pytest.mark.parametrize("in_header", [True, False])
    def test_client_credentials(self, api: Api, in_header: bool) -> None:
        """A client gets its token, by header or by form, whichever the server takes."""
        api.tokens, api.given, api.takes_header = {"x"}, ["fresh"], in_header
        assert keys(everything(api, credentials=self.credentials(api))) == ALL
        asked = [asked for asked in api.asked if asked.path.endswith("/token")]
        assert len(asked) == (1 if in_header else 2)
        assert "grant_type=client_credentials" in asked[-1].body
        assert "scope=api" in asked[-1].body
        assert (api.secret in asked[0].body) is False

    def test_an_expired_bearer(self, api: Api) -> None:
        """A bearer that has expired, at the beginning or amid the pages, is renewed, once for a request."""
        api.tokens, api.given = {"x"}, ["second", "third"]

        def expire(handler: Handler, asked: Asked) -> None:
            api.tokens.discard("second")
            handler.send(401, {"error": {"message": "expired"}})

        api.faults = [None, None, None, None, expire]
        given: list[tuple[str, bool]] = []
        found = everything(
            api,
            token=CANARY,
            credentials=self.credentials(api),
            on_token=lambda token, at: given.append((token.reveal(), at is not None)),
        )
        assert keys(found) == ALL
        assert given == [("second", True), ("third", True)]

    def test_a_bearer_that_cannot_be_renewed(self, api: Api) -> None:
        """Without a client a bearer that has expired is an error with its remedy; with one that gives no better token too."""
        api.tokens = {"x"}
        with pytest.raises(FeedError, match=r"answers 401: no: Bearer \*+; the token is not valid"):
            everything(api, token=CANARY)
        api.given = ["bad"]
        api.faults = [None, None, status(401)]
        with pytest.raises(FeedError, match="answers 401"):
            everything(api, token=CANARY, credentials=self.credentials(api))
        with pytest.raises(FeedError, match=r"no token was given: invalid_client unknown client with \*+; are client_id"):
            everything(api, token=CANARY, credentials=self.credentials(api))

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            (lambda handler, _: handler.send(200, b"nonsense"), "no token was given"),
            (lambda handler, _: handler.send(200, {"access_token": 5}), "no token was given"),
            (lambda handler, _: handler.send(302, {}, Location="https://example.com"), "the secret is not sent on"),
            (status(503), "the token's server answers 503"),
        ],
    )
    def test_a_token_server_that_fails(self, api: Api, fault: Answer, message: str) -> None:
        """A token's server that answers nonsense, redirects or fails is an error that says so."""
        api.faults = [fault] * 40
        with pytest.raises(FeedError, match=message):
            everything(api, credentials=self.credentials(api))

    def test_no_secret_leaves(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        """No log, at whatever level, and no error shows the bearer or the client's secret, even if the server repeats them."""
        caplog.set_level(logging.DEBUG)
        said: list[str] = []
        faults: list[list[Answer | None]] = [
            [status(500), cut_body, hang_up, None],
            [lambda handler, asked: handler.send(403, {"error": {"message": str(asked.headers)}})],
            [page_of(lambda *_: {"value": [], "@odata.nextLink": f"{api.url}?access_token={CANARY}"})],
            [lambda handler, _: handler.send(302, {}, Location=f"{api.url}?access_token={CANARY}")],
            [hang_up] * 40,
        ]
        for each in faults:
            api.tokens, api.given, api.faults = {CANARY}, [], each
            for token, credentials in ((CANARY, None), (CANARY, self.credentials(api)), (None, self.credentials(api))):
                server = Server(url=api.url, token=token, credentials=credentials, timeout=1)
                said += [repr(server), str(server)]
                try:
                    list(server.steps(None, _ledger()))
                except MLSSocialError as error:
                    said += [str(error), repr(error), str(error.__cause__)]
        assert len(said) > 30
        for text in [*said, *(record.getMessage() for record in caplog.records)]:
            assert CANARY not in text
            assert api.secret not in text

    @pytest.mark.usefixtures("memory")
    def test_of_a_connection(self, api: Api) -> None:
        """A connection's token is taken, and a new one stored in it."""
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls", access_token="old", agent_id="a1"))
        api.tokens, api.given = {"x"}, ["new"]
        server = Server.of_connection("u1", "c1", api.url, credentials=self.credentials(api))
        assert import_feed(server, user_id="u1", provider="flexmls", connection_id="c1").created == 35
        data = MLSConnection.objects.get("u1", "c1", consistent=True).data
        assert data.access_token is not None
        assert (data.access_token.reveal(), data.agent_id) == ("new", "a1")
        assert data.expires_at is not None
        assert data.expires_at > datetime.now(UTC) + timedelta(minutes=50)

    @pytest.mark.usefixtures("memory")
    def test_of_a_connection_without(self) -> None:
        """A connection that is not there, or has no token, is an error before anything is sent."""
        with pytest.raises(ItemNotFoundError):
            Server.of_connection("u1", "c1", "https://api.example.com/Property")
        MLSConnection.objects.create("u1", "c1", MLSConnectionData(provider="flexmls"))
        with pytest.raises(ConfigurationError, match="it has no access token"):
            Server.of_connection("u1", "c1", "https://api.example.com/Property")


@pytest.mark.usefixtures("memory")
class TestWatermark:
    def test_only_what_is_new(self, api: Api, tmp_path: Path) -> None:
        """A second import asks for what has changed since, writes that and nothing else, and a third writes nothing."""
        path = tmp_path / "c.json"
        assert sync(api, path).created == 35
        api.records[3] |= {"ListPrice": 5, "ModificationTimestamp": "2024-01-16T00:00:00Z"}
        api.records += records(2, 40)
        asked = len(api.asked)
        report = sync(api, path)
        assert (report.created, report.updated, report.unchanged) == (2, 1, 1)
        assert len(api.asked) == asked + 1
        with recorded() as calls:
            report = sync(api, path)
        assert (report.created, report.updated, report.unchanged) == (0, 0, 1)
        assert WRITES.isdisjoint(call.operation for call in calls)
        assert api.asked[-1].query["$filter"] == "ModificationTimestamp ge 2024-01-16T00:00:00Z"

    def test_a_url_s_own_filter(self, api: Api, tmp_path: Path) -> None:
        """The filter in the URL stays, beside that for what is new."""
        url = f"{api.url}?$filter=City eq 'Reno'"
        assert sync(api, tmp_path / "c.json", url=url).created == 17
        assert sync(api, tmp_path / "c.json", url=url).unchanged == 1
        assert api.asked[-1].query["$filter"] == "(City eq 'Reno') and ModificationTimestamp ge 2024-01-15T10:00:33.250Z"

    def test_records_of_one_timestamp(self, api: Api, tmp_path: Path) -> None:
        """Of records with one timestamp one that came late is not missed; with a tie-break only later keys are asked for."""
        for record in api.records:
            record["ModificationTimestamp"] = "2024-01-15T10:00:00Z"
        late = {**records(1)[0], "ListingKey": "K'0003-late", "ListingId": "x", "ModificationTimestamp": "2024-01-15T10:00:00Z"}
        for options in ({}, {"tie_break": True}):
            api.records = [record for record in api.records if record is not late]
            path = tmp_path / f"{len(options)}.json"
            sync(api, path, **options)
            api.records.append(late)
            report = sync(api, path, **options)
            assert report.total == (36 if not options else 0)
        assert Listing.objects.find("u1", "flexmls-K%270003-late") is not None
        late["ListingKey"] = "K9'9"
        assert sync(api, path, tie_break=True).created == 1
        sync(api, path, tie_break=True)
        condition = api.asked[-1].query["$filter"]
        assert condition == (
            "(ModificationTimestamp gt 2024-01-15T10:00:00Z or "
            "(ModificationTimestamp eq 2024-01-15T10:00:00Z and ListingKey gt 'K9''9'))"
        )

    def test_an_overlap(self, api: Api, tmp_path: Path) -> None:
        """With an overlap, a record that showed itself late is found."""
        late = api.records.pop(20)
        sync(api, tmp_path / "c.json", overlap=timedelta(minutes=20))
        api.records.append(late)
        report = sync(api, tmp_path / "c.json", overlap=timedelta(minutes=20))
        assert api.asked[-1].query["$filter"] == "ModificationTimestamp ge 2024-01-15T09:40:34.250Z" or len(api.asked) > 4
        assert (report.created, report.unchanged) == (1, 34)

    @pytest.mark.parametrize("ordered", [True, False])
    def test_a_server_without_order(self, api: Api, ordered: bool, tmp_path: Path) -> None:
        """Where records do not come in the order of their changes, an interrupted import begins anew, and misses nothing."""
        api.orders = False
        api.records = [*records(10, 20), *records(20)]
        api.faults = [None, None, status(400)]
        with pytest.raises(FeedError):
            sync(api, tmp_path / "c.json", ordered=ordered)
        assert Listing.objects.query("u1").count() == 20
        report = sync(api, tmp_path / "c.json", ordered=ordered)
        assert report.created == 30
        assert "$filter" not in api.asked[3].query
        sync(api, tmp_path / "c.json", ordered=ordered)
        assert api.asked[-1].query["$filter"] == "ModificationTimestamp ge 2024-01-15T10:00:29.250Z"

    def test_timestamps_that_cannot_be(self, api: Api, tmp_path: Path) -> None:
        """A timestamp that is none, or is in the future, is no place to go on from; nor does it get into a filter."""
        api.records = records(3)
        api.records[1]["ModificationTimestamp"] = "2999-01-01T00:00:00Z"
        api.records[2]["ModificationTimestamp"] = "9 or true"
        sync(api, tmp_path / "c.json")
        sync(api, tmp_path / "c.json")
        assert api.asked[-1].query["$filter"] == "ModificationTimestamp ge 2024-01-15T10:00:00.250Z"

    def test_another_url(self, api: Api, tmp_path: Path) -> None:
        """Another resource, or another filter, begins at its own beginning in the same checkpoint."""
        sync(api, tmp_path / "c.json")
        report = sync(api, tmp_path / "c.json", url=f"{api.url}?$filter=City eq 'Reno'")
        assert report.unchanged == 17
        marks = json.loads((tmp_path / "c.json").read_text())["marks"]
        assert len(marks) == 2

    def test_a_dry_run(self, api: Api, tmp_path: Path) -> None:
        """A dry run reads from the checkpoint and leaves it as it was."""
        sync(api, tmp_path / "c.json")
        before = (tmp_path / "c.json").read_bytes()
        api.records += records(2, 40)
        server = Server(url=api.url)
        report = import_feed(server, user_id="u1", provider="flexmls", checkpoint=tmp_path / "c.json", dry_run=True)
        assert (report.created, report.unchanged) == (2, 1)
        assert (tmp_path / "c.json").read_bytes() == before


class TestBudgets:
    def test_requests_per_second(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests are sent no faster than is allowed, those that are tried again among them."""
        clock = [100.0]
        monkeypatch.setattr("mlssocial.reso.web.time.monotonic", lambda: clock[0])
        monkeypatch.setattr("mlssocial.reso.web.time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
        api.faults = [None, status(429, Retry_After="0")]
        everything(api, requests_per_second=2.0)
        assert len(api.asked) == 5
        assert clock[0] == pytest.approx(102.0)

    @pytest.mark.usefixtures("memory")
    def test_requests_per_day(self, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A day's requests are counted over all runs with one checkpoint; a day later there are new ones."""
        path = tmp_path / "c.json"
        with pytest.raises(FeedError, match=r"the 3 requests of a day are spent; import again with the same checkpoint at 20"):
            sync(api, path, requests_per_day=3)
        assert Listing.objects.query("u1").count() == 30
        with pytest.raises(FeedError, match="are spent"):
            sync(api, path, requests_per_day=3)
        assert len(api.asked) == 3

        class Tomorrow(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(hours=26)

        monkeypatch.setattr("mlssocial.reso.web.datetime", Tomorrow)
        assert sync(api, path, requests_per_day=3).created == 35
        assert len(api.asked) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"page_size": 0},
        {"page_size": 1.5},
        {"requests_per_second": 0},
        {"requests_per_second": True},
        {"requests_per_day": -1},
        {"timeout": None},
        {"patience": float("inf")},
        {"overlap": timedelta(-1)},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    """An option that cannot be is refused by name."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Server(url="https://api.example.com/Property", **options)
