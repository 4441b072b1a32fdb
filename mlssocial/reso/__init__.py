"""
MLS payloads into listings: RESO Web API and Spark records, read, mapped and imported.

:func:`read_records` reads a feed's file, :func:`map_listing` makes a ListingData of one record, :func:`import_feed` writes what
files and servers give. Source of the field names: RESO Data Dictionary 2.0, https://ddwiki.reso.org/.
"""

from __future__ import annotations

from mlssocial.exceptions import FeedError, InvalidRecordError, SkippedRecordError

from .importing import import_feed
from .mapping import map_listing
from .reading import Record, demo_page, read_records
from .report import ImportReport, ListingChange, RejectedRecord, ShortenedRecord
from .server import Server
from .stored import listing_id
from .web import ClientCredentials

__all__ = [
    "ClientCredentials",
    "FeedError",
    "ImportReport",
    "InvalidRecordError",
    "ListingChange",
    "Record",
    "RejectedRecord",
    "Server",
    "ShortenedRecord",
    "SkippedRecordError",
    "demo_page",
    "import_feed",
    "listing_id",
    "map_listing",
    "read_records",
]
