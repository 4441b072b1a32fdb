"""
Measure the import of a feed, beside PynamoDB's own batch_write of the same items.

Both read the same file of records, a line each, and map them the same way. The import reads what is stored, compares, and
writes each new listing under a condition; batch_write puts 25 items a request over whatever is there. Each run has a process of
its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from . import engine, environment, item, report
from .peers.base import REGION, Target
from .resident import resident_mb
from .server import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT, QUICK_COUNT = 20_000, 4_000
SETTLED = 2_000
"""From this record on growth of memory counts."""
PROVIDER = "bench"
RUNS = ("import", "again", "batch_write")
NAMES = {
    "import": "mlssocial, import_feed: all are new",
    "again": "mlssocial, import_feed again: none has changed",
    "batch_write": "PynamoDB, batch_write",
}


def record(number: int) -> dict[str, Any]:
    """Make one record of about 9 KB: fields that are mapped, media with all that servers say of it, and fields that are not."""
    fields = item.data(number)
    key = f"2006072522471329629{number:07d}"
    media = [
        {
            "MediaKey": f"{key}-{order}",
            "ResourceRecordKey": key,
            "ResourceName": "Property",
            "MediaURL": photo["url"],
            "MediaCategory": "Photo",
            "MimeType": "image/jpeg",
            "Order": order,
            "ShortDescription": photo["caption"],
            "MediaModificationTimestamp": "2024-05-24T11:26:40.000Z",
            "ImageWidth": 2048,
            "ImageHeight": 1536,
        }
        for order, photo in enumerate(fields["photos"])
    ]
    mapped = {
        "ListingKey": key,
        "ListingId": fields["mlsNumber"],
        "StandardStatus": ("Active", "Pending", "Closed", "Expired")[number % 4],
        "MlsStatus": fields["mlsStatus"],
        "ListPrice": fields["price"],
        "BedroomsTotal": fields["bedrooms"],
        "BathroomsTotalInteger": 3,
        "BathroomsFull": 2,
        "BathroomsHalf": 1,
        "LivingArea": fields["squareFeet"],
        "LivingAreaUnits": "Square Feet",
        "LotSizeAcres": 0.25,
        "PropertyType": "Residential",
        "PropertySubType": "Single Family Residence",
        "ListingContractDate": fields["listDate"],
        "YearBuilt": fields["yearBuilt"],
        "PublicRemarks": fields["description"],
        "UnparsedAddress": fields["address"]["street"],
        "City": fields["address"]["city"],
        "StateOrProvince": "CA",
        "PostalCode": "94102",
        "InteriorFeatures": fields["features"],
        "ModificationTimestamp": fields["modificationTimestamp"],
        "Media": media,
    }
    return mapped | {f"Unmapped{n:03d}": (None, "None Known", n, False)[n % 4] for n in range(170)}


def write_feed(path: Path, count: int) -> int:
    """Write the feed, and give its size in bytes."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(record(number)) + "\n")
    return path.stat().st_size


# --- One run, in a process of its own --------------------------------------------------------------------------------


def run(name: str, feed: Path, endpoint: str, table: str) -> dict[str, float]:
    """Do one run, and give its figures."""
    samples: list[tuple[int, float]] = []

    def seen(count: int) -> None:
        if count % 500 == 0:
            samples.append((count, resident_mb()))

    work = _batch_write if name == "batch_write" else _import
    target = Target(endpoint, table)
    begun, cpu = time.perf_counter(), time.process_time()
    count = work(feed, target, seen)
    seconds, spent = time.perf_counter() - begun, time.process_time() - cpu
    settled = max((memory for at, memory in samples if at <= SETTLED), default=0.0)
    growth = max((memory for _, memory in samples), default=0.0) - settled
    return {"rate": count / seconds, "cpu": spent / count * 1e6, "memory": settled, "growth": growth, "seconds": seconds}


def _import(feed: Path, target: Target, seen: Callable[[int], None]) -> int:
    import mlssocial
    from mlssocial.reso import import_feed

    mlssocial.configure(table_name=target.table, endpoint_url=target.endpoint, region=REGION)
    done = import_feed(feed, user_id=item.USER_ID, provider=PROVIDER, progress=lambda now: seen(now.total))
    if done.rejected_count or done.skipped_count:
        raise RuntimeError(str(done))
    return done.total


