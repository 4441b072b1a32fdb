"""
Seed faults into a copy of the package, one at a time, and show which test finds each: ``make seeded-faults``.

Every fault is an exact replacement of source text, and is refused loudly where that text is no longer there, or there twice. A
fault that no test finds ends the run with an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("mlssocial", "tests", "conftest.py", "pyproject.toml")
STATEFUL, FAULTS, RACES = "tests/test_stateful.py", "tests/test_faults.py", "tests/test_races.py"
TENANTS, LEAKS = "tests/test_tenants.py", ("tests/test_leaks.py",)
BROWSE = "tests/test_browse.py"
WEB = ("tests/test_flask.py", "tests/test_fastapi.py")
UPSERTS, SOURCES, SERVER = "tests/test_reso_upserts.py", "tests/test_reso_sources.py", "tests/test_reso_server.py"


class Seed(NamedTuple):
    """A fault: *text* of *file* becomes *fault*, and one of *tests* has to fail."""

    name: str
    file: str
    text: str
    fault: str
    tests: tuple[str, ...] = (STATEFUL,)


# Texts are short, so that they stand while the code around them changes.
SEEDS = (
    Seed(
        "an update takes any entity's item",
        "expressions.py",
        "= {self.value({'S': entity.name})} AND",
        "<> {self.value({'S': ''})} AND",
    ),
    Seed(
        "an update makes what is not there",
        "prepare.py",
        'conditions = [expression.alive(write.entity, write.now), expression.of_type((DATA,), "M")]',
        'conditions = [f"(attribute_not_exists(PK) OR {expression.alive(write.entity, write.now)})"]',
    ),
    Seed(
        "index keys are not derived in an update",
        "prepare.py",
        "if self.changes.touches_index(write.entity):",
        "if False:",
    ),
    Seed(
        "an update of an index field takes the item as it was read",
        "prepare.py",
        "locked = self.seen or old\n",
        "locked = self.seen\n",
        (RACES,),
    ),
    Seed(
        "index keys that no longer apply stay on a save",
        "prepare.py",
        'return update_expression(sets, removes), condition, expression.request()["ExpressionAttributeNames"]',
        'return update_expression(sets, []), condition, expression.request()["ExpressionAttributeNames"]',
    ),
    Seed("CreatedAt is overwritten", "prepare.py", "if name == CREATED_AT else", "if False else"),
    Seed(
        "the version is UpdatedAt alone",
        "prepare.py",
        "for name in (UPDATED_AT, WRITE_ID)]",
        "for name in (UPDATED_AT,)]",
        (RACES, STATEFUL),
    ),
    Seed(
        "a create overwrites",
        "expressions.py",
        'return f"attribute_not_exists({self.path((PK,))}) OR',
        'return f"attribute_exists({self.path((PK,))}) OR attribute_not_exists({self.path((PK,))}) OR',
    ),
    Seed("an expired item is still there", "writes.py", "if item is None or expired(item, now_millis()):", "if item is None:"),
    Seed(
        "a lost write is claimed without a look",
        "writes.py",
        """            if not prepared.once or not patience.wait():
                return _settle(write, lost, patience.to_look())""",
        """            return {}""",
        (FAULTS,),
    ),
    Seed("a look believes any item", "writes.py", "and write.write_id == item[WRITE_ID].S", "", (FAULTS,)),
    Seed(
        "a write is sent again after a lost answer",
        "connection.py",
        'repeatable = operation in READS or "ClientRequestToken" in request',
        "repeatable = True",
        (FAULTS,),
    ),
    Seed(
        "a 500 means not applied",
        "connection.py",
        'failed = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500',
        "failed = False",
        (FAULTS,),
    ),
    Seed("checksums are not looked at", "components.py", "checksum != str(crc32(answer.content))", "False", (FAULTS,)),
    Seed("request ids are not looked at", "components.py", "if request_id is None:", "if False:", (FAULTS,)),
    Seed(
        "what a batch left unprocessed is dropped",
        "batch.py",
        "left = {key: entry for key, entry in left.items() if key in unprocessed}",
        "left = {}",
        (FAULTS,),
    ),
    Seed(
        "keys that a batch left unread are dropped",
        "batch.py",
        'get(table, {}).get("Keys", [])',
        'get(table, {}).get("None", [])',
        (FAULTS,),
    ),
    Seed(
        "query_by_status believes the index", "managers/listings.py", '{"guards": (_status_guard(status),), ', '{"guards": (), '
    ),
    Seed(
        "an index is read for everybody",
        "managers/base.py",
        "return None if user_id is ALL_USERS else keys.user_partition(user_id)",
        "return None",
    ),
    Seed("a cursor starts over", "results.py", "if start:\n", "if False:\n"),
    Seed(
        "a query ends after its first page",
        "connection.py",
        """        yield answer
        if not answer.get("LastEvaluatedKey"):""",
        """        yield answer
        if True:""",
        ("tests/test_results.py",),
    ),
    Seed(
        "totals do not follow the platforms",
        "changes.py",
        "for name in _TOTALS if name in counters}",
        "for name in _TOTALS if False}",
    ),
    Seed(
        "save_many forgets what others keep beside Data",
        "models.py",
        "others = {**self.raw, **self._others()}",
        "others = self._others()",
    ),
    Seed(
        "a saved item does not know what was left in place",
        "models.py",
        "self._take_beside(left)",
        "self._take_beside({})",
    ),
    Seed(
        "the ledger's condition is dropped",
        "atomic.py",
        'self.ledger = Operation("create", entry, data)',
        """entry.members["ConditionExpression"] += " OR attribute_exists(PK)"
            self.ledger = Operation("create", entry, data)""",
        ("tests/test_transactions.py",),
    ),
    Seed(
        "a lease that lasts is taken over",
        "managers/queues.py",
        'return " AND ".join([*there, ran_out])',
        'return " AND ".join([*there, f"({ran_out} OR attribute_exists(PK))"])',
    ),
    Seed(
        "complete() asks for no lease",
        "prepare.py",
        'conditions.append(expression.same((LEASE_ID,), {"S": self.lease}))',
        "pass",
        ("tests/test_leases.py",),
    ),
    Seed(
        "a status that is propagated skips the posts",
        "propagation.py",
        "posts = list(self._published()) if self.change.status not in ON_MARKET else []",
        "posts: list[Row] = []",
        ("tests/test_propagation.py",),
    ),
    Seed(
        "a batch counts as written what was left unprocessed",
        "batch.py",
        'return outcome | dict.fromkeys(left, StoreError(reason, code="UnprocessedItems"))',
        "return outcome | dict.fromkeys(left)",
        (FAULTS,),
    ),
    Seed(
        "a repair has no version condition",
        "prepare.py",
        """conditions = [expression.alive(entity, write.now), expression.unchanged(seen)]
    conditions += [expression.same(path, value) for path, value in same.items()]""",
        "conditions = [expression.alive(entity, write.now)]",
        ("tests/test_audit.py", "tests/test_drift.py"),
    ),
    Seed(
        "a page is in the checkpoint before it was taken over",
        "segments.py",
        "            take(report, done.result)\n",
        """            state.positions[segment] = done.after
            _write(file, state)
            take(report, done.result)
