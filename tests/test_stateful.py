"""
Every operation in any order, with another application writing in between, against a plain dict model.

After every step the whole table is compared with the model, attribute for attribute: index keys, times, nonces, and what the
other application put there. To add an operation, give :class:`Table` a rule that says by :meth:`Table.writes` or
:meth:`Table.refuses` what it does to the model; to add a query, add a function to :data:`LOOKS`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

import mlssocial
from mlssocial import (
    ALL_USERS,
    BatchIncompleteError,
    InvalidItemError,
    Item,
    ItemAlreadyExistsError,
    ItemNotFoundError,
    Listing,
    ListingData,
    MLSConnection,
    PerformanceMetrics,
    SocialConnection,
    SocialPost,
    StaleItemError,
    TransactionCanceledError,
    WrongEntityError,
    crypto,
)
from mlssocial.connection import store
from mlssocial.results import Results
from mlssocial.tokens import is_sealed
from mlssocial.wire import decode_row, plain_row

from .conftest import Tally, get_raw, put_raw
from .oracle import (
    INDEX_ATTRIBUTES,
    KINDS,
    LISTING,
    MLS_CONNECTION,
    OWN_ATTRIBUTES,
    PERFORMANCE_METRICS,
    PLACES,
    SOCIAL_CONNECTION,
    SOCIAL_POST,
    USERS,
    Key,
    Kind,
    Place,
    Wire,
    changed,
    expired,
    incremented,
    indexed,
    made,
    shown,
)

STATUSES = ("active", "pending", "sold", "expired")
PAST, FUTURE = {"N": "1"}, {"N": "9999999999"}

# --- What is tried ---------------------------------------------------------------------------------------------------


def values_of(kind: Kind, *, needed: frozenset[str] = frozenset()) -> st.SearchStrategy[dict[str, Any]]:
    """Give some of an entity's fields, by their Python names, those that are *needed* always."""
    tried = {name: st.sampled_from(values) for name, (_, values) in kind.fields.items()}
    rest = {name: strategy for name, strategy in tried.items() if name not in needed}
    return st.fixed_dictionaries({name: tried[name] for name in needed}, optional=rest)


_NESTED: Mapping[Kind, dict[str, st.SearchStrategy[Any]]] = {
    LISTING: {"address__city": st.sampled_from([None, "Sparks"])},
    PERFORMANCE_METRICS: {"platforms__facebook__views": st.integers(0, 3), "platforms__linkedin__clicks": st.just(1)},
    SOCIAL_CONNECTION: {"metadata__page": st.sampled_from([None, {"id": "8"}])},
}
_PAYLOADS = {kind: values_of(kind, needed=kind.needed) for kind in KINDS}


@st.composite
def changes_of(draw: st.DrawFn, kind: Kind) -> tuple[dict[str, Any], frozenset[str]]:
    """Give an update's values, and the names that it removes; no path is in it twice."""
    nested = _NESTED.get(kind, {})
    values = draw(values_of(kind)) | draw(st.fixed_dictionaries({}, optional=nested))
    removes = draw(st.frozensets(st.sampled_from(sorted((kind.fields.keys() | nested.keys()) - kind.needed)), max_size=2))
    for name in sorted(nested):
        whole = name.split("__")[0]
        if whole in values or whole in removes:
            values.pop(name, None)
            removes -= {name}
    removes -= values.keys()
    return values, removes if values or removes else frozenset({min(kind.fields.keys() - kind.needed)})


COUNTERS = st.dictionaries(st.sampled_from(["views", "shares", "clicks", "saves"]), st.integers(1, 3), min_size=1, max_size=3)
UNKNOWN_FIELDS: Wire = {"lotColor": {"S": "green"}, "tags": {"SS": ["x"]}, "extra": {"M": {"a": {"L": [{"N": "1"}]}}}}
UNKNOWN_ATTRIBUTES: Wire = {"Version": {"N": "3"}, "Foreign": {"M": {"a": {"SS": ["b"]}}}, "TTL": {"S": "soon"}}


def some_of(known: Wire) -> st.SearchStrategy[Wire]:
    """Give some of the entries."""
    return st.frozensets(st.sampled_from(sorted(known))).map(lambda names: {name: known[name] for name in sorted(names)})


places = st.runner().flatmap(lambda table: st.sampled_from(table.places))
days = st.runner().flatmap(lambda table: st.sampled_from(table.days))
held = st.runner().flatmap(lambda table: st.sampled_from(table.held))
stored = st.runner().flatmap(lambda table: st.sampled_from(sorted(table.items)))


def with_payload(place: Place) -> st.SearchStrategy[tuple[Place, dict[str, Any]]]:
    """Give a place with a payload for it."""
    return st.tuples(st.just(place), _PAYLOADS[place.kind])


some_places = st.runner().flatmap(
    lambda table: st.lists(st.sampled_from(table.places), min_size=1, max_size=4, unique_by=lambda place: place.key)
)
QUEUES = (MLS_CONNECTION, SOCIAL_CONNECTION, SOCIAL_POST)


def with_payloads(chosen: list[Place]) -> st.SearchStrategy[list[tuple[Place, dict[str, Any]]]]:
    """Give places with a payload for each."""
    return st.tuples(*map(with_payload, chosen)).map(list)


def with_operations(chosen: list[Place]) -> st.SearchStrategy[list[tuple[str, Place, dict[str, Any]]]]:
    """Give places with an operation of a transaction for each."""
    verbs = st.sampled_from(["create", "save", "update", "delete", "check"])
    return st.tuples(*(st.tuples(verbs, st.just(place), _PAYLOADS[place.kind]) for place in chosen)).map(list)


def fitting(chosen: list[tuple[str, Place, dict[str, Any]]]) -> list[tuple[str, Place, dict[str, Any]]]:
    """Give the operations without those on listings of which the same transaction publishes a post, which is another test's."""
    listings = {
        f"USER#{place.ids[0]}LISTING#{fields.get('listing_id')}"
        for verb, place, fields in chosen
        if verb == "create" and place.kind is SOCIAL_POST and fields.get("status") == "published"
    }
    some = [comparable(*one) for one in chosen if "".join(one[1].key) not in listings]
    return [(verb if fields or verb not in {"update", "check"} else "delete", place, fields) for verb, place, fields in some]


