"""
Requests to a RESO Web API server: paced, within a budget, authorised, and tried again where that may help.

An answer counts only when all of it is there: it is taken whole into a file, which is in memory while it is small, before
anything is made of it. A token goes to the origin that was configured and to no other, and into no message.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import random
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from mlssocial.exceptions import ConfigurationError, FeedError, MLSSocialError
from mlssocial.masked import MaskedMap, MaskedText
from mlssocial.tokens import MASK, Token, hide

from .sources import Ledger

if TYPE_CHECKING:
    import httpx2

_log = logging.getLogger(__name__)

IN_MEMORY = 8 << 20
"""How many bytes of an answer are held in memory; more go to a temporary file."""
MAX_PAGE = 1 << 30
"""How many bytes an answer may have, unpacked."""
MAX_REDIRECTS = 5
ATTEMPTS = 8
"""How often a request is sent that fails for a reason that may pass. Those that the server asks to send later do not count."""

_CHUNK = 1 << 16
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_SAID_PAUSE = 5.0
_RENEW_AHEAD = 60.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOUR = "%Y-%m-%dT%H"
_BEARER = re.compile(r"[!-~]+", re.ASCII)
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+")
_LOGGERS = ("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.proxy", "httpcore2.socks")


def httpx() -> Any:
    """Give the HTTP client's package; ConfigurationError where it is not installed."""
    try:
        import httpx2
    except ImportError:
        raise ConfigurationError("a RESO Web API server needs an HTTP client: pip install 'mlssocial[reso]'") from None
    return httpx2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """
    An OAuth 2.0 client, which gets itself a bearer token, and a new one when that has expired.

    Attributes:
        token_url: Where tokens are given out.
        client_secret: It shows itself in no message.
        scope: What is asked for, where the server wants to be told.
    """

    token_url: str
    client_id: str
    client_secret: Token | str = field(repr=False)
    scope: str | None = None

    def __post_init__(self) -> None:
        """Refuse an address to which no secret may be sent."""
        if isinstance(self.client_secret, str):
            object.__setattr__(self, "client_secret", Token(self.client_secret))
        check_url("token_url", self.token_url, secret=True)

    @property
    def secret(self) -> str:
        """The secret itself."""
        return self.client_secret if isinstance(self.client_secret, str) else self.client_secret.reveal()


def check_url(name: str, url: str, *, secret: bool) -> None:
    """Refuse what is no URL, holds a secret, or would send one where everybody can read it."""
    package = httpx()
    try:
        parsed = package.URL(url)
    except (package.InvalidURL, TypeError):
        raise ConfigurationError(f"{name}: it is no URL; https://HOST/PATH is needed") from None
    if parsed.scheme not in {"http", "https"} or not _HOST.fullmatch(parsed.host):
        raise ConfigurationError(f"{name}: https://HOST/PATH is needed")
    if parsed.userinfo or any("token" in key.lower() or "secret" in key.lower() for key in parsed.params):
        raise ConfigurationError(f"{name}: no password and no token may stand in a URL; give it as token or as credentials")
    if secret and parsed.scheme == "http" and not _is_loopback(parsed.host):
        raise ConfigurationError(f"{name}: a token is sent over https only, but for this machine itself")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(slots=True)
class Budget:
    """
    How often requests may be sent.

    Attributes:
        per_second: At the most, on average; None for no limit.
        per_day: In any 24 hours, counted by the hour in the ledger, so that it holds for all runs with one checkpoint.
    """

    per_second: float | None
    per_day: int | None
    ledger: Ledger
    _next: float = 0.0

    def take(self) -> None:
        """Wait until a request may be sent, and count it; FeedError where the day's are spent."""
        now = datetime.now(UTC)
        spent, first = self.ledger.requests, (now - timedelta(hours=24)).strftime(_HOUR)
        for hour in [hour for hour in spent if hour < first]:
            del spent[hour]
        if self.per_day is not None and sum(spent.values()) >= self.per_day:
            oldest = datetime.strptime(min(spent), _HOUR).replace(tzinfo=UTC) if spent else now
            again = (oldest + timedelta(hours=25)).strftime("%Y-%m-%d %H:%M UTC")
            raise FeedError(
                f"the {self.per_day:,} requests of a day are spent; import again with the same checkpoint at {again}"
            )
        hour = now.strftime(_HOUR)
        spent[hour] = spent.get(hour, 0) + 1
        if self.per_day is not None:
            self.ledger.save()
        if self.per_second is not None:
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + 1 / self.per_second