""",
        ("tests/test_audit.py",),
    ),
    Seed(
        "a reseal does not compare the tokens",
        "prepare.py",
        "for name in tokens}",
        "for name in ()}",
        ("tests/test_reseal.py",),
    ),
    Seed(
        "a rotation leaves what is sealed",
        "reseal.py",
        "key_id_of(token) != self.key_id if self.rotate else",
        "",
        ("tests/test_reseal.py",),
    ),
    Seed(
        "an index's rows of another user are taken",
        "results.py",
        "if tenant is not None and (PK",
        "if False and (PK",
        (FAULTS,),
    ),
    Seed(
        "a status that others put into an index is believed",
        "managers/listings.py",
        'how |= {"index": "GSI2", "tenant": partition}',
        'how |= {"index": "GSI2"}',
        ("tests/test_results.py", TENANTS),
    ),
    Seed(
        "a user's index read filters nothing",
        "results.py",
        "tenant = () if self.tenant is None",
        "tenant = () if True",
        (TENANTS,),
    ),
    Seed("another user's item is let through the door", "managers/bulk.py", "if item.pk != tenant:", "if False:", (TENANTS,)),
    Seed(
        "a position at another user's item is a cursor",
        "results.py",
        "(self.tenant is not None and cursor.pk != self.tenant)",
        "False",
        ("tests/test_results.py",),
    ),
    Seed(
        "the app's policy takes tags for patterns",
        "iam.py",
        'table, "StringEquals", [keys.user',
        'table, "StringLike", [keys.user',
        ("tests/test_iam.py",),
    ),
    Seed(
        "a migration writes over what its version does not show",
        "transforms.py",
        "if name in row else None for name in (DATA, *changed)",
        "if name in row else None for name in changed[:0]",
        ("tests/test_migrations.py",),
    ),
    Seed(
        "a migration takes a transform that doubles",
        "transforms.py",
        "again is not None and again != new",
        "again is not None and again == old",
        ("tests/test_migrations.py",),
    ),
    Seed(
        "the lock on migrations is anyone's",
        "migration_record.py",
        'f"attribute_not_exists({expression.path((PK,))}) OR',
        'f"attribute_exists({expression.path((PK,))}) OR attribute_not_exists({expression.path((PK,))}) OR',
        ("tests/test_migrations.py",),
    ),
    Seed(
        "an import's checkpoint runs ahead of its writes",
        "reso/importing.py",
        "        try:\n            outcomes = future",
        "        self.state.marks |= window.marks\n        self.save()\n        try:\n            outcomes = future",
        (SOURCES,),
    ),
    Seed(
        "an import takes a file for the one of its name",
        "reso/sources.py",
        "mark.identity == identity:",
        "True:",
        (SOURCES,),
    ),
    Seed(
        "an import writes over what it did not see",
        "reso/upserts.py",
        "changes, seen=row).anew(row)",
        "changes).anew(row)",
        (UPSERTS,),
    ),
    Seed(
        "an import turns no post of a sold listing",
        "reso/upserts.py",
        "if self._is_due(given, changed):",
        "if False:",
        (UPSERTS,),
    ),
    Seed(
        "an import takes a status that is there for one that was brought",
        "reso/upserts.py",
        "or (not given.propagated and any(",
        "or (False and any(",
        (UPSERTS,),
    ),
    Seed(
        "an import lets windows with one listing go side by side",
        "reso/importing.py",
        "return not one.keys.isdisjoint(other.keys)",
        "return False",
        (UPSERTS,),
    ),
    Seed("an import relies on an order that is none", "reso/server.py", "self.ordered = False", "pass", (SERVER,)),
    Seed(
        "a server's next link takes the token along",
        "reso/web.py",
        "if _origin(joined) != ",
        "if False and _origin(joined) != ",
        (SERVER,),
    ),
    Seed(
        "half an answer of a server is an answer",
        "reso/web.py",
        'endswith((b"}", b"]"))',
        'endswith((b"",))',
        (SERVER,),
    ),
    Seed(
        "pages open without the access token",
        "browse/access.py",
        "if brought is None else brought) != given.access_token:",
        "if brought is None else brought) == Secret('none'):",
        (BROWSE,),
    ),
    Seed(
        "pages open under another site's name",
        "browse/access.py",
        'if name.lower() in names | {"localhost"}:',
        'if name.lower() in names | {"localhost"} or "." in name:',
        (BROWSE,),
    ),
    Seed(
        "a page links to a script",
        "browse/links.py",
        'fits = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)',
        "fits = True",
        (BROWSE,),
    ),
    Seed(
        "a page shows a token",
        "browse/shown.py",
        'return f"sealed under {key}" if key else "sealed" if token.sealed else "clear text"',
        'return f"sealed under {key}" if key else token.reveal()',
        (BROWSE,),
    ),
    Seed(
        "a visitor's fields give orders to the links",
        "browse/links.py",
        'path = url_for(f"{request.blueprint or NAME}.{page}")',
        'path = url_for(f"{request.blueprint or NAME}.{page}", **given)',
        (BROWSE,),
    ),
    Seed("an answer's body shows in a log", "components.py", 'response["body"] = MaskedBytes(answer.content)', "pass", LEAKS),
    Seed(
        "what was sent stands in the frames behind an error",
        "masked.py",
        "        inner.__traceback__ = None",
        "        pass",
        LEAKS,
    ),
    Seed(
        "the context of an error goes along in its pickle",
        "exceptions.py",
        "return None if self.__suppress_context__ else",
        "return",
        LEAKS,
    ),
    Seed(
        "a token given by name stands in a frame",
        "tokens.py",
        "            values[name] = hidden(value)",
        "            pass",
        LEAKS,
    ),
    Seed(
        "a payload's token stands in a frame",
        "entities.py",
        "super().__init__(**hide(fields))",
        "super().__init__(**fields)",
        LEAKS,
    ),
    Seed(
        "an unreadable row pickles",
        "results.py",
        "(self.key, self.error, {})",
        "(self.key, self.error, self.row)",
        LEAKS,
    ),
    Seed(
        "a stale item pickles",
        "exceptions.py",
        '"item": self.item if _pickles(self.item) else None',
        '"item": self.item',
        LEAKS,
    ),
    Seed(
        "keys of the environment stand in a frame",
        "settings.py",
        "MaskedText(value) if name in _SECRETS else value",
        "value",
        LEAKS,
    ),
    Seed("a data key stands in a frame", "crypto.py", "key = MaskedBytes(keys.data_key(", "key = bytes(keys.data_key(", LEAKS),
    Seed(
        "a bearer's header stands in a frame",
        "reso/web.py",
        'MaskedText(f"Bearer {token.reveal()}")',
        'f"Bearer {token.reveal()}"',
        LEAKS,
    ),
    Seed("a refusal of KMS shows in a log", "kms.py", 'response["body"] = MaskedBytes(response["body"])', "pass", LEAKS),
    Seed(
        "a Flask application leaves its settings to its thread", "flask.py", "g.pop(_SCOPES, ExitStack()).close()", "pass", WEB
    ),
    Seed("any key of a configuration is a setting", "settings.py", "given.keys() - known.keys()):", "set()):", WEB),
    Seed(
        "FastAPI's threads work on the process's table", "fastapi.py", "with using(self._mlssocial.settings):", "if True:", WEB
    ),
    Seed(
        "numbers of a body are rounded",
        "fastapi.py",
        "parse(await self.body(), current(), _exact)",
        "await super().json()",
        WEB,
    ),
    Seed("a refused body is repeated", "fastapi.py", '("type", "loc", "msg")', '("type", "loc", "msg", "input")', WEB),
    Seed("a web application shows an item's key", "httperrors.py", "detail = words or str(error)", "detail = str(error)", WEB),
    Seed("an error's page takes markup from a request", "httperrors.py", "detail=escape(detail)", "detail=detail", WEB),
    Seed("a JSON schema has the tokens", "tokens.py", "raise PydanticOmit", 'return {"type": "string"}', WEB),
)


def seeded(seed: Seed) -> str:
    """Give the source with a fault in it; LookupError where the fault's text is not there exactly once."""
    source = (ROOT / "mlssocial" / seed.file).read_text()
    if source.count(seed.text) != 1:
        raise LookupError(f"{seed.name}: {seed.file} has {seed.text!r} {source.count(seed.text)} times, not once; adapt SEEDS")
    return source.replace(seed.text, seed.fault)


