"""Promises of mlssocial.keys: the documented ones first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlssocial import InvalidKeyError, Platform, keys

USER = "user-123"
MAKERS: dict[str, tuple[Any, Any]] = {
    "listing": (lambda user, one: keys.listing_keys(user, one), keys.parse_listing_keys),
    "mls connection": (lambda user, one: keys.mls_connection_keys(user, one), keys.parse_mls_connection_keys),
    "post": (lambda user, one: keys.social_post_keys(user, one), keys.parse_social_post_keys),
}

ids = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="#"), min_size=1, max_size=40)
platforms = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), min_size=1, max_size=20)
days = st.dates()
moments = st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2286, 1, 1))


class TestListingKeys:
    def test_primary_key(self) -> None:
        """Documented 1: a listing lies at USER#<userId> / LISTING#<listingId>."""
        made = keys.listing_keys(USER, "listing-1")
        assert (made.pk, made.sk) == ("USER#user-123", "LISTING#listing-1")

    def test_mls_number_gives_the_index_partition(self) -> None:
        """Documented 2: provider and number give GSI1PK; its sort key is there too, as an index has both keys or neither."""
        made = keys.listing_keys(USER, "listing-1", "flexmls", "MLS-456")
        assert (made.pk, made.sk, made.gsi1pk) == ("USER#user-123", "LISTING#listing-1", "MLS#flexmls#MLS-456")
        assert made.gsi1sk == "STATUS#"

    def test_status_gives_the_index_sort_key(self) -> None:
        """Documented 3: the status stands in GSI1SK."""
        made = keys.listing_keys(USER, "listing-1", "flexmls", "MLS-456", "active")
        assert (made.gsi1pk, made.gsi1sk) == ("MLS#flexmls#MLS-456", "STATUS#active")

    def test_no_mls_number_no_index_keys(self) -> None:
        """Documented 4: without provider and number there are no GSI1 keys."""
        made = keys.listing_keys(USER, "listing-1")
        assert (made.gsi1pk, made.gsi1sk) == (None, None)

    @pytest.mark.parametrize("half", [{"mls_provider": "flexmls"}, {"mls_number": "MLS-456"}])
    def test_half_an_mls_number_gives_no_index_keys(self, half: dict[str, str]) -> None:
        """A status without both provider and number leaves GSI1 out: never half a key pair."""
        made = keys.listing_keys(USER, "listing-1", status="active", **half)
        assert (made.gsi1pk, made.gsi1sk) == (None, None)

    def test_status_index(self) -> None:
        """A status gives the user's status partition, sorted by list date and listing id."""
        made = keys.listing_keys(USER, "listing-1", status="active", list_date="2024-01-15")
        assert (made.gsi2pk, made.gsi2sk) == ("USER#user-123#STATUS#active", "LISTED#2024-01-15#listing-1")

    def test_no_list_date_sorts_first(self) -> None:
        """A listing without a list date is in the index all the same, before those that have one."""
        without, dated = (keys.listing_keys(USER, "l", status="sold", list_date=d).gsi2sk for d in (None, date(1, 1, 1)))
        assert without == "LISTED##l"
        assert without < str(dated)


class TestMLSConnectionKeys:
    def test_primary_key(self) -> None:
        """Documented 5: a connection lies at USER#<userId> / MLS_CONNECTION#<connectionId>."""
        made = keys.mls_connection_keys(USER, "conn-1")
        assert (made.pk, made.sk) == ("USER#user-123", "MLS_CONNECTION#conn-1")

    def test_ids_tell_connections_apart(self) -> None:
        """Documented 6: two ids give two sort keys."""
        assert keys.mls_connection_keys(USER, "conn-1").sk != keys.mls_connection_keys(USER, "conn-2").sk

    def test_never_synced_is_due_first(self) -> None:
        """A connection that was never synced is in the queue, at time 0, in its user's partition."""
        made = keys.mls_connection_keys(USER, "conn-1")
        assert (made.gsi2pk, made.gsi2sk) == (
            f"MLS_SYNC#{crc32(b'user-123') % 8}",
            "0000000000000#user-123#conn-1",
        )


