"""
The embedded engine: MiniStack's DynamoDB inside this process, behind an ordinary botocore client.

``local:`` keeps its tables in memory, for this process. ``local:PATH`` keeps them in a SQLite file between runs, for
any number of processes of one machine: an acknowledged write survives ``kill -9`` (a power cut may take the latest), and
conditions, counters and transactions with their ClientRequestToken are exact across threads and processes.

SQLite holds the truth; MiniStack's memory is a copy. A write locks the file, takes over what other processes have
written since, runs, stores the items it touched, commits, and only then answers. A read takes over and runs.

What is not DynamoDB: every read is consistent, nothing is throttled, PartiQL, streams and backups are missing, and an
item whose TTL has passed stays until somebody deletes it.
"""

from __future__ import annotations

import atexit
import decimal
import hashlib
import importlib
import io
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse

from .exceptions import ConfigurationError
from .masked import MaskedBytes
from .settings import LOCAL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from botocore.awsrequest import AWSPreparedRequest
    from botocore.client import BaseClient

Answer = tuple[int, bytes]
WireMap = dict[str, Any]

DUMMY_ENDPOINT = "http://local.invalid"
"""The ``endpoint_url`` to make a client with; no request ever goes there."""

_ITEM_READS = frozenset({"GetItem", "BatchGetItem", "TransactGetItems", "Query", "Scan"})
_READS = _ITEM_READS | {"ListTables", "DescribeTable", "DescribeTimeToLive", "ListTagsOfResource"}
_ITEM_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
_WRITES = _ITEM_WRITES | {"CreateTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive", "TagResource", "UntagResource"}

# DynamoDB's numbers. Python's own context rounds to 28 digits without a word; in this one a sum is exact or refused.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Inexact, decimal.Subnormal]
_NUMBERS = decimal.Context(prec=38, Emin=-130, Emax=125, traps=_TRAPS)

# A thread that MiniStack starts when it is imported deletes expired items once a minute, past every request and so past
# the file. It looks for the TTL attribute under the name that UpdateTimeToLive gave; with this in front it never finds
# one. Every answer has the prefix taken off.
_UNREAPED = "hidden from MiniStack's reaper: "

_REGION = "us-east-1"  # the same for every client, or one of another region would see other tables
_BUSY_SECONDS = 30.0
_TOKEN_SECONDS = 600  # as long as DynamoDB remembers a ClientRequestToken
_KEPT_CHANGES = 1_000  # a process that is further behind reads the whole file
_FORMAT = 1
_APPLICATION_ID = 0x6D6C7373  # "mlss", where SQLite keeps such a mark
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS tables (name TEXT PRIMARY KEY, definition TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS items (home TEXT, key TEXT, item TEXT NOT NULL, PRIMARY KEY (home, key))",
    # What was touched of late, in order. Without a key: the definition of the table.
    "CREATE TABLE IF NOT EXISTS changes (version INTEGER PRIMARY KEY, home TEXT NOT NULL, key TEXT)",
    "CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, digest TEXT, answer BLOB, at REAL)",
    "CREATE INDEX IF NOT EXISTS tokens_at ON tokens (at)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_FORMAT}",
)

# One lock for all engines, since their state is one module's. Re-entrant, for a signal handler may fork or ask.
_lock = threading.RLock()
_engines: dict[str, _MiniStack | _File] = {}


def attach(client: BaseClient, endpoint_url: str) -> None:
    """
    Answer every request of *client* from an embedded engine.

    Args:
        client: A DynamoDB client made with :data:`DUMMY_ENDPOINT`, any region and any credentials.
        endpoint_url: ``local:`` or ``local:PATH``; the clients of one path, or of none, see the same tables.

    Raises:
        ConfigurationError: MiniStack is missing or does not fit, or the file at PATH cannot be used.
    """
    if not endpoint_url.startswith(LOCAL_PREFIX):
        raise ConfigurationError(f"{endpoint_url}: an embedded engine is named 'local:' or 'local:PATH'")
    path = endpoint_url.removeprefix(LOCAL_PREFIX)
    where = str(Path(path).expanduser().resolve()) if path else ""
    with _lock:
        if where not in _engines:
            _engines[where] = _File(where) if where else _MiniStack()
        engine = _engines[where]

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        return _respond(engine, request)

    # botocore calls every handler of an event: two of ours would run a write twice.
    client.meta.events.unregister("before-send.dynamodb", unique_id=__name__)
    client.meta.events.register("before-send.dynamodb", answer, unique_id=__name__)