def comparable(verb: str, place: Place, fields: dict[str, Any]) -> tuple[str, Place, dict[str, Any]]:
    """Leave a check's tokens out: what is sealed cannot be compared, which is another test's."""
    secret = {"access_token", "refresh_token"} if verb == "check" else set()
    return verb, place, {name: value for name, value in fields.items() if name not in secret}


def with_changes(place: Place) -> st.SearchStrategy[tuple[Place, tuple[dict[str, Any], frozenset[str]]]]:
    """Give a place with changes to what is there."""
    return st.tuples(st.just(place), changes_of(place.kind))


def given_back(place: Place) -> tuple[str, ...]:
    """Give the ids of a place as a batch's result has them: a platform in lower case."""
    return tuple(part.lower() if place.kind is SOCIAL_CONNECTION and n else part for n, part in enumerate(place.ids))


def said(ids: Iterable[tuple[Any, ...]]) -> list[tuple[str, ...]]:
    """Give ids of a batch's result in order, as text."""
    return sorted(tuple(map(str, one)) for one in ids)


@dataclass(eq=False)
class Held:
    """An item that the test has read, and keeps while others write: *seen* is what was stored then."""

    place: Place
    item: Any
    seen: Wire


# --- Queries ---------------------------------------------------------------------------------------------------------


@dataclass
class Look:
    """A query, and what it must find: stored rows, before its guards look at their Data."""

    results: Results[Any]
    sort_key: str
    rows: Callable[[Wire], bool]
    guard: Callable[[Wire], bool] = lambda _: True
    kind: Kind | None = None
    reverse: bool = False


def text(item: Wire, *path: str) -> str:
    """Give the text at a path, nothing where there is none."""
    for part in path:
        item = item.get(part, {}) if part in {"PK", "SK", "Data", *INDEX_ATTRIBUTES} else item.get("M", {}).get(part, {})
    return str(item.get("S", ""))


def number(item: Wire, name: str) -> int | None:
    """Give the number in a field of Data."""
    found = item["Data"]["M"].get(name, {}).get("N")
    return None if found is None else int(found)


def in_partition(user: str, prefix: str) -> Callable[[Wire], bool]:
    """Give the test of a row in a user's partition."""
    return lambda item: text(item, "PK") == f"USER#{user}" and text(item, "SK").startswith(prefix)


def in_index(index: str, partition: str, whose: Any, prefix: str = "", end: str = "~") -> Callable[[Wire], bool]:
    """Give the test of a row in a partition of an index, of one user or of all. Half a key pair is in no index."""

    def test(item: Wire) -> bool:
        sort = text(item, f"{index}SK")
        mine = whose is ALL_USERS or text(item, "PK") == f"USER#{whose}"
        return (
            mine
            and text(item, f"{index}PK").startswith(partition)
            and bool(sort)
            and prefix <= sort <= end
            and sort.startswith(prefix)
        )

    return test


# user: whose, or who asks. n: which of the variants that the method has.


def whole_partition(user: str, n: int) -> Look:
    return Look(Item.objects.query(user, consistent=bool(n % 2)), "SK", in_partition(user, ""))


def listings(user: str, n: int) -> Look:
    reverse = bool(n % 2)
    return Look(
        Listing.objects.query(user, reverse=reverse), "SK", in_partition(user, "LISTING#"), kind=LISTING, reverse=reverse
    )


def mls_connections(user: str, _: int) -> Look:
    return Look(MLSConnection.objects.query(user), "SK", in_partition(user, "MLS_CONNECTION#"), kind=MLS_CONNECTION)


def social_connections(user: str, _: int) -> Look:
    return Look(SocialConnection.objects.query(user), "SK", in_partition(user, "SOCIAL#"), kind=SOCIAL_CONNECTION)


def posts(user: str, _: int) -> Look:
    return Look(SocialPost.objects.query(user), "SK", in_partition(user, "POST#"), kind=SOCIAL_POST)


def metrics(user: str, n: int) -> Look:
    listing = "ab"[n % 2]
    test = in_partition(user, f"METRICS#{listing}#")
    return Look(PerformanceMetrics.objects.query(user, listing), "SK", test, kind=PERFORMANCE_METRICS)


def metrics_between(user: str, n: int) -> Look:
    since, until = (("2024-01-01", "2024-01-01"), ("2024-01-02", None), (None, "2024-01-01"), ("2023-12-31", "2024-01-02"))[
        n % 4
    ]
    results = PerformanceMetrics.objects.query(user, "a", since=since, until=until, reverse=n > 3)

    def test(item: Wire) -> bool:
        day = text(item, "SK").removeprefix("METRICS#a#")
        return in_partition(user, "METRICS#a#")(item) and (since or "") <= day <= (until or "~")

    return Look(results, "SK", test, kind=PERFORMANCE_METRICS, reverse=n > 3)


def by_number(user: str, n: int) -> Look:
    whose, mls, status = ALL_USERS if n % 2 else user, f"M{1 + n // 2 % 2}", STATUSES[n % 4] if n > 3 else None
    results = Listing.objects.query_by_mls_number("flexmls", mls, user_id=whose, status=status)

    def guard(item: Wire) -> bool:
        said = [text(item, "Data", name) for name in ("mlsProvider", "mlsNumber")] == ["flexmls", mls]
        return said and (status is None or text(item, "Data", "status") == status)

    return Look(results, "GSI1SK", in_index("GSI1", f"MLS#flexmls#{mls}", whose), guard, LISTING)


def by_status(user: str, n: int) -> Look:
    status, reverse = STATUSES[n % 4], n > 3
    results = Listing.objects.query_by_status(user, status, reverse=reverse)
    test = in_index("GSI2", f"USER#{user}#STATUS#{status}", user)
    return Look(results, "GSI2SK", test, lambda item: text(item, "Data", "status") == status, LISTING, reverse)