class TestSocialConnectionKeys:
    @pytest.mark.parametrize("platform", ["facebook", "instagram", "linkedin", "FaCeBoOk", Platform.TWITTER])
    def test_platform_is_upper_case(self, platform: str) -> None:
        """Documented 7 to 10: a connection lies at SOCIAL#<PLATFORM>, whatever case the platform was given in."""
        made = keys.social_connection_keys(USER, platform)
        assert (made.pk, made.sk) == ("USER#user-123", f"SOCIAL#{platform.upper()}")

    def test_only_what_expires_is_queued(self) -> None:
        """A token without expiry has no place in the queue of expiries."""
        assert keys.social_connection_keys(USER, "facebook").gsi2pk is None
        made = keys.social_connection_keys(USER, "facebook", 1705363200000)
        assert made.gsi2sk == "1705363200000#user-123#FACEBOOK"

    def test_platform_is_ascii(self) -> None:
        """A platform outside of ASCII is refused: upper-casing would let two spellings meet, as in ß and SS."""
        with pytest.raises(InvalidKeyError, match="platform"):
            keys.social_connection_keys(USER, "stra\xdfe")


class TestSocialPostKeys:
    def test_primary_key(self) -> None:
        """Documented 11: a post lies at USER#<userId> / POST#<postId>."""
        made = keys.social_post_keys(USER, "post-1")
        assert (made.pk, made.sk) == ("USER#user-123", "POST#post-1")

    def test_listing_gives_index_keys(self) -> None:
        """Documented 12: a listing id gives both keys of GSI1."""
        made = keys.social_post_keys(USER, "post-1", "listing-1")
        assert (made.gsi1pk, made.gsi1sk) == ("LISTING#listing-1", "POST#post-1")

    def test_no_listing_no_index_keys(self) -> None:
        """Documented 13: without a listing there are no GSI1 keys."""
        made = keys.social_post_keys(USER, "post-1")
        assert (made.gsi1pk, made.gsi1sk) == (None, None)

    @pytest.mark.parametrize("status", [None, "published", "failed", "unpublished", "unpublish_failed"])
    def test_only_waiting_posts_are_queued(self, status: str | None) -> None:
        """A post is in the unpublish queue while it waits there, and at no other time."""
        assert keys.social_post_keys(USER, "p", "l", status, 1).gsi2pk is None
        assert keys.social_post_keys(USER, "p", "l", "unpublish_pending", 1).gsi2sk == "0000000000001#user-123#p"


class TestPerformanceMetricsKeys:
    def test_primary_key(self) -> None:
        """Documented 14: a day lies at METRICS#<listingId>#<YYYY-MM-DD>."""
        made = keys.performance_metrics_keys(USER, "listing-1", "2024-01-15")
        assert (made.pk, made.sk) == ("USER#user-123", "METRICS#listing-1#2024-01-15")

    def test_days_tell_items_apart(self) -> None:
        """Documented 15: two days give two sort keys, as text or as dates."""
        assert keys.performance_metrics_keys(USER, "listing-1", date(2024, 1, 16)).sk == "METRICS#listing-1#2024-01-16"

    def test_listings_tell_items_apart(self) -> None:
        """Documented 16: two listings give two sort keys."""
        assert keys.performance_metrics_keys(USER, "listing-2", "2024-01-15").sk == "METRICS#listing-2#2024-01-15"

    def test_prefix_of_a_listing(self) -> None:
        """Documented 17: a listing's days begin with its prefix, which ends with the separator."""
        prefix = keys.metrics_prefix("listing-1")
        assert prefix == "METRICS#listing-1#"
        assert keys.performance_metrics_keys(USER, "listing-1", "2024-01-15").sk.startswith(prefix)

    @pytest.mark.parametrize(
        "day", ["2024-1-15", "2024-02-30", "20240115", "", "2024-01-15T00:00:00Z", datetime(2024, 1, 15), 3]
    )
    def test_no_day_is_refused(self, day: object) -> None:
        """What is no calendar day of the form YYYY-MM-DD is refused."""
        with pytest.raises(InvalidKeyError, match="date"):
            keys.performance_metrics_keys(USER, "l", day)  # type: ignore[arg-type]

    def test_range(self) -> None:
        """A range of days has both ends in it, and open ends reach every day."""
        assert keys.metrics_range("l", "2024-01-01", date(2024, 1, 31)) == ("METRICS#l#2024-01-01", "METRICS#l#2024-01-31")
        first, last = keys.metrics_range("l", None, None)
        for day in (date.min, date.max):
            assert first <= keys.performance_metrics_keys(USER, "l", day).sk <= last
        with pytest.raises(InvalidKeyError, match="since"):
            keys.metrics_range("l", "2024-02-01", "2024-01-01")


