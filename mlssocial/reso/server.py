"""A RESO Web API server as a source of records: page after page, from the last change that was taken over on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from mlssocial import __name__ as package
from mlssocial.codec import utc_text
from mlssocial.exceptions import ConfigurationError, FeedError
from mlssocial.models import MLSConnection
from mlssocial.tokens import Token

from .reading import Record, read_records
from .sources import Ledger, Mark, ServerMark, Step
from .stored import instant
from .web import Budget, ClientCredentials, Requests, check_url

NEXT = "@odata.nextLink"
MAX_STALE = 10
"""After how many pages in a row that show nothing new a server is taken to lead in a circle."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_START = ServerMark("", "")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(days=1)  # a record from further in the future would hide all that changes before


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    A RESO Web API server's resource, for :func:`import_feed`.

    With a checkpoint, an import asks for what has changed since the last one: ``ModificationTimestamp ge`` the last that it
    saw, because many records share one. What comes again is unchanged, and costs a read.

    Attributes:
        url: The resource, such as ``https://api.example.com/odata/Property?$expand=Media``. Its own ``$filter`` is kept.
        token: The bearer token.
        credentials: An OAuth client that gets the token, and a new one where the server says 401; one of the two is enough.
        on_token: Is given each new token, with the time at which it expires.
        page_size: How many records a page is to have (``Prefer: odata.maxpagesize``); None leaves it to the server.
        ordered: Ask for records in the order of their changes, so that an import that was interrupted goes on where it was.
            Endpoints for replication refuse that. Without it an interrupted import begins anew, and finds its work unchanged.
        tie_break: Ask for ``ModificationTimestamp gt`` the last, or the same one and a greater ListingKey: for feeds in which
            very many records share a timestamp. The server has to know ``or``.
        overlap: How long before the last change is asked for again: for servers whose answers lag behind.
        requests_per_second: At the most, on average.
        requests_per_day: In any 24 hours. The checkpoint keeps count from run to run.
        timeout: Seconds that a page may take to arrive.
        patience: Seconds that the server may ask to wait (``Retry-After``) before a page comes; beyond that the import ends.
    """

    url: str
    token: Token | str | None = field(default=None, repr=False)
    credentials: ClientCredentials | None = None
    on_token: Callable[[Token, datetime | None], None] | None = field(default=None, repr=False)
    page_size: int | None = 1_000
    ordered: bool = True
    tie_break: bool = False
    overlap: timedelta = timedelta()
    requests_per_second: float | None = None
    requests_per_day: int | None = None
    timeout: float = 120.0
    patience: float = 900.0
    resumable: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for, and an address to which no token may be sent."""
        if isinstance(self.token, str):
            object.__setattr__(self, "token", Token(self.token))
        check_url("url", self.url, secret=bool(self.token or self.credentials))
        for name in ("page_size", "requests_per_second", "requests_per_day", "timeout", "patience"):
            value = getattr(self, name)
            whole = name in {"page_size", "requests_per_day"}
            optional = name not in {"timeout", "patience"}
            kinds = int if whole else int | float
            if not (value is None and optional) and (
                isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < 1e9
            ):
                raise ConfigurationError(f"{name}: a {'whole ' if whole else ''}number above zero is needed, not {value!r}")
        if self.overlap < timedelta():
            raise ConfigurationError("overlap: a time of zero or more is needed")

    @classmethod
    def of_connection(cls, user_id: str, connection_id: str, url: str, **options: Any) -> Server:
        """
        Make a server of a user's MLSConnection, whose access token it takes. One consistent read.

        With *credentials* a token that has expired is renewed, and the new one stored in the connection.

        Raises:
            MLSConnection.DoesNotExist: It is not there.
            ConfigurationError: It has no access token, and no *credentials* are given.
        """
        connection = MLSConnection.objects.get(user_id, connection_id, consistent=True)
        token = connection.data.access_token
        if not token and options.get("credentials") is None:
            reason = "it has no access token; give credentials, or store a token with refresh_tokens()"
            raise ConfigurationError(f"connection {connection_id} of {user_id}: {reason}")

        def keep(new: Token, expires_at: datetime | None) -> None:
            nonlocal connection
            kept = MLSConnection.objects.refresh_tokens(connection, access_token=new, expires_at=expires_at)
            connection = kept.connection

        return cls(url=url, token=token or None, **{"on_token": keep, **options})

    @property
    def name(self) -> str:
        """The resource and what is asked of it, as it stands in the checkpoint."""
        return self.url

    def steps(self, mark: Mark | None, ledger: Ledger) -> Iterator[Step]:
        """Read all pages from a mark on. FeedError where the server cannot be read on."""
        base = mark if isinstance(mark, ServerMark) else _START
        budget = Budget(self.requests_per_second, self.requests_per_day, ledger)
        token = self.token if isinstance(self.token, Token) else None
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": package}
        if self.page_size is not None:
            headers["Prefer"] = f"odata.maxpagesize={self.page_size}"
        requests = Requests(self.url, token, self.credentials, self.on_token, self.timeout, self.patience, budget, headers)
        watermark = _Watermark(base, ordered=self.ordered)
        with requests.opened():
            for record in self._records(requests, base):
                yield Step(record, self.name, watermark.behind(record))
        yield Step(None, self.name, watermark.top)

    def _records(self, requests: Requests, base: ServerMark) -> Iterator[Record]:
        url, place, count = self._first(base), self.url.partition("?")[0], 0
        trail = _Trail(place)
        while True:
            trail.follow(url)
            notes: dict[str, Any] = {}
            with requests.get(url) as body:
                for record in read_records(body, name=place, notes=notes):
                    trail.see(record)
                    count += 1
                    yield replace(record, position=count)
            trail.turn()
            if not notes.get(NEXT):
                return
            url = requests.within(url, notes[NEXT], "its next link")

    def _first(self, base: ServerMark) -> str:
        """Write the address of the first page."""
        parts = urlsplit(self.url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if base.timestamp:
            own = query.get("$filter")
            since = self._since(base)
            query["$filter"] = f"({own}) and {since}" if own else since
        if self.ordered:
            query.setdefault("$orderby", "ModificationTimestamp,ListingKey")
        written = "&".join(f"{quote(name, safe='$@')}={quote(value, safe='$,()/:*')}" for name, value in query.items())
        return urlunsplit((parts.scheme, parts.netloc, parts.path, written, ""))

    def _since(self, base: ServerMark) -> str:
        if self.overlap:
            early = (instant(base.timestamp) or _EPOCH) - self.overlap
            return f"ModificationTimestamp ge {utc_text(early)}"
        if not self.tie_break:
            return f"ModificationTimestamp ge {base.timestamp}"
        key = base.key.replace("'", "''")
        later = f"ModificationTimestamp gt {base.timestamp}"
        return f"({later} or (ModificationTimestamp eq {base.timestamp} and ListingKey gt '{key}'))"


@dataclass(slots=True)
class _Watermark:
    """
    The last change that was seen, and whether all before it were.

    Where records come in the order of their changes, each record's is as far as the feed has come. As soon as one does not, the
    server cannot be relied on: then what counts is the mark that this run began at, and at its end the latest of all.
    """

    base: ServerMark
    ordered: bool
    top: ServerMark = field(init=False)
    _latest: datetime | None = None

    def __post_init__(self) -> None:
        self.top = self.base
        self._latest = instant(self.base.timestamp)

    def behind(self, record: Record) -> Mark:
        """Give the mark behind a record."""
        timestamp, key = record.fields.get("ModificationTimestamp"), record.fields.get("ListingKey")
        at = instant(timestamp) if isinstance(timestamp, str) and _TIMESTAMP.fullmatch(timestamp) else None
        if at is not None and at < datetime.now(UTC) + _AHEAD and isinstance(timestamp, str) and isinstance(key, str):
            if self._latest is not None and at < self._latest and self.top is not self.base:
                self.ordered = False
            if self._latest is None or at >= self._latest:
                self._latest, self.top = at, ServerMark(timestamp, key)
        return self.top if self.ordered else self.base


@dataclass(slots=True)
class _Trail:
    """The pages that were read, so that a server that leads in a circle is noticed."""

    place: str
    _links: set[bytes] = field(default_factory=set)
    _pages: set[bytes] = field(default_factory=set)
    _page: Any = field(default_factory=lambda: blake2b(digest_size=16))
    _records: int = 0
    _stale: int = 0

    def follow(self, url: str) -> None:
        """Take note of a link; FeedError where it was followed before."""
        link = blake2b(url.encode(), digest_size=16).digest()
        if link in self._links:
            raise FeedError(f"{self.place}: its next link leads back to a page that was read; tell its operator")
        self._links.add(link)

    def see(self, record: Record) -> None:
        """Take note of a record of the page."""
        self._records += 1
        shown = [str(record.fields.get(name)) for name in ("ListingKey", "ModificationTimestamp")]
        self._page.update("\0".join([*shown, ""]).encode("utf-8", "surrogatepass"))

    def turn(self) -> None:
        """Close the page; FeedError where too many in a row showed nothing new."""
        page = self._page.digest()
        self._stale = self._stale + 1 if not self._records or page in self._pages else 0
        if self._stale >= MAX_STALE:
            raise FeedError(f"{self.place}: {MAX_STALE} pages in a row showed nothing new; its next links lead nowhere")
        self._pages.add(page)
        self._page, self._records = blake2b(digest_size=16), 0