def forget() -> None:
    """Drop every table of the engine in memory; its clients go on with an empty one."""
    with _lock:
        memory = _engines.get("")
        if isinstance(memory, _MiniStack):
            memory.clear()
            memory.move(str(uuid.uuid4()))  # another account, which knows no transaction's token


class _MiniStack:
    """MiniStack's DynamoDB for one account: all that this project knows of MiniStack, and the engine in memory."""

    def __init__(self, seed: str = "") -> None:
        self.move(seed)
        try:
            module: Any = importlib.import_module("ministack.services.dynamodb")
            self._scope = importlib.import_module("ministack.core.responses").request_scope
            self._handle, self._restore = module.handle_request, module.load_persisted_state
            # Its own logger, "dynamodb", would reach the user's handlers, and stderr where there are none.
            module.logger = logging.Logger("ministack", logging.CRITICAL + 1)  # noqa: LOG001  outside of the tree
            self.tell("ListTables", {})
        except ImportError as error:
            raise ConfigurationError("the embedded engine needs MiniStack: pip install 'mlssocial[local]'") from error
        except Exception as error:
            raise _misfit() from error

    def move(self, seed: str) -> None:
        """Take the account of *seed*: MiniStack's tables are its module's, and accounts keep them apart."""
        self._account = f"{int(hashlib.sha256(seed.encode()).hexdigest(), 16) % 10**12:012d}"

    def answer(self, operation: str, body: bytes) -> Answer:
        """Run a request as it comes over the wire."""
        about_ttl = operation.endswith("TimeToLive")
        headers = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
        with self._scope(self._account, _REGION), decimal.localcontext(_NUMBERS):
            request = self._handle("POST", "/", headers, _hide(body) if about_ttl else body, {})
            try:
                # It is async and waits for nothing: no event loop is needed, and one that runs is not in the way.
                request.send(None)
            except StopIteration as end:
                status, _, answer = end.value
                return status, answer.replace(_UNREAPED.encode(), b"") if about_ttl else answer
            except (decimal.Inexact, decimal.Subnormal):
                return _refusal(400, "ValidationException", "A number has more than 38 digits or is out of range")
            finally:
                request.close()
        raise _misfit()

    def tell(self, operation: str, request: WireMap) -> WireMap:
        """Run a request of our own, which is not to be refused."""
        status, answer = self.answer(operation, json.dumps(request).encode())
        if status != 200:
            raise _misfit()
        told: WireMap = json.loads(answer)
        return told

    def clear(self) -> None:
        """Delete every table."""
        while names := self.tell("ListTables", {})["TableNames"]:
            for name in names:
                self.tell("UpdateTable", {"TableName": name, "DeletionProtectionEnabled": False})
                self.tell("DeleteTable", {"TableName": name})

    def get(self, name: str, key: WireMap) -> WireMap | None:
        """Give one item, or None."""
        return self.tell("GetItem", {"TableName": name, "Key": key}).get("Item")

    def describe(self, name: str) -> WireMap:
        """Give a table's definition, as :meth:`load` takes it."""
        described = self.tell("DescribeTable", {"TableName": name})
        described |= self.tell("DescribeTimeToLive", {"TableName": name})
        return described | self.tell("ListTagsOfResource", {"ResourceArn": described["Table"]["TableArn"]})

    def load(self, definition: WireMap, items: Sequence[WireMap]) -> None:
        """
        Make a table with its items.

        Through the door by which MiniStack takes back the state that it saved itself: what it has validated once it
        takes as it is, several times as fast as it would a PutItem.
        """
        # The account stands in every ARN, and is another one if the file has moved.
        was = definition["Table"]["TableArn"].split(":")[4]
        table = json.loads(json.dumps(definition["Table"]).replace(f":{was}:table/", f":{self._account}:table/"))
        name, names = table["TableName"], {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
        pk, sk = names["HASH"], names.get("RANGE")
        rows: dict[str, WireMap] = {}
        for item in items:
            (partition,), (sort,) = item[pk].values(), item[sk].values() if sk else ("__no_sort__",)
            rows.setdefault(partition, {})[sort] = item
        table = {"GlobalSecondaryIndexes": [], "LocalSecondaryIndexes": [], "StreamSpecification": None} | table
        table |= {"pk_name": pk, "sk_name": sk, "items": rows}
        table |= {"ItemCount": len(items), "TableSizeBytes": 200 * len(items)}  # its own estimate
        with self._scope(self._account, _REGION):
            self._restore({"tables": {name: table}, "tags": {table["TableArn"]: definition["Tags"]}})
        ttl = definition["TimeToLiveDescription"]
        if ttl.pop("TimeToLiveStatus") == "ENABLED":
            self.tell("UpdateTimeToLive", {"TableName": name, "TimeToLiveSpecification": ttl | {"Enabled": True}})
        # Should MiniStack lay its state out in another way some day, an empty table must not be what one sees.
        if items and self.get(name, {key: items[-1][key] for key in names.values()}) != items[-1]:
            raise _misfit()


class _File:
    """The engine in a SQLite file, with a copy in memory that no answer finds behind."""

    def __init__(self, path: str) -> None:
        self._copy = _MiniStack(path)
        self._path = path
        self._keys: dict[str, list[str]] = {}  # the key attributes of each table
        self._seen: int | None = None  # the newest change in the copy; None if only the file is right
        self._data_version: int | None = None  # SQLite's sign that another connection has committed
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._connect()

    def answer(self, operation: str, body: bytes) -> Answer:
        """Run a request on the copy, and commit what it changed before giving its answer."""
        db = self._connect()
        read = operation in _READS
        try:
            db.execute("BEGIN" if read else "BEGIN IMMEDIATE")
            self._catch_up(db)
            answer = self._copy.answer(operation, body) if read else self._write(db, operation, body)
            db.execute("COMMIT")
        except BaseException as error:
            self._seen = None
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                return self._unusable(error)
            raise
        return answer

    def close(self) -> None:
        """Close the connection. The copy stays, and catches up on the next request's connection."""
        if self._db:
            self._db.close()
        self._db = self._data_version = None

    def _connect(self) -> sqlite3.Connection:
        # Were the file deleted under us, SQLite would go on in it, and every write be lost in the end.
        if self._identity != _identity(self._path):
            self.close()
            self._seen = None
        if self._db is None:
            self._db, self._identity = _open(self._path), _identity(self._path)
        return self._db

    def _catch_up(self, db: sqlite3.Connection) -> None:
        data_version = _pragma(db, "data_version")
        if self._seen is not None and data_version == self._data_version:
            return
        span = "SELECT (SELECT min(version) FROM changes), (SELECT max(version) FROM changes)"
        oldest, newest = (version or 0 for version in db.execute(span).fetchone())
        missed = "SELECT DISTINCT home, key, item FROM changes LEFT JOIN items USING (home, key) WHERE version > ?"
        changes = db.execute(missed, (self._seen,)).fetchall()
        known = self._seen is not None and oldest - 1 <= self._seen <= newest
        if not known or not all(self._take_over(*change) for change in changes):
            self._load(db)
        self._seen, self._data_version = newest, data_version

    def _take_over(self, name: str, key: str | None, item: str | None) -> bool:
        """Repeat another process's write on the copy; False where the whole file has to be read, as after a table's change."""
        if key is None:
            return False
        operation, member, value = ("PutItem", "Item", item) if item else ("DeleteItem", "Key", key)
        return self._copy.answer(operation, json.dumps({"TableName": name, member: json.loads(value)}).encode())[0] == 200

    def _load(self, db: sqlite3.Connection) -> None:
        self._copy.clear()
        for name, definition in db.execute("SELECT name, definition FROM tables").fetchall():
            items = db.execute("SELECT item FROM items WHERE home = ?", (name,))
            self._copy.load(json.loads(definition), [json.loads(item) for (item,) in items])
            self._keys[name] = _key_names(json.loads(definition))

    def _write(self, db: sqlite3.Connection, operation: str, body: bytes) -> Answer:
        """Run a write, unless its token says that this or another process has run it already."""
        request = json.loads(body)
        token = request.pop("ClientRequestToken", None)
        if token is None:
            return self._run(db, operation, request, body)
        # MiniStack never sees the token: it would remember it even if the commit fails.
        body = json.dumps(request, sort_keys=True).encode()
        digest, now = hashlib.sha256(body).hexdigest(), time.time()
        db.execute("DELETE FROM tokens WHERE at < ?", (now - _TOKEN_SECONDS,))
        known = db.execute("SELECT digest, answer FROM tokens WHERE token = ?", (token,)).fetchone()
        if known and known[0] != digest:
            message = "Request token already in use for another request with a different payload"
            return _refusal(400, "IdempotentParameterMismatchException", message)
        status, answer = (200, known[1]) if known else self._run(db, operation, request, body)
        if status == 200:
            db.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?, ?)", (token, digest, answer, now))
        return status, answer

    def _run(self, db: sqlite3.Connection, operation: str, request: WireMap, body: bytes) -> Answer:
        """Run a write on the copy and store what it touched; a refused one stores nothing."""
        status, answer = self._copy.answer(operation, body)
        if status != 200:
            # MiniStack changes a table before it has looked at all of an UpdateTable.
            self._seen = self._seen if operation in _ITEM_WRITES else None
            return status, answer
        if operation in _ITEM_WRITES:
            changes = [self._store_item(db, name, write) for name, write in _writes(operation, request)]
        else:
            changes = [self._store_definition(db, operation, request)]
        db.executemany("INSERT INTO changes (home, key) VALUES (?, ?)", changes)
        (self._seen,) = db.execute("SELECT max(version) FROM changes").fetchone()
        db.execute("DELETE FROM changes WHERE version <= ? - ?", (self._seen, _KEPT_CHANGES))
        return status, answer

    def _store_definition(self, db: sqlite3.Connection, operation: str, request: WireMap) -> tuple[str, str | None]:
        name = _name(request.get("TableName") or request["ResourceArn"])
        if operation == "DeleteTable":
            db.execute("DELETE FROM items WHERE home = ?", (name,))
            db.execute("DELETE FROM tables WHERE name = ?", (name,))
        else:
            definition = self._copy.describe(name)
            self._keys[name] = _key_names(definition)
            db.execute("INSERT OR REPLACE INTO tables VALUES (?, ?)", (name, json.dumps(definition)))
        return name, None

    def _store_item(self, db: sqlite3.Connection, name: str, write: WireMap) -> tuple[str, str | None]:
        # MiniStack normalises the numbers of an item that is put, and takes those of a key as they are.
        key = write["Key"] if "Key" in write else {name: _normal(write["Item"][name]) for name in self._keys[name]}
        item, text = self._copy.get(name, key), json.dumps(key, sort_keys=True)
        if item is None:
            db.execute("DELETE FROM items WHERE home = ? AND key = ?", (name, text))
        else:
            db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (name, text, json.dumps(item)))
        return name, text

    def _unusable(self, error: sqlite3.Error) -> Answer:
        reason = str(error)
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            reason = f"another process keeps it locked, for {_BUSY_SECONDS:g} s by now; try again when that is done"
        return _refusal(500, "InternalServerError", f"local:{self._path}: {reason}")