class TestUniqueness:
    def test_entities_share_a_partition_and_no_sort_key(self) -> None:
        """Documented 18: one id in several entities gives several sort keys in one partition."""
        made = [keys.listing_keys(USER, "id-1"), keys.social_post_keys(USER, "id-1"), keys.mls_connection_keys(USER, "id-1")]
        assert {m.pk for m in made} == {"USER#user-123"}
        assert [m.sk for m in made] == ["LISTING#id-1", "POST#id-1", "MLS_CONNECTION#id-1"]

    def test_prefix_of_an_entity(self) -> None:
        """Documented 19: all listings begin with the prefix that queries use."""
        assert all(keys.listing_keys(USER, f"listing-{n}").sk.startswith(keys.LISTINGS) for n in (1, 2))

    @given(st.lists(st.tuples(ids, ids), unique=True, min_size=2, max_size=2), st.sampled_from(sorted(MAKERS)))
    def test_different_ids_never_give_one_key(self, pairs: list[tuple[str, str]], kind: str) -> None:
        """Two different pairs of ids give two different keys, in the table and in every index."""
        make, _ = MAKERS[kind]
        one, other = (make(*pair) for pair in pairs)
        assert (one.pk, one.sk) != (other.pk, other.sk)

    @given(ids, ids, ids, ids, ids, ids)
    def test_mls_numbers_never_collide(self, provider: str, number: str, other: str, another: str, user: str, one: str) -> None:
        """Two different MLS numbers never share an index partition."""
        made, second = keys.listing_keys(user, one, provider, number), keys.listing_keys(user, one, other, another)
        assert (made.gsi1pk == second.gsi1pk) == ((provider, number) == (other, another))

    @given(ids, platforms, ids, ids, days, ids)
    def test_no_id_reaches_another_entity(
        self, user: str, platform: str, one: str, other: str, day: date, listing: str
    ) -> None:
        """Whatever the ids, the entities' ranges inside a partition stay apart."""
        sort_keys = {
            keys.LISTINGS: keys.listing_keys(user, one).sk,
            keys.SOCIAL_POSTS: keys.social_post_keys(user, other).sk,
            keys.MLS_CONNECTIONS: keys.mls_connection_keys(user, one).sk,
            keys.SOCIAL_CONNECTIONS: keys.social_connection_keys(user, platform).sk,
            keys.metrics_prefix(listing): keys.performance_metrics_keys(user, listing, day).sk,
        }
        for prefix, own in sort_keys.items():
            assert [sk for sk in sort_keys.values() if sk.startswith(prefix)] == [own]

    @given(ids, ids, days, days)
    def test_no_listing_reaches_anothers_metrics(self, one: str, other: str, day: date, end: date) -> None:
        """A listing's prefix and range hold its own days and no other listing's."""
        first, last = keys.metrics_range(one, None, end)
        sort_key = keys.performance_metrics_keys(USER, other, day).sk
        assert sort_key.startswith(keys.metrics_prefix(one)) == (one == other)
        assert (first <= sort_key <= last) == (one == other and day <= end)

    @given(ids, ids, platforms, days)
    def test_pairs_are_whole(self, user: str, one: str, platform: str, day: date) -> None:
        """Every index has both keys or neither."""
        for made in (
            keys.listing_keys(user, one),
            keys.listing_keys(user, one, one, one),
            keys.listing_keys(user, one, None, one, "active", day),
            keys.mls_connection_keys(user, one),
            keys.social_connection_keys(user, platform),
            keys.social_connection_keys(user, platform, 1),
            keys.social_post_keys(user, one, one, "unpublish_pending"),
            keys.performance_metrics_keys(user, one, day),
        ):
            assert (made.gsi1pk is None) == (made.gsi1sk is None)
            assert (made.gsi2pk is None) == (made.gsi2sk is None)