def grow(copy: Path, seed: Seed) -> str | None:
    """Run the tests on a copy with a fault, and name the first that fails; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-cov", "-p", "no:cacheprovider"]
    command += ["-k", "not moto and not endpoint", "--hypothesis-profile=unshrunk", *seed.tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "HYPOTHESIS_STORAGE_DIRECTORY": str(copy)}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  pytest, on our copy
    found = re.search(r"^(?:FAILED|ERROR) tests/(.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"{seed.name}: the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found[1] if found else None


def try_out(seed: Seed) -> tuple[str | None, float]:
    """Seed one fault; give the test that finds it, and how many seconds that took."""
    with tempfile.TemporaryDirectory(prefix="mlssocial-seeded-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        (copy / "mlssocial" / seed.file).write_text(seeded(seed))
        started = time.monotonic()
        return grow(copy, seed), time.monotonic() - started


def main() -> int:
    """Try every fault, or those that are named, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="parts of the names of the faults to try")
    wanted = parser.parse_args().name
    chosen = [seed for seed in SEEDS if not wanted or any(part in seed.name for part in wanted)]
    for seed in SEEDS:
        seeded(seed)  # all of them have their place, before the first is tried
    missed = 0
    for seed in chosen:
        test, seconds = try_out(seed)
        missed += test is None
        sys.stdout.write(f"{seed.name:60}  {seconds:5.0f} s  {test or 'NOT FOUND'}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{missed} not found\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