class _Raw(io.BytesIO):
    """A body as botocore reads one from urllib3."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _respond(engine: _MiniStack | _File, request: AWSPreparedRequest) -> AWSResponse:
    operation = _bytes(request.headers["X-Amz-Target"]).decode().rpartition(".")[2]
    try:
        if operation in _READS or operation in _WRITES:
            with _lock:
                status, body = engine.answer(operation, _bytes(request.body))
        else:
            status, body = _refusal(400, "UnknownOperationException", f"the embedded engine has no {operation}")
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001  whatever happens inside a server, it answers; and a traceback shows items
        status, body = _refusal(500, "InternalServerError", f"the embedded engine failed: {type(error).__name__}")
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "Content-Length": str(len(body)),
        "x-amz-crc32": str(zlib.crc32(body)),
        "x-amzn-RequestId": str(uuid.uuid4()),
    }
    response = AWSResponse(request.url, status, headers, _Raw(body))
    response._content = MaskedBytes(body)  # noqa: SLF001  botocore has no other way to say what was read already
    return response


def _bytes(value: Any) -> bytes:
    """Give a header or a body as bytes that are not shown; botocore has them as bytes, as a string or as a file."""
    value = value.read() if hasattr(value, "read") else value
    return MaskedBytes(value.encode() if isinstance(value, str) else value)


def _refusal(status: int, code: str, message: str) -> Answer:
    return status, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()


def _misfit() -> ConfigurationError:
    return ConfigurationError("the installed MiniStack is not like ministack 1.5.33: pip install 'mlssocial[local]'")


def _hide(body: bytes) -> bytes:
    request = json.loads(body)
    specification = request.get("TimeToLiveSpecification", {})
    if name := specification.get("AttributeName"):
        specification["AttributeName"] = _UNREAPED + name
    return json.dumps(request).encode()


def _writes(operation: str, request: WireMap) -> Iterator[tuple[str, WireMap]]:
    """Give table and write, with its Key or its Item, of every item that an accepted request may have changed."""
    if operation == "BatchWriteItem":
        for name, members in request["RequestItems"].items():
            yield from ((_name(name), write) for member in members for write in member.values())
    elif operation == "TransactWriteItems":
        for member in request["TransactItems"]:
            yield from ((_name(write["TableName"]), write) for write in member.values())
    else:
        yield _name(request["TableName"]), request


def _name(table: str) -> str:
    """Give a table's name, from itself or from its ARN."""
    return table.rpartition("/")[2]


