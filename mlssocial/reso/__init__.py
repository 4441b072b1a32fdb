"""
MLS payloads into listings: RESO Web API and Spark records, read, mapped and imported.

:func:`read_records` reads a feed's file, :func:`map_listing` makes a ListingData of one record, :func:`import_listings` and
:func:`import_files` write them. Source of the field names: RESO Data Dictionary 2.0, https://ddwiki.reso.org/.
"""

from __future__ import annotations

from mlssocial.exceptions import FeedError, InvalidRecordError, SkippedRecordError

from .importing import ImportReport, RejectedRecord, import_files, import_listings, listing_id
from .mapping import map_listing
from .reading import Record, demo_page, read_records

__all__ = [
    "FeedError",
    "ImportReport",
    "InvalidRecordError",
    "Record",
    "RejectedRecord",
    "SkippedRecordError",
    "demo_page",
    "import_files",
    "import_listings",
    "listing_id",
    "map_listing",
    "read_records",
]
