"""
The payloads: what stands in ``Data``, as pydantic models.

Names are snake_case in Python and camelCase on the wire. Fields that a model does not know are kept as they came. Absent, null
and empty are three states: a field that was never set is not written, None is written as null.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, Strict, ValidationError, ValidationInfo
from pydantic.alias_generators import to_camel

from . import jsontext, notebook
from .exceptions import InvalidItemError, clipped
from .masked import MaskedBytes
from .settings import current
from .tokens import STORED, Token, hide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html#HowItWorks.DataTypes.Number
MAX_NUMBER_DIGITS = 38
MAX_NUMBER_EXPONENT, MIN_NUMBER_EXPONENT = 125, -130

EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
# At most 400 characters: 38 digits with 130 zeros on either side, and no more. Longer text is refused before it costs anything.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_NUMBER_TEXT = 400
_MAX_WHOLE_BITS = 600  # 9.99E+125 has 419
_OUTSIDE = "outside of DynamoDB's range, 1E-130 to 9.99E+125"


class ListingStatus(StrEnum):
    """The four states of a listing; what the MLS said stands beside it in standard_status and mls_status."""

    ACTIVE = "active"
    PENDING = "pending"
    SOLD = "sold"
    EXPIRED = "expired"


class Platform(StrEnum):
    """The platforms that are known by name. Others are kept as text."""

    FACEBOOK = "facebook"
    INSTAGRAM = "instagram"
    LINKEDIN = "linkedin"
    TWITTER = "twitter"
    FOLLOWUPBOSS = "followupboss"
    FACEBOOK_LEAD_ADS = "facebook_lead_ads"
    CALENDLY = "calendly"
    HUBSPOT = "hubspot"

    @classmethod
    def named(cls, name: str) -> Platform | str:
        """Give the member of that name, or the name itself where it is another platform's."""
        return cls._value2member_map_.get(name, name)  # type: ignore[return-value]  # its values are members


class PostStatus(StrEnum):
    """The states of a post; the last two are this project's, for posts of listings that left the market."""

    PUBLISHED = "published"
    FAILED = "failed"
    UNPUBLISHED = "unpublished"
    UNPUBLISH_PENDING = "unpublish_pending"
    UNPUBLISH_FAILED = "unpublish_failed"


def parse_number(text: str) -> Decimal:
    """
    Turn a number's text into a Decimal, exactly.

    The text is checked first, since ``1E+1000000`` is short to write and long to convert. ValueError if it is no number, or
    none that DynamoDB can hold: 38 significant digits, between 1E-130 and 9.99...E+125.
    """
    if len(text) < 20 and text.isdigit() and text.isascii():  # by far the most numbers
        return Decimal(text)
    if len(text) > _MAX_NUMBER_TEXT or not _NUMBER.fullmatch(text):
        raise ValueError("not a decimal number of up to 38 digits")
    return check_number(Decimal(text))


