"""The table's indexes, as PynamoDB declares them. Each class states the keys of one overloaded use."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pynamodb.attributes import UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model

if TYPE_CHECKING:
    from .models import Listing, MLSConnection, SocialConnection, SocialPost  # noqa: F401  named in the bases below

M = TypeVar("M", bound=Model)


class GSI1(GlobalSecondaryIndex[M]):
    """The documented index: listings by MLS number, posts by listing. Overloaded, sparse, eventually consistent."""

    class Meta:
        index_name = "GSI1"
        projection = AllProjection()

    gsi1pk = UnicodeAttribute(hash_key=True, attr_name="GSI1PK")
    gsi1sk = UnicodeAttribute(range_key=True, attr_name="GSI1SK")


class GSI2(GlobalSecondaryIndex[M]):
    """The index of statuses and work queues; entities of another application use it too, under other prefixes."""

    class Meta:
        index_name = "GSI2"
        projection = AllProjection()

    gsi2pk = UnicodeAttribute(hash_key=True, attr_name="GSI2PK")
    gsi2sk = UnicodeAttribute(range_key=True, attr_name="GSI2SK")


class MLSNumberIndex(GSI1["Listing"]):
    """``GSI1PK = MLS#<provider>#<number>``, ``GSI1SK = STATUS#<status>``: every user's copy of an MLS number."""


class ListingPostIndex(GSI1["SocialPost"]):
    """``GSI1PK = LISTING#<listingId>``, ``GSI1SK = POST#<postId>``: every user's posts of a listing id."""


class StatusIndex(GSI2["Listing"]):
    """``GSI2PK = USER#<userId>#STATUS#<status>``, ``GSI2SK = LISTED#<listDate or nothing>#<listingId>``."""


class SyncQueueIndex(GSI2["MLSConnection"]):
    """``GSI2PK = MLS_SYNC#<0..7>``, ``GSI2SK = <lastSyncedAt or 0>#<userId>#<connectionId>``: longest unsynced first."""


class TokenExpiryIndex(GSI2["SocialConnection"]):
    """``GSI2PK = TOKEN_EXPIRY#<0..7>``, ``GSI2SK = <expiresAt>#<userId>#<PLATFORM>``: only what expires, soonest first."""


class UnpublishQueueIndex(GSI2["SocialPost"]):
    """``GSI2PK = UNPUBLISH#<0..7>``, ``GSI2SK = <unpublishRequestedAt>#<userId>#<postId>``: posts that wait, oldest first."""