def by_status_consistently(user: str, n: int) -> Look:
    status = STATUSES[n % 4]
    results = Listing.objects.query_by_status(user, status, consistent=True)
    return Look(results, "SK", in_partition(user, "LISTING#"), lambda item: text(item, "Data", "status") == status, LISTING)


def by_listing(user: str, n: int) -> Look:
    whose, listing, reverse = ALL_USERS if n % 2 else user, "ab"[n % 4 // 2], n > 3
    results = SocialPost.objects.query_by_listing(listing, user_id=whose, reverse=reverse)
    test = in_index("GSI1", f"LISTING#{listing}", whose, "POST#")
    return Look(results, "GSI1SK", test, lambda item: text(item, "Data", "listingId") == listing, SOCIAL_POST, reverse)


def due_for_sync(user: str, n: int) -> Look:
    before, whose = 1_000 * (n % 4), ALL_USERS if n > 3 else user
    results = MLSConnection.objects.due_for_sync(datetime.fromtimestamp(before / 1000, UTC), user_id=whose)
    test = in_index("GSI2", "MLS_SYNC#", whose, end=f"{before + 1:013d}")
    return Look(results, "GSI2SK", test, lambda item: (number(item, "lastSyncedAt") or 0) <= before, MLS_CONNECTION)


def expiring(user: str, n: int) -> Look:
    before, whose = 1_000 * (n % 4), ALL_USERS if n > 3 else user
    results = SocialConnection.objects.expiring(datetime.fromtimestamp(before / 1000, UTC), user_id=whose)
    test = in_index("GSI2", "TOKEN_EXPIRY#", whose, end=f"{before + 1:013d}")
    return Look(results, "GSI2SK", test, lambda item: (number(item, "expiresAt") or 10**9) <= before, SOCIAL_CONNECTION)


def pending_unpublish(user: str, n: int) -> Look:
    whose = ALL_USERS if n % 2 else user
    test = in_index("GSI2", "UNPUBLISH#", whose)
    return Look(
        SocialPost.objects.pending_unpublish(user_id=whose),
        "GSI2SK",
        test,
        lambda item: text(item, "Data", "status") == "unpublish_pending",
        SOCIAL_POST,
    )


LOOKS = (
    whole_partition,
    listings,
    mls_connections,
    social_connections,
    posts,
    metrics,
    metrics_between,
    by_number,
    by_status,
    by_status_consistently,
    by_listing,
    due_for_sync,
    expiring,
    pending_unpublish,
)


def stored_rows() -> dict[Key, Wire]:
    """Give everything of all users."""
    rows = {}
    for user in USERS:
        answer = store().call(
            "Query",
            {
                "TableName": store().table_name,
                "ConsistentRead": True,
                "KeyConditionExpression": "PK = :pk",
                "ExpressionAttributeValues": {":pk": {"S": f"USER#{user}"}},
            },
        )
        for row in map(plain_row, map(decode_row, answer["Items"])):
            rows[row["PK"]["S"], row["SK"]["S"]] = opened(row)
    return rows


def opened(row: Wire) -> Wire:
    """Give a stored row with its tokens in clear text, as the model has them."""
    key, data = (row["PK"]["S"], row["SK"]["S"]), row.get("Data", {}).get("M", {})
    for name in {"accessToken", "refreshToken"} & data.keys():
        if is_sealed(data[name].get("S", "")):
            data[name] = {"S": crypto.Place.of(key, name).open(data[name]["S"])}
    return row


# --- The machine -----------------------------------------------------------------------------------------------------


class Table(RuleBasedStateMachine):
    """The table under test, and the model that it has to follow."""

    tally: Tally
    variants: Sequence[int] = range(8)

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[Key, Wire] = {}
        self.drifted: set[Key] = set()
        """Items whose index keys the other application left behind, and that no write of ours has derived anew."""
        self.held: list[Held] = []
        self.leases: list[Held] = []
        self.operations: dict[str | None, list[tuple[str, Place, dict[str, Any]]]] = {}
        self.ledger: dict[Key, Wire] = {}
        """What says which operations were applied; nobody else touches it."""
        self.nonces: set[str] = set()
        self.clock = 0

    @initialize(
        kinds=st.one_of(st.just([LISTING, SOCIAL_POST]), st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True)),
        day=st.sampled_from([place for place in PLACES if place.kind is PERFORMANCE_METRICS]),
    )
    def choose(self, kinds: list[Kind], day: Place) -> None:
        """Work on one or two entities of both users, so that writes meet and indexes are shared."""
        self.kinds = kinds
        self.places, self.days = [place for place in PLACES if place.kind in kinds], [day]

    # What there is, and what a write does to it

    def found(self, place: Place) -> Wire | None:
        """Give the item that is there for its readers: what has expired is gone."""
        item = self.items.get(place.key)
        return None if item is None or expired(item, time.time()) else item

    def obstacle(self, place: Place, held: Held | None = None) -> type[Exception] | None:
        """Say which error a conditional write must end in, None where it must be done."""
        item = self.found(place)
        if item is None:
            return ItemNotFoundError
        if item["EntityType"] != {"S": place.kind.name}:
            return WrongEntityError
        same = held is None or all(item.get(name) == held.seen.get(name) for name in ("UpdatedAt", "WriteId"))
        return None if same else StaleItemError

    def in_the_way(self, place: Place, fields: Mapping[str, Any]) -> type[Exception] | None:
        """Say which error a create ends in, None where it is done: no post of a listing off the market is published."""
        if self.found(place) is not None:
            return ItemAlreadyExistsError
        published = place.kind is SOCIAL_POST and fields.get("status") == "published" and fields.get("listing_id")
        listing = self.found(Place(LISTING, (place.ids[0], fields["listing_id"]))) if published else None
        if listing is None:
            return None
        on_market = listing["EntityType"] == {"S": "Listing"} and text(listing, "Data", "status") in STATUSES[:2]
        return None if on_market else InvalidItemError

    def writes(self, place: Place, after: Wire, call: Callable[[], Any], *, derived: bool = True) -> Any:
        """Run a write of ours that must be done, and take over the time and the nonce that it has set."""
        started = time.time_ns() // 1_000_000
        result = call()
        self.written(place, after, derived=derived, since=started)
        return result

    def written(self, place: Place, after: Wire, *, derived: bool = True, since: int = 0) -> None:
        """Take over the time and the nonce that a write of ours has set."""
        raw = get_raw(*place.key)
        assert raw is not None
        assert since <= int(raw["UpdatedAt"]["N"]) <= time.time_ns() // 1_000_000
        assert raw["WriteId"]["S"] not in self.nonces
        self.nonces.add(raw["WriteId"]["S"])
        times = {"UpdatedAt": raw["UpdatedAt"], "WriteId": raw["WriteId"]}
        self.items[place.key] = {"CreatedAt": raw["UpdatedAt"]} | after | times
        if derived:
            self.drifted.discard(place.key)

    def refuses(self, place: Place, error: type[Exception], call: Callable[[], Any]) -> None:
        """Run a write of ours that must be refused; StaleItemError shows the item as it is now."""
        with pytest.raises(error) as caught:
            call()
        if isinstance(caught.value, ItemNotFoundError):
            assert isinstance(caught.value, place.kind.model.DoesNotExist)
        if isinstance(caught.value, StaleItemError):
            self.shows(place, caught.value.item)

    def shows(self, place: Place, item: Any) -> None:
        """Check that an item is the one that is stored."""
        row = self.items[place.key]
        assert type(item) is place.kind.model
        assert (item.pk, item.sk) == place.key
        known = {name: row["Data"]["M"][name] for name, _ in place.kind.fields.values() if name in row["Data"]["M"]}
        assert shown(place.kind, item) == known
        assert {name: {"S": value} for name in INDEX_ATTRIBUTES if (value := getattr(item, name.lower()))} == {
            name: row[name] for name in INDEX_ATTRIBUTES if name in row
        }
        assert (item.write_id and {"S": item.write_id}) == row.get("WriteId")
        assert {"N": str(round(item.updated_at.timestamp() * 1000))} == row["UpdatedAt"]

    def hold(self, place: Place, item: Any) -> None:
        """Keep an item that was just read or written."""
        self.shows(place, item)
        self.held = [*self.held[-5:], Held(place, item, deepcopy(self.items[place.key]))]

    # Our writes

    @rule(what=places.flatmap(with_payload))
    def create(self, what: tuple[Place, dict[str, Any]]) -> None:
        """A create makes the item, or is refused because it is there, whosever it is."""
        place, fields = what

        def call() -> Any:
            return place.kind.model.objects.create(*place.ids, place.kind.payload(**fields))

        if error := self.in_the_way(place, fields):
            self.refuses(place, error, call)
        else:
            self.hold(place, self.writes(place, made(place, place.kind.data(fields)), call))

    @rule(what=places.flatmap(with_payload), by_item=st.booleans())
    def save(self, what: tuple[Place, dict[str, Any]], by_item: bool) -> None:
        """A save replaces Data whole, and keeps CreatedAt and what it does not know; nothing is kept of what has expired."""
        place, fields = what
        payload = place.kind.payload(**fields)

        def save_new() -> None:
            item = place.kind.model(*place.key, data=payload)
            item.save()
            self.saved = item

        def call() -> Any:
            return save_new() if by_item else place.kind.model.objects.save(*place.ids, payload)

        if self.obstacle(place) is WrongEntityError:
            self.refuses(place, WrongEntityError, call)
            return
        after = (self.found(place) or {}) | made(place, place.kind.data(fields))
        result = self.writes(place, indexed(place, after), call)
        self.hold(place, self.saved if by_item else result)

    @rule(what=places.flatmap(with_changes))
    def update(self, what: tuple[Place, tuple[dict[str, Any], frozenset[str]]]) -> None:
        """An update changes what it names and nothing else, or is refused because nothing of its kind is there."""
        place, (values, removes) = what
        self._update(place, values, removes, None)

    @precondition(lambda self: self.held)
    @rule(what=held.flatmap(lambda one: st.tuples(st.just(one), changes_of(one.place.kind))))
    def update_if_unchanged(self, what: tuple[Held, tuple[dict[str, Any], frozenset[str]]]) -> None:
        """An update with if_unchanged_since is refused exactly where somebody has written since."""
        held, (values, removes) = what
        self._update(held.place, values, removes, held)

    def _update(self, place: Place, values: dict[str, Any], removes: frozenset[str], held: Held | None) -> None:
        since = {} if held is None else {"if_unchanged_since": held.item}

        def call() -> Any:
            return place.kind.model.objects.update(*place.ids, remove=removes, **since, **values)

        if error := self.obstacle(place, held):
            self.refuses(place, error, call)
            return
        touched = {name.split("__")[0] for name in (*values, *removes)}
        after = changed(place, self.items[place.key], values, removes)
        self.hold(place, self.writes(place, after, call, derived=bool(touched & place.kind.indexed)))

    @rule(place=places)
    def delete(self, place: Place) -> None:
        """A delete says whether there was anything, and takes nobody else's item."""
        error = self.obstacle(place)
        if error is WrongEntityError:
            self.refuses(place, error, lambda: place.kind.model.objects.delete(*place.ids))
        else:
            self._gone(place, there=error is None, answer=place.kind.model.objects.delete(*place.ids))

    def _gone(self, place: Place, *, there: bool, answer: bool) -> None:
        assert answer is there
        if there:
            del self.items[place.key]
            self.drifted.discard(place.key)

    @precondition(lambda self: self.held)
    @rule(what=held.flatmap(lambda one: st.tuples(st.just(one), _PAYLOADS[one.place.kind])))
    def item_save(self, what: tuple[Held, dict[str, Any]]) -> None:
        """item.save() writes what was changed in it, or is refused exactly where somebody has written since."""
        held, fields = what
        place = held.place
        for name, value in fields.items():
            setattr(held.item.data, name, value)
        if error := self.obstacle(place, held):
            self.refuses(place, error, held.item.save)
            self.held.remove(held)  # it holds changes now that were never stored
            return
        row = self.items[place.key]
        data = place.kind.filled(place.ids, row["Data"]["M"] | place.kind.data(fields))
        self.writes(place, indexed(place, row | {"Data": {"M": data}}), held.item.save)
        self.held.remove(held)
        self.hold(place, held.item)

    @precondition(lambda self: self.held)
    @rule(one=held)
    def item_delete(self, one: Held) -> None:
        """item.delete() is refused exactly where somebody has written since, and False where nothing is left."""
        error = self.obstacle(one.place, one)
        if error in {None, ItemNotFoundError}:
            self._gone(one.place, there=error is None, answer=one.item.delete())
        elif error:
            self.refuses(one.place, error, one.item.delete)

    @rule(place=days, platform=st.sampled_from(["facebook", "LinkedIn"]), counters=COUNTERS)
    def increment(self, place: Place, platform: str, counters: dict[str, Any]) -> None:
        """An increment adds to the platform's figures and to the totals, and makes what is missing."""

        def call() -> Any:
            user, listing, day = place.ids
            return PerformanceMetrics.objects.increment(user, listing, day, platform, **counters)

        if self.obstacle(place) is WrongEntityError:
            self.refuses(place, WrongEntityError, call)
        else:
            after = incremented(self.found(place) or made(place, {}), platform.lower(), counters)
            self.hold(place, self.writes(place, after, call, derived=self.found(place) is None))

    @precondition(lambda self: self.held)
    @rule(chosen=st.lists(held, min_size=1, max_size=3))
    def save_many(self, chosen: list[Held]) -> None:
        """save_many() writes items whole over whatever is there; of several with one key the last stands."""
        kind = chosen[0].place.kind
        last = {one.place.key: one for one in chosen if one.place.kind is kind}
        result = kind.model.objects.save_many([one.item for one in chosen if one.place.kind is kind])
        assert said(result.written) == sorted(given_back(one.place) for one in last.values())
        for one in last.values():
            place, seen = one.place, one.seen
            rest = {name: value for name, value in seen.items() if name not in OWN_ATTRIBUTES}
            item = made(place, seen["Data"]["M"]) | {"CreatedAt": seen["CreatedAt"]}
            raw = get_raw(*place.key)
            assert raw is not None
            assert raw["WriteId"]["S"] not in self.nonces
            self.nonces.add(raw["WriteId"]["S"])
            self.items[place.key] = rest | item | {name: raw[name] for name in ("UpdatedAt", "WriteId")}
            self.drifted.discard(place.key)
            self.held = [other for other in self.held if other.item is not one.item]
            self.hold(place, one.item)

    @rule(chosen=some_places)
    def delete_many(self, chosen: list[Place]) -> None:
        """delete_many() leaves nothing under the keys, whatever it was."""
        kind = chosen[0].kind
        ids = list(dict.fromkeys(place.ids for place in chosen if place.kind is kind))
        assert kind.model.objects.delete_many(ids).written == tuple(ids)
        for one in ids:
            self.items.pop(Place(kind, one).key, None)
            self.drifted.discard(Place(kind, one).key)

    @rule(chosen=some_places.flatmap(with_payloads))
    def create_many(self, chosen: list[tuple[Place, dict[str, Any]]]) -> None:
        """create_many() makes what is not there and names what is, each with its own error."""
        kind = chosen[0][0].kind
        asked = {place.key: (place, fields) for place, fields in chosen if place.kind is kind}
        wrong = {given_back(place): error for place, fields in asked.values() if (error := self.in_the_way(place, fields))}
        items = [kind.model(*place.key, data=kind.payload(**fields)) for place, fields in asked.values()]
        try:
            result = kind.model.objects.create_many(items)
        except BatchIncompleteError as error:
            result = error.result
        assert {tuple(map(str, ids)): type(error) for ids, error in result.refused.items()} == wrong
        assert said(result.written) == sorted(given_back(p) for p, _ in asked.values() if given_back(p) not in wrong)
        for item, (place, fields) in zip(items, asked.values(), strict=True):
            if given_back(place) not in wrong:
                self.written(place, made(place, place.kind.data(fields)))
                self.hold(place, item)

    # Transactions

    @rule(chosen=some_places.flatmap(with_operations), operation_id=st.sampled_from([None, None, "o1", "o2"]))
    def transact(self, chosen: list[tuple[str, Place, dict[str, Any]]], operation_id: str | None) -> None:
        """A transaction is applied whole, or refused with each operation's error and nothing is written; once under an id."""
        if operation_id in self.operations:
            chosen = self.operations[operation_id]
        asked = fitting(chosen)
        repeated = operation_id in self.operations
        wrong = [None if repeated else self.wrong_in(*one) for one in asked]
        try:
            with mlssocial.transaction(operation_id) as transaction:
                for verb, place, fields in asked:
                    given = () if verb not in {"create", "save"} else (place.kind.payload(**fields),)
                    named = fields if verb in {"update", "check"} else {}
                    getattr(transaction, verb)(place.kind.model, *place.ids, *given, **named)
        except TransactionCanceledError as canceled:
            reasons = [self.meant(error) for error in canceled.reasons]
        else:
            reasons = [None] * len(asked)
            assert transaction.applied is (not repeated)
        assert any(reasons) == any(wrong)
        # What a read beforehand refuses is named alone: nothing was sent then.
        assert all(said in {None, meant} for said, meant in zip(reasons, wrong, strict=True))
        if any(wrong):
            return
        if not repeated:
            for one in asked:
                self._applied(*one)
            if operation_id is not None:
                self.operations[operation_id] = chosen
                self._record(asked[0][1].ids[0], operation_id)

    def wrong_in(self, verb: str, place: Place, fields: Mapping[str, Any]) -> type[Exception] | None:
        """Say which error an operation of a transaction is refused with."""
        if verb == "create":
            return self.in_the_way(place, fields)
        error = self.obstacle(place)
        if verb == "save":
            return error if error is WrongEntityError else None
        row = self.found(place)
        if error is None and verb == "check" and row is not None:
            same = all(row["Data"]["M"].get(name) == value for name, value in place.kind.data(fields).items())
            return None if same else StaleItemError
        return error

    @staticmethod
    def meant(error: Exception | None) -> type[Exception] | None:
        """Give the class of an operation's error, its model's DoesNotExist as the base of all."""
        return ItemNotFoundError if isinstance(error, ItemNotFoundError) else None if error is None else type(error)

    def _applied(self, verb: str, place: Place, fields: Mapping[str, Any]) -> None:
        if verb == "delete":
            del self.items[place.key]
            self.drifted.discard(place.key)
        elif verb == "update":
            touched = bool(fields.keys() & place.kind.indexed)
            self.written(place, changed(place, self.items[place.key], fields), derived=touched)
        elif verb != "check":
            before = (self.found(place) or {}) if verb == "save" else {}
            self.written(place, indexed(place, before | made(place, place.kind.data(fields))))

    def _record(self, user: str, operation_id: str) -> None:
        """Take over the ledger's item, which has to be in the partition of the first operation's user."""
        key = (f"USER#{user}", f"OP#{operation_id}")
        raw = get_raw(*key)
        assert raw is not None
        assert (raw["EntityType"], list(raw["Data"]["M"])) == ({"S": "Operation"}, ["fingerprint"])
        assert int(raw["TTL"]["N"]) > time.time() + 29 * 24 * 3600
        self.ledger[key] = raw

    @precondition(lambda self: LISTING in self.kinds)
    @rule(number=st.sampled_from(["M1", "M2"]), status=st.sampled_from(STATUSES), whose=st.sampled_from([ALL_USERS, *USERS]))
    def propagate(self, number: str, status: str, whose: Any) -> None:
        """A status reaches all copies of a number that the index shows, and all published posts of each."""
        test, now = in_index("GSI1", f"MLS#flexmls#{number}", whose), time.time()
        copies = [
            key
            for key, row in self.items.items()
            if test(row) and not expired(row, now) and not key[1].startswith("OP#")
            if [text(row, "Data", name) for name in ("mlsProvider", "mlsNumber")] == ["flexmls", number]
        ]
        ours = [key for key in copies if self.items[key]["EntityType"] == {"S": "Listing"}]
        moved = [key for key in ours if text(self.items[key], "Data", "status") != status]
        posts = [post for key in ours for post in self.published(key)] if status in STATUSES[2:] else []
        result = Listing.objects.propagate_status("flexmls", number, status, user_id=whose)
        assert sorted(result.changed) == sorted(moved + posts)
        assert sorted(result.unchanged) == sorted(set(ours) - set(moved))
        assert sorted(result.failed) == sorted(set(copies) - set(ours))
        for key in moved:
            self._turned(key, "statusChangeTimestamp", {"status": {"S": status}})
        for key in posts:
            self._turned(key, "unpublishRequestedAt", {"status": {"S": "unpublish_pending"}})

    def published(self, listing: Key) -> list[Key]:
        """Give the posts of a listing that its user has published, whatever the index says."""
        return [
            key
            for key, row in self.items.items()
            if key[0] == listing[0] and key[1].startswith("POST#") and row["EntityType"] == {"S": "SocialPost"}
            if text(row, "Data", "status") == "published" and f"LISTING#{text(row, 'Data', 'listingId')}" == listing[1]
            if not expired(row, time.time())
        ]

    def _turned(self, key: Key, when: str, data: Wire) -> None:
        """Follow a status that was propagated, with the time of it as it was stored."""
        place = next(place for place in PLACES if place.key == key)
        after = deepcopy(self.items[key])
        stored = (get_raw(*key) or {})["Data"]["M"][when]
        millis = int(stored["N"]) if "N" in stored else datetime.fromisoformat(stored["S"]).timestamp() * 1000
        assert abs(millis / 1000 - time.time()) < 60
        after["Data"]["M"] |= data | {when: stored}
        self.written(place, indexed(place, after))

    # Leases

    @precondition(lambda self: any(one.place.kind in QUEUES for one in self.held))
    @rule(one=held)
    def claim(self, one: Held) -> None:
        """An item of a queue is leased where it is still in its place and nobody has it; at most one worker has a lease."""
        place = one.place
        if place.kind not in QUEUES:
            return
        objects, error = place.kind.model.objects, self.obstacle(place)
        queued = "GSI2PK" in place.kind.index(place.ids, one.seen["Data"]["M"])
        if error is WrongEntityError and queued:
            self.refuses(place, error, lambda: objects.claim(one.item, seconds=3600))
            return
        row = self.found(place)
        names = [place.kind.fields[name][0] for name in place.kind.indexed]
        there = row is not None and all(row["Data"]["M"].get(n) == one.seen["Data"]["M"].get(n) for n in names)
        free = row is not None and int(row.get("LeaseUntil", {"N": "0"})["N"]) <= time.time() * 1000
        lease = objects.claim(one.item, seconds=3600)
        assert (lease is not None) is (queued and there and free and error is None)
        if lease is not None and row is not None:
            left = (int((get_raw(*place.key) or {})["LeaseUntil"]["N"]) - time.time() * 1000) / 1000
            assert 3500 < left <= 3600
            given = {name: (get_raw(*place.key) or {})[name] for name in ("LeaseId", "LeaseUntil")}
            assert given["LeaseId"] != row.get("LeaseId")
            self.written(place, row | given, derived=False)
            self.hold(place, lease)
            self.leases.append(self.held[-1])

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), how=st.sampled_from(["complete", "release"]))
    def end_lease(self, data: st.DataObject, how: str) -> None:
        """complete() is refused, and release() does nothing, where the lease was lost; otherwise the item is free again."""
        one = data.draw(st.sampled_from(self.leases))
        self.leases.remove(one)
        place, row = one.place, self.found(one.place)
        error = self.obstacle(place)
        if error is None and row is not None and row.get("LeaseId") != one.seen["LeaseId"]:
            error = StaleItemError
        fields = {"unpublish_requested_at": 2_000} if place.kind is SOCIAL_POST else {"expires_at": 2_000}
        objects = place.kind.model.objects
        if how == "complete" and error:
            self.refuses(place, error, lambda: objects.complete(one.item, **fields))
        elif error is WrongEntityError:
            self.refuses(place, error, lambda: objects.release(one.item))
        elif error:
            assert objects.release(one.item) is False
        else:
            assert row is not None
            after = {name: value for name, value in row.items() if name not in {"LeaseId", "LeaseUntil"}}
            touched = how == "complete" and bool(fields.keys() & place.kind.indexed)
            after = changed(place, after, fields) if how == "complete" else after
            call = partial(objects.complete, one.item, **fields) if how == "complete" else partial(objects.release, one.item)
            self.writes(place, after, call, derived=touched)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def lease_runs_out(self, data: st.DataObject) -> None:
        """A worker dies, and the time of its lease passes."""
        key = data.draw(st.sampled_from(self.leases)).place.key
        if "LeaseUntil" in self.items.get(key, {}):
            self.items[key] = self.items[key] | {"LeaseUntil": {"N": "1"}}
            put_raw(self.items[key])

    # The audit

    @rule()
    def audit(self) -> None:
        """After an audit with repair all index keys follow from the data, nothing else has changed, and statuses are found."""
        stale = set()
        for place in PLACES:
            row = self.found(place)
            if row is not None and row["EntityType"] == {"S": place.kind.name} and indexed(place, row) != row:
                stale.add(place)
        report = mlssocial.audit_table(repair=True)
        assert (report.drifted, report.repaired) == (len(stale), len(stale))
        for place in stale:
            raw = get_raw(*place.key) or {}
            assert raw["WriteId"]["S"] not in self.nonces
            self.nonces.add(raw["WriteId"]["S"])
            self.items[place.key] = indexed(place, self.items[place.key]) | {"WriteId": raw["WriteId"]}
            self.drifted.discard(place.key)
        for user in USERS if LISTING in self.kinds else ():
            for status in STATUSES:
                found = Listing.objects.query_by_status(user, status).page()
                there = Listing.objects.query_by_status(user, status, consistent=True).page()
                assert sorted(one.sk for one in found) == [one.sk for one in there]

    # Reads

    def find(self, key: Key) -> None:
        """Look for what the other application has just written, and hold it if it is one of ours."""
        for place in self.places:
            if place.key == key and self.obstacle(place) is not WrongEntityError:
                item = place.kind.model.objects.find(*place.ids, consistent=True)
                assert (item is None) is (self.found(place) is None)
                if item is not None:
                    self.hold(place, item)

    @rule(place=places, consistent=st.booleans())
    def get(self, place: Place, consistent: bool) -> None:
        """A get gives the item as it is stored; find gives None where get raises."""
        objects = place.kind.model.objects
        if error := self.obstacle(place):
            self.refuses(place, error, lambda: objects.get(*place.ids, consistent=consistent))
            if error is ItemNotFoundError:
                assert objects.find(*place.ids) is None
        else:
            self.hold(place, objects.get(*place.ids, consistent=consistent))
            self.shows(place, objects.find(*place.ids))

    @rule(first=places, more=st.lists(places, max_size=4))
    def get_many(self, first: Place, more: list[Place]) -> None:
        """get_many() gives the items that are there, in the order of the ids, and warns of what cannot be read."""
        asked = [place for place in (first, *more) if place.kind is first.kind]
        there = {place.ids: place for place in asked if self.obstacle(place) is None}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = first.kind.model.objects.get_many([place.ids for place in asked], consistent=True)
        assert list(got) == list(there)
        assert len(caught) == len({place.key for place in asked if self.obstacle(place) is WrongEntityError})
        for ids, item in got.items():
            self.hold(there[ids], item)

    @rule(query=st.sampled_from(LOOKS), user=st.sampled_from(USERS), n=st.integers(0, 7), limit=st.integers(1, 3))
    def look(self, query: Callable[[str, int], Look], user: str, n: int, limit: int) -> None:
        """A query finds exactly what it must, in its order: iterated, counted, first, and page by page."""
        self._check(query(user, n), limit)

    def _check(self, look: Look, limit: int) -> None:
        now = time.time()
        items = self.items | self.ledger
        rows = [row for row in items.values() if not expired(row, now) and look.rows(row) and look.guard(row)]
        fit = [row for row in rows if look.kind is None or row["EntityType"]["S"] == look.kind.name]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(look.results)
        keys = [(item.pk, item.sk) for item in found]
        order = [text(items[key], look.sort_key) for key in keys]
        assert sorted(keys) == sorted((row["PK"]["S"], row["SK"]["S"]) for row in fit)
        assert order == sorted(order, reverse=look.reverse)
        assert len(caught) == len(rows) - len(fit)
        assert look.results.count() == len(rows)
        first = look.results.first()
        assert (first and (first.pk, first.sk)) == (keys[0] if keys else None)
        self._check_pages(look.results, keys, limit)
        for item in found:
            if look.kind is not None:
                self.shows(next(place for place in PLACES if place.key == (item.pk, item.sk)), item)

    def _check_pages(self, results: Results[Any], keys: list[Key], limit: int) -> None:
        cursor, paged = None, []
        while True:
            page = results.page(limit, cursor)
            paged += [(item.pk, item.sk) for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
            assert len(page.items) == limit
            assert len(paged) <= len(keys)  # as many at the most, where what is left cannot be read
        assert paged == keys

    # The other application

    def tick(self) -> Wire:
        """Give the other application's time: it never stands still."""
        self.clock = max(self.clock + 1, time.time_ns() // 1_000_000)
        return {"N": str(self.clock)}

    def put(self, key: Key, item: Wire) -> None:
        """Store an item past the write engine."""
        put_raw(item)
        self.items[key] = deepcopy(item)
        self.find(key)

    @rule(
        what=places.flatmap(with_payload),
        left=st.sampled_from(["right", "half", "old", "none"]),
        fields=some_of(UNKNOWN_FIELDS),
        attributes=some_of(UNKNOWN_ATTRIBUTES),
        unfit=st.booleans(),
    )
    def other_puts(self, what: tuple[Place, dict[str, Any]], left: str, fields: Wire, attributes: Wire, unfit: bool) -> None:
        """The other application writes an item whole, with GSI1 as it sees fit, without GSI2 and WriteId."""
        place, known = what
        data = place.kind.data(known) | fields
        if unfit and place.kind is LISTING:
            data["mlsNumber"] = {"S": "M#1"}  # which no key of ours can hold
        item = made(place, data)
        index = {name: item.pop(name) for name in INDEX_ATTRIBUTES if name in item and name.startswith("GSI1")}
        item = {name: value for name, value in item.items() if name not in INDEX_ATTRIBUTES}
        if left == "half":
            index.pop("GSI1SK", None)
        elif left == "old":
            index = {"GSI1PK": {"S": "MLS#flexmls#M1"}, "GSI1SK": {"S": "STATUS#pending"}}
        item |= attributes | {"CreatedAt": self.tick(), "UpdatedAt": self.tick()} | (index if left != "none" else {})
        self.put(place.key, item)
        self.drifted.add(place.key)

    @precondition(lambda self: any(item["EntityType"]["S"] == "Listing" for item in self.items.values()))
    @rule(key=stored, status=st.sampled_from(STATUSES))
    def other_changes_status(self, key: Key, status: str) -> None:
        """The other application changes a status, moves UpdatedAt, and leaves the index keys behind."""
        item = deepcopy(self.items[key])
        if item["EntityType"]["S"] == "Listing":
            item["Data"]["M"]["status"] = {"S": status}
            self.put(key, item | {"UpdatedAt": self.tick()})
            self.drifted.add(key)

    @precondition(lambda self: self.items)
    @rule(key=stored, fields=some_of(UNKNOWN_FIELDS), attributes=some_of(UNKNOWN_ATTRIBUTES))
    def other_touches(self, key: Key, fields: Wire, attributes: Wire) -> None:
        """The other application adds fields and attributes that no model knows."""
        item = deepcopy(self.items[key])
        item["Data"]["M"] |= fields
        self.put(key, item | attributes | {"UpdatedAt": self.tick()})

    @precondition(lambda self: self.items)
    @rule(key=stored, ttl=st.sampled_from([PAST, FUTURE]))
    def other_sets_ttl(self, key: Key, ttl: Wire) -> None:
        """The other application has an item expire, now or later."""
        self.put(key, self.items[key] | {"TTL": ttl, "UpdatedAt": self.tick()})

    @precondition(lambda self: self.items)
    @rule(key=stored)
    def other_deletes(self, key: Key) -> None:
        """The other application deletes an item."""
        self._erase(key)
        self.drifted.discard(key)
        self.find(key)

    def _erase(self, key: Key) -> None:
        name = store().table_name
        store().call("DeleteItem", {"TableName": name, "Key": {"PK": {"S": key[0]}, "SK": {"S": key[1]}}})
        self.items.pop(key, None)

    @rule(what=places.flatmap(with_payload), under=st.sampled_from(["TASK#1", ""]))
    def other_entity(self, what: tuple[Place, dict[str, Any]], under: str) -> None:
        """The other application stores an entity that is not ours, under a sort key of its own or of ours."""
        place, fields = what
        item = made(place, place.kind.data(fields)) | {"EntityType": {"S": "OpenHouse"}}
        item |= {"SK": {"S": under or place.key[1]}, "CreatedAt": self.tick(), "UpdatedAt": self.tick()}
        self.put((place.key[0], item["SK"]["S"]), item)
        self.drifted.add((place.key[0], item["SK"]["S"]))

    # What holds after every step

    @invariant()
    def the_table_is_the_model(self) -> None:
        """Every item is there as the model has it, attribute for attribute, and there is no other."""
        self.tally(operations=1)
        rows = stored_rows()
        assert rows == self.items | self.ledger
        by_key = {place.key: place for place in PLACES}
        for key in self.items.keys() - self.drifted:  # index keys that a write of ours derived last follow from the data
            assert indexed(by_key[key], rows[key]) == rows[key]

    def teardown(self) -> None:
        """Ask every query about what was worked on once more, in each of its variants, and leave an empty table."""
        try:
            for look in (query(USERS[n // 2 % 2], n) for query in LOOKS for n in self.variants):
                if look.kind in self.kinds:
                    self._check(look, 1)
        finally:
            for key in stored_rows():
                self._erase(key)


def test_every_operation_in_any_order(table: str, soak: bool, tally: Tally) -> None:
    """Whatever is done in whichever order by us and by others, the table holds and shows what the contract says."""
    slow = table == "moto"  # which looks at a whole index for each query
    variants = range(8) if soak else (0, 5) if slow else (0, 3, 4, 6)
    machine = type("Machine", (Table,), {"tally": staticmethod(tally), "variants": variants})
    how = settings(
        max_examples=500 if soak else 30 if slow else 100,
        stateful_step_count=50 if soak else 25,
        derandomize=not soak,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.usefixtures("table")
def test_save_many_of_an_item_that_was_saved_unread() -> None:
    """What a save without a read has left in place, save_many() of the same object leaves in place as well."""
    place = Place(LISTING, ("u1", "l1"))
    put_raw(made(place, {"status": {"S": "active"}}) | {"CreatedAt": {"N": "1"}, "UpdatedAt": {"N": "2"}, "TTL": FUTURE})
    item = Listing(*place.key, data=ListingData(status="sold"))
    item.save()
    assert (get_raw(*place.key) or {}).get("TTL") == FUTURE
    Listing.objects.save_many([item])
    assert (get_raw(*place.key) or {}).get("TTL") == FUTURE


@pytest.mark.usefixtures("table")
def test_an_unread_item_s_ttl_over_one_that_has_expired() -> None:
    """A new item that is saved over one whose TTL has passed keeps its own TTL, and nothing of what had expired."""
    place = Place(LISTING, ("u1", "l1"))
    put_raw(made(place, {"status": {"S": "active"}}) | {"CreatedAt": {"N": "1"}, "TTL": PAST, "Foreign": {"S": "x"}})
    item = Listing(*place.key, data=ListingData(status="sold"), ttl=int(FUTURE["N"]))
    item.save()
    raw = get_raw(*place.key) or {}
    assert (raw["TTL"], raw["CreatedAt"], "Foreign" in raw) == (FUTURE, raw["UpdatedAt"], False)