def check_number(number: Decimal) -> Decimal:
    """Give *number* back if DynamoDB can hold it exactly, else raise ValueError."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError("NaN and infinity cannot be stored")  # noqa: TRY004  a Decimal it is
    significant = len("".join(map(str, digits)).strip("0"))
    if significant > MAX_NUMBER_DIGITS:
        raise ValueError(f"{significant} significant digits, and DynamoDB keeps {MAX_NUMBER_DIGITS}")
    if number and not MIN_NUMBER_EXPONENT <= number.adjusted() <= MAX_NUMBER_EXPONENT:
        raise ValueError(_OUTSIDE)
    return number


def check_whole(number: int) -> int:
    """Give *number* back if it can be converted in no time, else raise ValueError: it is none that DynamoDB can hold."""
    if number.bit_length() > _MAX_WHOLE_BITS:
        raise ValueError(_OUTSIDE)
    return number


_MAX_PROBLEMS = 10


def explained(error: ValidationError) -> tuple[str, tuple[str, ...]]:
    """Say what pydantic refused without repeating any input, and in which fields; of many problems the first ten."""
    details = error.errors(include_url=False, include_input=False, include_context=False)
    named = [(".".join(map(clipped, detail["loc"])), detail["msg"]) for detail in details[:_MAX_PROBLEMS]]
    reasons = [f"{where}: {message}" if where else message for where, message in named]
    more = [f"and {len(details) - len(named):,} more"] if len(details) > len(named) else []
    return "; ".join([*reasons, *more]), tuple(where for where, _ in named)


def _number(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Decimal):
        return check_number(value)
    if info.context == STORED or isinstance(value, bool):
        raise ValueError("not a number")
    if isinstance(value, int):
        return check_number(Decimal(check_whole(value)))
    if isinstance(value, float):
        raise ValueError("a binary float is not exact; give a Decimal, an int or the number's text")  # noqa: TRY004
    return parse_number(value) if isinstance(value, str) else value


def _whole(value: Any, info: ValidationInfo) -> Any:
    number = _number(value, info)
    if isinstance(number, Decimal):
        if number != number.to_integral_value():
            raise ValueError("not a whole number")
        return int(number)  # at most 126 digits, by check_number
    return number


def _moment(value: Any, info: ValidationInfo) -> Any:
    """Epoch milliseconds, or from a caller an aware datetime, cut to the millisecond that the table can hold."""
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        millis = _whole(value, info) if info.context != STORED or isinstance(value, Decimal) else value
        try:
            return EPOCH + millis * MILLISECOND
        except OverflowError:
            raise ValueError("epoch milliseconds outside of the years 1 to 9999") from None
    if info.context == STORED or isinstance(value, float):
        raise ValueError("not a number of epoch milliseconds")
    if isinstance(value, str):
        value = _parsed(datetime.fromisoformat, value, "a date and time of ISO 8601")
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("no time zone; give an aware datetime")
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise ValueError("outside of the years 1 to 9999 in UTC") from None
        return value.replace(microsecond=value.microsecond // 1000 * 1000)
    return value


def _day(value: Any) -> Any:
    if isinstance(value, datetime):
        raise ValueError("a date is needed, not a datetime")  # noqa: TRY004
    if isinstance(value, bool | int | float | Decimal | bytes):  # which pydantic takes, and which would be written back as text
        raise ValueError("not a date of the form YYYY-MM-DD")  # noqa: TRY004
    if isinstance(value, str) and value:
        if len(value) != 10 or value[4] != "-" or value[7] != "-":  # weeks, as in 2024-W03-1, are as long
            raise ValueError("not a date of the form YYYY-MM-DD")
        return _parsed(date.fromisoformat, value, "a date of the form YYYY-MM-DD")
    return value


def _parsed(parse: Callable[[str], Any], text: str, wanted: str) -> Any:
    """Parse text; what is wrong with it is said without repeating it."""
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"not {wanted}") from None


Number = Annotated[Decimal, BeforeValidator(_number)]
"""Money and measures: exact, up to 38 digits. A binary float is refused."""

Whole = Annotated[int, BeforeValidator(_whole)]
"""A count."""

Moment = Annotated[datetime, Strict(), BeforeValidator(_moment)]
"""A point in time: an aware UTC datetime in Python, epoch milliseconds on the wire."""

Day = Annotated[date | Literal[""], BeforeValidator(_day)]
"""A calendar day, ``YYYY-MM-DD`` on the wire, where an empty string may stand for none."""

Flag = Annotated[bool, Strict()]

AnyPlatform = Annotated[Platform | str, Field(union_mode="left_to_right")]
"""A platform that is known by name, or the text of another."""


class _FirstProblem(FailFast):
    """Ends a list's validation at its first bad entry: to name a hundred thousand of them takes seconds."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


Texts = Annotated[list[str], Strict(), _FirstProblem()]


def _wire_name(name: str) -> str:
    # RESO writes its yes/no fields so: InternetAddressDisplayYN
    return to_camel(name).removesuffix("Yn") + "YN" if name.endswith("_yn") else to_camel(name)