def _batch_write(feed: Path, target: Target, seen: Callable[[int], None]) -> int:
    from mlssocial.codec import natives
    from mlssocial.reso import listing_id, map_listing, read_records

    from .peers import pynamodb_typed as peer

    peer.Peer(target).connect()
    count = 0
    with peer.Listing.batch_write() as batch:
        for one in read_records(feed):
            data = map_listing(one.fields, provider=PROVIDER)
            key = listing_id(PROVIDER, str(data.mls_id))
            batch.save(_model(peer, key, natives(data)))
            count += 1
            seen(count)
    return count


def _model(peer: Any, key: str, fields: dict[str, Any]) -> Any:
    """Make the model of an item, index keys included, as one who uses PynamoDB has to."""
    pk, status, number = f"USER#{item.USER_ID}", str(fields["status"]), fields["mlsNumber"]
    values = peer.named(peer.ListingData, {name: value for name, value in fields.items() if name in _KNOWN})
    values["status"] = status
    values["address"] = peer.Address(**values["address"])
    values["photos"] = [peer.Photo(**{**photo, "order": int(photo["order"])}) for photo in values["photos"]]
    now = time.time_ns() // 1_000_000
    return peer.Listing(
        pk,
        f"LISTING#{key}",
        entity_type="Listing",
        created_at=now,
        updated_at=now,
        gsi1pk=f"MLS#{PROVIDER}#{number}",
        gsi1sk=f"STATUS#{status}",
        gsi2pk=f"{pk}#STATUS#{status}",
        gsi2sk=f"LISTED#{fields['listDate']}#{key}",
        data=peer.ListingData(**values),
    )


_KNOWN = frozenset(item.data(0))


# --- All of them -----------------------------------------------------------------------------------------------------


@contextmanager
def keeping() -> Iterator[str]:
    """Start the server in a process of its own, and give its endpoint."""
    command = [sys.executable, "-m", "benchmarks.keeping"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (port := process.stdout.readline().strip()):
                raise RuntimeError("the server did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def measure(name: str, feed: Path, endpoint: str, table: str) -> dict[str, float]:
    """Do one run in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.feed", "--run", name, "--feed", str(feed), "--table", table]
    done = subprocess.run(
        [*command, "--endpoint", endpoint], cwd=ROOT, env=environment.clean(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def table_of(found: dict[str, dict[str, float]], count: int, size: int, where: str) -> report.Table:
    """Make the table."""
    rows = [
        [NAMES[name], f"{each['rate']:,.0f}", f"{each['cpu']:,.0f}", f"{each['memory']:.0f}", f"{each['growth']:+.1f}"]
        for name, each in found.items()
    ]
    return report.Table(
        f"{count:,} records of {size / count / 1000:.1f} KB, {where}",
        ["run", "records a second", "client CPU µs a record", "memory MB", f"growth after {SETTLED:,} MB"],
        rows,
        [
            "records a second: wall time, reading the file and mapping the records included",
            "PynamoDB writes 25 a request, without a look or a condition; its numbers are floats",
        ],
    )


def main() -> None:
    """Measure all, and show the table; or do one run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feed", description=__doc__)
    parser.add_argument("--records", type=int, default=COUNT, help="how many (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_COUNT:,} records: to try things out")
    parser.add_argument(
        "--endpoint", help="a real engine, such as DynamoDB Local, instead of the server that keeps what it gets"
    )
    parser.add_argument("--markdown", type=Path, help="write the table and the machine's description to this file")
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        sys.stdout.write(json.dumps(run(options.run, options.feed, options.endpoint, options.table)))
        return
    machine = environment.describe("benchmarks.feed")
    os.environ.update(environment.clean())
    count = QUICK_COUNT if options.quick else options.records
    with TemporaryDirectory() as folder:
        feed = Path(folder) / "feed.ndjson"
        size = write_feed(feed, count)
        made = table_of(_measured(feed, options.endpoint), count, size, options.endpoint or "against a server that keeps them")
    sys.stdout.write(report.text([made]))
    if options.markdown:
        options.markdown.write_text(report.markdown([made], machine))


def _measured(feed: Path, endpoint: str | None) -> dict[str, dict[str, float]]:
    if endpoint is None:
        with keeping() as ours, keeping() as theirs:
            return {name: measure(name, feed, theirs if name == "batch_write" else ours, item.TABLE) for name in RUNS}
    with engine.tables(endpoint, ("ours", "theirs"), unknown_fields=False) as names:
        return {name: measure(name, feed, endpoint, names["theirs" if name == "batch_write" else "ours"]) for name in RUNS}


if __name__ == "__main__":
    main()