class _PassingError(MLSSocialError):
    """An answer that another attempt may mend. *after* is how many seconds the server asks to wait."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(slots=True)
class Requests:
    """
    The requests of one run to one server.

    Attributes:
        url: The server's; a token goes to its origin only.
        token: The bearer that was given.
        credentials: What gets a new one.
        on_token: Is given each new one, with the time at which it expires.
        timeout: Seconds that one answer may take in all.
        patience: Seconds that a server may ask to wait, for one answer in all.
    """

    url: str
    token: Token | None
    credentials: ClientCredentials | None
    on_token: Callable[[Token, datetime | None], None] | None
    timeout: float
    patience: float
    budget: Budget
    headers: dict[str, str]
    _client: httpx2.Client = field(init=False, repr=False)
    _until: float = float("inf")

    @contextmanager
    def opened(self) -> Iterator[Requests]:
        """Have an HTTP client for the block."""
        package = httpx()
        quiet = min(30.0, self.timeout)
        timeout = package.Timeout(quiet, connect=min(10.0, self.timeout))
        mask, loggers = _Mask(self._secrets), [logging.getLogger(name) for name in _LOGGERS]
        for logger in loggers:
            logger.addFilter(mask)
        try:
            with package.Client(timeout=timeout, follow_redirects=False, headers=self.headers) as self._client:
                yield self
        finally:
            for logger in loggers:
                logger.removeFilter(mask)

    def get(self, url: str) -> BinaryIO:
        """Get a JSON document, as a file that the caller closes; FeedError where it cannot be had."""
        until, attempts = time.monotonic() + self.patience, 0
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._once(url)
            except _PassingError as failed:
                attempts += failed.after is None
                wait = random.uniform(0, pause) if failed.after is None else failed.after  # noqa: S311  full jitter
                pause = min(2 * pause, _LONGEST_PAUSE)
                if time.monotonic() + wait > until or attempts >= ATTEMPTS:
                    later = "" if failed.after is None else f" and asks to wait {failed.after:,.0f} s"
                    raise self._failed(
                        url, f"{failed}{later}; import again later, with a checkpoint it goes on there"
                    ) from failed
                if wait > _SAID_PAUSE:
                    _log.warning("%s: %s; waiting %.0f s", _place(url), failed, wait)
                time.sleep(wait)

    def _once(self, url: str) -> BinaryIO:
        """Send a request, a second time if its token has expired, and follow it within its origin."""
        renewed = False
        for _ in range(MAX_REDIRECTS + 2):
            headers = self._authorization(url)
            self.budget.take()
            with self._answer("GET", url, headers=headers) as response:
                if response.status_code == 401 and self.credentials is not None and not renewed:
                    renewed = True
                elif response.status_code in _REDIRECTS:
                    url = self.within(url, response.headers.get("Location", ""), "a redirect")
                    continue
                else:
                    return self._body(url, response)
            self._renew()
        raise self._failed(url, f"more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _answer(self, method: str, url: str, **request: Any) -> Iterator[httpx2.Response]:
        """Send a request; what fails on the way may pass, and says no more than what kind of failure it was."""
        package = httpx()
        try:
            with self._client.stream(method, url, **request) as response:
                yield response
        except (package.TransportError, package.DecodingError) as error:
            raise _PassingError(f"no answer, or not all of it ({type(error).__name__})") from None  # it holds the request
        except package.InvalidURL:
            raise self._failed(url, "a link that is no URL") from None

    def within(self, base: str, link: object, what: str) -> str:
        """Resolve a link that the server gave; FeedError if it leads to another origin, which must not see the token."""
        package = httpx()
        try:
            joined = package.URL(base).join(link if isinstance(link, str) else "")
        except package.InvalidURL:
            joined = None
        if joined is None or not link or not isinstance(link, str):
            raise self._failed(base, f"{what} leads nowhere")
        if any(secret in link for secret in self._secrets()):
            raise self._failed(base, f"{what} repeats the token, which would show it in logs")
        if _origin(joined) != _origin(package.URL(self.url)):
            reason = f"{what} leads to {joined.scheme}://{joined.netloc.decode()}, and the token is not for that"
            raise self._failed(base, f"{reason}; if it is the same server's, give that as its URL")
        return str(joined.copy_with(fragment=None))

    # --- The answer --------------------------------------------------------------------------------------------------

    def _body(self, url: str, response: httpx2.Response) -> BinaryIO:
        status = response.status_code
        if status in _PASSING:
            raise _PassingError(f"the server answers {status}", _retry_after(response.headers.get("Retry-After")))
        if status != 200:
            self._refused(url, response)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind and "json" not in kind:
            raise self._failed(
                url, f"the answer is {kind[:40]}, and not JSON; is it the address of a resource, such as .../Property?"
            )
        body: Any = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  it is the caller's
        try:
            for piece in _pieces(response, self.timeout):
                body.write(piece)
            _check_end(body)
        except BaseException:
            body.close()
            raise
        return body  # type: ignore[no-any-return]

    def _refused(self, url: str, response: httpx2.Response) -> NoReturn:
        """Say why the server refused, in its own words, without any secret."""
        remedies = {
            401: "; the token is not valid, or has expired: refresh it, or give client credentials",
            403: "; the token may not read this",
            404: "; is it the address of a resource, such as .../Property?",
        }
        said = self._shown(_said(response, self.timeout))
        status = response.status_code
        raise self._failed(url, f"the server answers {status}{f': {said}' if said else ''}{remedies.get(status, '')}")

    def _failed(self, url: str, reason: str) -> FeedError:
        return FeedError(f"{_place(url)}: {reason}")

    def _shown(self, text: str) -> str:
        for secret in self._secrets():
            text = text.replace(secret, MASK)
        text = " ".join(text.split())
        return "".join(char for char in (text if len(text) <= 200 else text[:197] + "...") if char.isprintable())

    # --- The token ---------------------------------------------------------------------------------------------------

    def _current(self) -> Token | None:
        if self.credentials is not None and (self.token is None or time.monotonic() > self._until):
            self._renew()
        return self.token

    def _authorization(self, url: str) -> dict[str, str]:
        token = self._current()
        if not token:
            return {}
        if not _BEARER.fullmatch(token.reveal()):  # what the HTTP client says of it would show it
            raise self._failed(url, "the token has characters that none has")
        return {"Authorization": MaskedText(f"Bearer {token.reveal()}")}

    def _secrets(self) -> list[str]:
        held = [self.token.reveal()] if self.token else []
        return [secret for secret in (*held, *([self.credentials.secret] if self.credentials else [])) if secret]

    def _renew(self) -> None:
        """Get a new token."""
        if self.credentials is None:
            return
        answer: dict[str, Any] = MaskedMap()
        for in_header in (True, False):  # the standard wants servers to take the first, and some take the second only
            answer, status = self._asked(in_header=in_header)
            if status == 200:
                break
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, Token) or not token:
            said = self._shown(" ".join(str(answer[name]) for name in ("error", "error_description") if name in answer))
            reason = f"no token was given{f': {said}' if said else ''}; are client_id and client_secret right?"
            raise self._failed(self.credentials.token_url, reason)
        self.token = token
        lasts = float(seconds) if isinstance(seconds, int | float) and 0 < seconds < 10**9 else None
        self._until = float("inf") if lasts is None else time.monotonic() + max(1.0, lasts - _RENEW_AHEAD)
        if self.on_token is not None:
            self.on_token(self.token, None if lasts is None else datetime.now(UTC) + timedelta(seconds=lasts))

    def _asked(self, *, in_header: bool) -> tuple[dict[str, Any], int]:
        credentials = self.credentials
        assert credentials is not None  # noqa: S101  the caller's
        form = MaskedMap({"grant_type": "client_credentials"} | ({"scope": credentials.scope} if credentials.scope else {}))
        who: dict[str, Any] = {"auth": httpx().BasicAuth(credentials.client_id, credentials.secret)}
        if not in_header:
            who, form = {}, MaskedMap(form, client_id=credentials.client_id, client_secret=credentials.secret)
        with self._answer("POST", credentials.token_url, data=form, **who) as response:
            status = response.status_code
            if status in _PASSING:
                raise _PassingError(f"the token's server answers {status}", _retry_after(response.headers.get("Retry-After")))
            if status in _REDIRECTS:
                raise self._failed(credentials.token_url, "it redirects, and the secret is not sent on; give the new address")
            content = b"".join(_pieces(response, self.timeout, 1 << 20))
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        return MaskedMap(hide(answer) if isinstance(answer, dict) else {}), status


class _Mask(logging.Filter):
    """Masks secrets in what the HTTP client logs: a server may repeat them in what it answers."""

    def __init__(self, secrets: Callable[[], list[str]]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record's message."""
        message = shown = record.getMessage()
        for secret in self._secrets():
            shown = shown.replace(secret, MASK)
        if shown != message:
            record.msg, record.args = shown, ()
        return True