class Payload(BaseModel):
    """What all payloads share: names, unknown fields, validation of assignments."""

    model_config = ConfigDict(
        alias_generator=_wire_name,
        validate_by_name=True,
        validate_by_alias=True,
        extra="allow",
        validate_assignment=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    if not TYPE_CHECKING:  # as pydantic's own, or mypy would allow any attribute

        def __getattr__(self, name: str) -> Any:
            """
            Make what pydantic keeps of a payload beside its values, when it is first asked for.

            Compiled code leaves it out where it follows from the values, as it mostly does: what is not None was set, and there
            is no unknown field. One that has an extra has a set of fields, too.
            """
            if name == "__pydantic_fields_set__":
                made: Any = {field for field in type(self).model_fields if self.__dict__.get(field) is not None}
            elif name == "__pydantic_extra__":
                _ = self.__pydantic_fields_set__
                made = {}
            elif name == "__pydantic_private__":
                made = None
            else:
                return super().__getattr__(name)
            object.__setattr__(self, name, made)
            return made

    @classmethod
    def from_json(cls, body: str | bytes | bytearray) -> Self:
        """
        Make a payload of JSON from outside, such as the body of a request.

        Numbers stay exact. Field names are taken in their wire form or in Python's; what no field is called is kept, as
        everywhere. The text is held to the settings ``max_input_*`` before it is parsed.

        Raises:
            InvalidItemError: It is no JSON object, passes a limit, has a name twice in one object, or a field has a value that
                cannot be. The message says where, and by *fields* which; it shows no value.
        """
        refused: tuple[str, tuple[str, ...]]
        try:
            given = jsontext.parse(body, current(), parse_number)
            if isinstance(given, dict):
                return cls.model_validate(given)
            refused = ("a JSON object is needed", ())
        except jsontext.InputError as error:
            refused = (str(error), ())
        except ValidationError as error:
            refused = explained(error)
        reason, fields = refused  # raised out here, where pydantic's error, which has the input, is no context of it
        raise InvalidItemError(f"read {cls.__name__}", None, reason, fields=fields)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show what is set. Unknown fields and open maps are another application's, and may hold its secrets."""
        for name, value in super().__repr_args__():
            if name in self.model_fields_set and name in type(self).model_fields:
                yield name, value

    def _repr_html_(self) -> str:
        """Show a notebook what ``repr`` shows."""
        return notebook.fields(type(self).__name__, ((str(name), value) for name, value in self.__repr_args__()))


class Address(Payload):
    """A listing's address. Older items of the other application say zipCode for zip."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    zip_code: str | None = None
    country: str | None = None


class Photo(Payload):
    """One photo; the lowest order is shown first."""

    url: str | None = None
    caption: str | None = None
    order: Whole | None = None


class ListingData(Payload):
    """A property as the MLS describes it, source: RESO Data Dictionary 2.0, https://ddwiki.reso.org/."""

    status: ListingStatus
    mls_id: str | None = None
    """RESO's ListingKey, opaque, never a number."""
    mls_number: str | None = None
    """RESO's ListingId, what people quote."""
    mls_provider: str | None = None
    """The feed that it came by."""
    price: Number | None = None
    bedrooms: Number | None = None
    bathrooms: Number | None = None
    square_feet: Number | None = None
    property_type: str | None = None
    list_date: Day | None = None
    description: str | None = None
    address: Address | None = None
    photos: Annotated[list[Photo], Strict(), _FirstProblem()] | None = None
    features: Texts | None = None
    synced_at: Moment | None = None
    lot_size: Number | None = None
    year_built: Whole | None = None
    standard_status: str | None = None
    mls_status: str | None = None
    modification_timestamp: str | None = None
    status_change_timestamp: str | None = None
    photos_change_timestamp: str | None = None
    originating_system_name: str | None = None
    list_agent_key: str | None = None
    list_office_key: str | None = None
    list_office_name: str | None = None
    mls_connection_id: str | None = None
    internet_entire_listing_display_yn: Flag | None = None
    internet_address_display_yn: Flag | None = None


class ConnectionPayload(Payload):
    """What the payloads of connections share: a token is hidden as soon as it is given, from tracebacks with locals too."""

    def __init__(self, /, **fields: Any) -> None:
        super().__init__(**hide(fields))

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validation has no need to come by here

    def __setattr__(self, name: str, value: Any) -> None:
        value = hide({name: value})[name]
        super().__setattr__(name, value)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as pydantic does."""
        if isinstance(obj, dict) and options.get("context") != STORED:
            obj = hide(dict(obj))
        return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate as pydantic does."""
        json_data = MaskedBytes(json_data.encode() if isinstance(json_data, str) else json_data)
        return super().model_validate_json(json_data, **options)


class MLSConnectionData(ConnectionPayload):
    """A user's access to an MLS feed."""

    id: str | None = None
    user_id: str | None = None
    provider: str | None = None
    agent_id: str | None = None
    brokerage_id: str | None = None
    access_token: Token | None = None
    refresh_token: Token | None = None
    expires_at: Moment | None = None
    created_at: Moment | None = None
    last_synced_at: Moment | None = None


class SocialConnectionData(ConnectionPayload):
    """A user's access to a social platform."""

    id: str | None = None
    user_id: str | None = None
    platform: AnyPlatform | None = None
    access_token: Token | None = None
    refresh_token: Token | None = None
    expires_at: Moment | None = None
    scope: Texts | None = None
    platform_user_id: str | None = None
    platform_username: str | None = None
    metadata: Annotated[dict[str, Any], Strict()] | None = Field(None, repr=False)
    """Anything; the other application keeps page tokens here, so it is not shown."""
    created_at: Moment | None = None
    updated_at: Moment | None = None


class SocialPostData(Payload):
    """A post on a platform. On one that failed, the platform's id and URL are empty and published_at is 1970."""

    post_id: str | None = None
    listing_id: str | None = None
    platform: AnyPlatform | None = None
    platform_post_id: str | None = None
    platform_post_url: str | None = None
    content: str | None = None
    images: Texts | None = None
    hashtags: Texts | None = None
    status: PostStatus | None = None
    unpublish_requested_at: Moment | None = None
    published_at: Moment | None = None
    error: str | None = None
    created_at: Moment | None = None
    updated_at: Moment | None = None


class OperationData(Payload):
    """What the ledger keeps of an operation that was applied: a hash of what was asked for, and nothing of its values."""

    fingerprint: str


class PlatformMetrics(Payload):
    """One platform's figures of a day. Platforms add and drop counters: any other is kept."""

    views: Whole | None = None
    shares: Whole | None = None
    inquiries: Whole | None = None
    clicks: Whole | None = None
    engagement: Number | None = None


class PerformanceMetricsData(Payload):
    """A listing's figures of one day, in total and by platform. Null is not zero."""

    listing_id: str | None = None
    date: Day | None = None
    views: Whole | None = None
    shares: Whole | None = None
    inquiries: Whole | None = None
    platforms: Annotated[dict[str, PlatformMetrics], Strict()] | None = None
    updated_at: Moment | None = None