class TestWayBack:
    @given(ids, ids, st.sampled_from(sorted(MAKERS)))
    def test_ids_come_back(self, user: str, one: str, kind: str) -> None:
        """Parsing a key gives the ids that it was made of."""
        make, parse = MAKERS[kind]
        made = make(user, one)
        assert parse(made.pk, made.sk) == (user, one)

    @given(ids, platforms, days, ids)
    def test_platforms_and_days_come_back(self, user: str, platform: str, day: date, listing: str) -> None:
        """Platforms come back in upper case, days as dates."""
        connection = keys.social_connection_keys(user, platform)
        assert keys.parse_social_connection_keys(connection.pk, connection.sk) == (user, platform.upper())
        metrics = keys.performance_metrics_keys(user, listing, day)
        assert keys.parse_performance_metrics_keys(metrics.pk, metrics.sk) == (user, listing, day)

    @pytest.mark.parametrize(
        ("parse", "pk", "sk"),
        [
            (keys.parse_listing_keys, "USER#u", "POST#p"),
            (keys.parse_listing_keys, "AGENT#u", "LISTING#l"),
            (keys.parse_listing_keys, "USER#", "LISTING#l"),
            (keys.parse_listing_keys, "USER#u", "LISTING#a#b"),
            (keys.parse_mls_connection_keys, "USER#u", "MLS_CONNECTION#"),
            (keys.parse_social_connection_keys, "USER#u", "SOCIAL#facebook"),
            (keys.parse_social_post_keys, "USER#u", "LISTING#l"),
            (keys.parse_performance_metrics_keys, "USER#u", "METRICS#l"),
            (keys.parse_performance_metrics_keys, "USER#u", "METRICS#a#b#2024-01-01"),
            (keys.parse_performance_metrics_keys, "USER#u", "METRICS#l#yesterday"),
        ],
    )
    def test_what_is_no_such_key_is_refused(self, parse: object, pk: str, sk: str) -> None:
        """A key of another form is refused, not guessed at."""
        with pytest.raises(InvalidKeyError):
            parse(pk, sk)  # type: ignore[operator]


