"""A record's photos: RESO's Media, or Spark's Photos."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mlssocial.exceptions import InvalidRecordError

from .values import ABSENT, Fields, first, flag, number, stripped, text

# RESO's other categories are no pictures of the property: videos, floor plans and documents, and photos of agents and offices.
CATEGORIES = frozenset({"photo", "photos", "image", "images", "picture", "property photo", "primary photo"})

# What MediaType, or a MIME type in its place, says of files that are no pictures, whatever their category.
_OTHER_KINDS = ("video/", "audio/", "application/", "text/")
_OTHER_TYPES = frozenset(
    {
        "avi",
        "doc",
        "docx",
        "html",
        "mov",
        "mp3",
        "mp4",
        "mpeg",
        "mpg",
        "pdf",
        "ppt",
        "pptx",
        "quicktime",
        "rtf",
        "text",
        "txt",
        "wav",
    }
    | {"wmv", "xls", "xlsx"}
)

_category = first(stripped, "MediaCategory")
_type = first(stripped, "MediaType", "MimeType")
_status = first(stripped, "MediaStatus")
_media_url = first(stripped, "MediaURL")
_media_caption = first(text, "ShortDescription", "LongDescription")
_spark_caption = first(text, "Caption", "Name")
_SIZED_URI = re.compile(r"Uri(\d{1,5})", re.ASCII)


def photos(fields: Fields) -> Any:
    """Read the photos in the order in which they are to be shown, numbered from 0; neither videos, plans nor documents."""
    media = first(_media, "Media")(fields)
    if isinstance(media, list):
        return media
    spark = first(_spark, "Photos")(fields)
    return media if spark is ABSENT else spark


def _media(value: Any) -> list[dict[str, Any]]:
    """RESO's: by Order, which starts at 0 or 1, may be text, and may be missing: then as they came, behind the others."""
    pictures = [entry for entry in _entries(value) if _is_picture(entry)]
    return _numbered((_media_url(entry), _media_caption(entry)) for entry in sorted(pictures, key=_order))


def _spark(value: Any) -> list[dict[str, Any]]:
    """Spark's: the primary one first, the others as they came, each in its largest size."""
    entries = sorted(_entries(value), key=lambda entry: first(flag, "Primary")(entry) is not True)
    found = ((_largest(entry), _spark_caption(entry)) for entry in entries)
    return _numbered((url, caption) for url, caption in found if isinstance(url, str))


def _entries(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or any(not isinstance(entry, dict) for entry in value):
        raise ValueError("a list of objects is needed")
    return value


def _numbered(pictures: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"url": url, "order": order, **({"caption": caption} if isinstance(caption, str) else {})}
        for order, (url, caption) in enumerate(pictures)
    ]


def _is_picture(entry: Fields) -> bool:
    category = _category(entry)
    is_picture = category is None or category is ABSENT or category.casefold() in CATEGORIES
    return is_picture and not _is_other(entry) and isinstance(_media_url(entry), str)


def _is_other(entry: Fields) -> bool:
    """Tell whether an entry's type is no picture's, or it was deleted."""
    kind, status = _type(entry), _status(entry)
    is_other = isinstance(kind, str) and (kind.casefold().startswith(_OTHER_KINDS) or kind.casefold() in _OTHER_TYPES)
    return is_other or (isinstance(status, str) and status.casefold() == "deleted")


def _order(entry: Fields) -> tuple[bool, Any]:
    """Sort what has an Order before what has none, or none that is a number: nothing hangs on it but the order."""
    try:
        order = first(number, "Order")(entry)
    except InvalidRecordError:
        order = None
    return (True, 0) if order is None or order is ABSENT else (False, order)


def _largest(entry: Fields) -> Any:
    sizes = sorted((int(size[1]) for name in entry if (size := _SIZED_URI.fullmatch(name))), reverse=True)
    return first(stripped, "UriLarge", *(f"Uri{size}" for size in sizes), "UriThumb")(entry)