def _place(url: str) -> str:
    """Name a resource without its query, which is long, and may say what is nobody's business."""
    return url.partition("?")[0]


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _pieces(response: httpx2.Response, timeout: float, most: int | None = None) -> Iterator[bytes]:
    """Give an answer's bytes, unpacked; _PassingError where they do not all come in time."""
    most = MAX_PAGE if most is None else most
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip"}:
        raise FeedError(f"{_place(str(response.url))}: the answer is packed as {encoding[:40]}, which was not asked for")
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    until, size = time.monotonic() + timeout, 0
    for raw in response.iter_raw():
        for piece in [raw] if unpack is None else _unpacked(unpack, raw):
            size += len(piece)
            if size > most:
                raise FeedError(f"{_place(str(response.url))}: an answer of more than {most:,} bytes; ask for smaller pages")
            yield piece
        if time.monotonic() > until:
            raise _PassingError(f"the answer was not there within {timeout:,.0f} s")
    if unpack is not None and size and not unpack.eof:
        raise _PassingError("the answer was cut off")


def _unpacked(unpack: Any, raw: bytes) -> Iterator[bytes]:
    try:
        while raw:
            yield unpack.decompress(raw, _CHUNK)
            raw = unpack.unconsumed_tail
    except zlib.error:
        raise _PassingError("the answer was damaged on its way") from None


def _check_end(body: BinaryIO) -> None:
    """Refuse a document without its end, as one is that ended with its connection."""
    size = body.seek(0, 2)
    body.seek(max(0, size - 64))
    if not body.read().rstrip().endswith((b"}", b"]")):
        raise _PassingError("the answer was cut off")
    body.seek(0)


def _said(response: httpx2.Response, timeout: float) -> str:
    """Give the message in a server's error answer, nothing where there is none to be found."""
    try:
        answer = json.loads(b"".join(_pieces(response, timeout, _CHUNK)))
    except (ValueError, RecursionError, FeedError, _PassingError):
        return ""
    for name in ("error", "D"):
        inner = answer.get(name) if isinstance(answer, dict) else None
        answer = inner if isinstance(inner, dict) else answer
    found = (
        next((answer[name] for name in ("message", "Message", "error_description") if name in answer), "")
        if isinstance(answer, dict)
        else ""
    )
    return found if isinstance(found, str) else ""


def _retry_after(value: str | None) -> float | None:
    """Read Retry-After, seconds or a date; None where it says nothing."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.utcoffset() is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