def _key_names(definition: WireMap) -> list[str]:
    return [key["AttributeName"] for key in definition["Table"]["KeySchema"]]


def _normal(value: WireMap) -> WireMap:
    """Give a key attribute with its number as MiniStack stores it: plain, without zeros at the end."""
    if "N" not in value:
        return value
    number = _NUMBERS.add(decimal.Decimal(value["N"]), 0)  # the sum of -0 and 0 is 0
    return {"N": f"{_NUMBERS.normalize(number):f}"}


def _open(path: str) -> sqlite3.Connection:
    """Open the file, after making it or making sure that it is ours."""
    try:
        _claim(Path(path))
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db)
        except BaseException:
            db.close()
            raise
    except (ConfigurationError, OSError, sqlite3.Error) as error:
        raise ConfigurationError(f"local:{path}: {error}") from error
    return db


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _claim(path: Path) -> None:
    """Make the file where there is none; refuse one that is not ours before SQLite can touch it."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no folder {path.parent}; make it, or choose another path")
    try:
        path.touch(mode=0o600, exist_ok=False)  # for its owner alone: tokens are in it
    except FileExistsError:
        with path.open("rb") as file:
            header = file.read(100)
        # https://www.sqlite.org/fileformat.html#the_database_header
        if header and header[:16] + header[68:72] != b"SQLite format 3\0" + _APPLICATION_ID.to_bytes(4):
            raise ConfigurationError("the file is not mlssocial's and stays as it is; choose another path") from None


def _prepare(db: sqlite3.Connection) -> None:
    if _pragma(db, "application_id") != _APPLICATION_ID:
        # Not in WAL mode yet, so that the mark goes straight to the file's first page, where _claim() looks for it.
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute("COMMIT")
    if (version := _pragma(db, "user_version")) > _FORMAT:
        raise ConfigurationError(f"a later mlssocial wrote it (format {version}, here {_FORMAT}); update mlssocial")
    db.execute("PRAGMA journal_mode = WAL")
    # In WAL mode a commit is then with the operating system, if not on the disk: it outlives the process.
    db.execute("PRAGMA synchronous = NORMAL")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _close_files() -> None:
    for engine in _engines.values():
        if isinstance(engine, _File):
            engine.close()


def _before_fork() -> None:
    # A child must not use, or even close, a connection that it inherits, so none is open at that moment; parent and
    # child each open one when they need it. The lock is held so that no thread is halfway through a request, which
    # in the child would never go on. https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_file_across_a_fork_
    _lock.acquire()
    _close_files()


if hasattr(os, "register_at_fork"):  # pragma: no branch  Windows has none, and no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release)
atexit.register(_close_files)  # SQLite folds its -wal file into the one at PATH, which can then be copied