class TestRefusals:
    @pytest.mark.parametrize("bad", ["", "a#b", "#", "a\x00", "a\n", "\x7f", "\x85", "\ud800", None, 7, b"u", True])
    @pytest.mark.parametrize(
        "make",
        [
            lambda bad: keys.listing_keys(bad, "l"),
            lambda bad: keys.listing_keys("u", bad),
            lambda bad: keys.listing_keys("u", "l", bad or "", "n"),
            lambda bad: keys.listing_keys("u", "l", "p", bad or ""),
            lambda bad: keys.listing_keys("u", "l", status=bad or ""),
            lambda bad: keys.mls_connection_keys("u", bad),
            lambda bad: keys.social_connection_keys("u", bad),
            lambda bad: keys.social_post_keys("u", bad),
            lambda bad: keys.social_post_keys("u", "p", bad or ""),
            lambda bad: keys.performance_metrics_keys("u", bad, "2024-01-01"),
            lambda bad: keys.shard(bad),
        ],
    )
    def test_unfit_ids(self, make: object, bad: object) -> None:
        """Empty, the separator, control characters, lone surrogates and what is no text are refused wherever an id enters."""
        with pytest.raises(InvalidKeyError):
            make(bad)  # type: ignore[operator]

    @pytest.mark.parametrize(("name", "limit"), [("user_id", 2048), ("listing_id", 1024)])
    def test_length_is_that_of_the_assembled_key(self, name: str, limit: int) -> None:
        """Keys of 2048 and 1024 UTF-8 bytes pass, one more is refused: the prefix counts, and bytes and not characters."""
        room = limit - len({"user_id": "USER#", "listing_id": "LISTING#"}[name])
        filler = "é" * (room // 2) + "x" * (room % 2)
        given = {"user_id": "u", "listing_id": "l", name: filler}
        keys.listing_keys(**given)
        with pytest.raises(InvalidKeyError, match=f"{limit + 1} bytes"):
            keys.listing_keys(**{**given, name: filler + "x"})

    def test_errors_name_the_argument(self) -> None:
        """An error says which argument was refused, and is a ValueError."""
        with pytest.raises(ValueError, match="mls_number: 'A#1' contains '#'") as caught:
            keys.listing_keys("u", "l", "p", "A#1")
        assert isinstance(caught.value, InvalidKeyError)
        assert caught.value.part == "mls_number"


class TestQueues:
    @given(moments, moments, ids, ids)
    def test_text_order_is_time_order(self, one: datetime, other: datetime, user: str, name: str) -> None:
        """Entries of a queue sort by time, to the millisecond."""
        first, second = (keys.mls_connection_keys(user, name, moment).gsi2sk for moment in (one, other))
        millis = [(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for moment in (one, other)]
        assert (str(first) < str(second)) == (millis[0] < millis[1])

    @given(moments, moments, ids)
    def test_end_of_a_queue_lies_behind_its_millisecond(self, end: datetime, moment: datetime, user: str) -> None:
        """A queue up to a time has that time's entries in it, and no later one's."""
        entry = str(keys.social_connection_keys(user, "x", moment).gsi2sk)
        millis = [(m - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for m in (moment, end)]
        assert (keys.QUEUE_START <= entry <= keys.queue_end(end)) == (millis[0] <= millis[1])

    def test_times_outside_of_13_digits_stay_in_order(self) -> None:
        """What lies before 1970 sorts first and what lies after 2286 last: never an item that cannot be written."""
        early, late = datetime(1960, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
        assert str(keys.social_connection_keys("u", "x", early).gsi2sk).startswith("0000000000000#")
        assert str(keys.social_connection_keys("u", "x", late).gsi2sk).startswith("9999999999999#")

    def test_time_zone_is_needed(self) -> None:
        """A naive datetime is refused; another zone's is the same moment."""
        with pytest.raises(InvalidKeyError, match="time zone"):
            keys.social_connection_keys("u", "x", datetime(2024, 1, 1))
        local = datetime(2024, 1, 1, 3, tzinfo=timezone(timedelta(hours=3)))
        assert keys.queue_time(local) == keys.queue_time(datetime(2024, 1, 1, tzinfo=UTC))

    @pytest.mark.parametrize("bad", [1.5, True, "1705363200000"])
    def test_what_is_no_time_is_refused(self, bad: object) -> None:
        """Floats, booleans and text are no times."""
        with pytest.raises(InvalidKeyError, match="expires_at"):
            keys.social_connection_keys("u", "x", bad)  # type: ignore[arg-type]

    @given(ids)
    def test_a_user_has_one_shard(self, user: str) -> None:
        """A user's queue entries lie in the partition that the user's id names, one of eight."""
        assert keys.sync_partitions(user) == [f"MLS_SYNC#{crc32(user.encode()) % 8}"]
        assert keys.sync_partitions(user)[0] in keys.sync_partitions()
        assert keys.expiry_partitions(user)[0] in keys.expiry_partitions()
        assert keys.unpublish_partitions(user)[0] in keys.unpublish_partitions()
