"""IAM policies, evaluated against every request that the package sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner, Result

import mlssocial
from mlssocial import ALL_USERS, Listing, MLSConnection, SocialConnection, SocialPost, for_user, streams
from mlssocial.cli.app import cli
from mlssocial.connection import store
from mlssocial.iam import Role, policy
from mlssocial.reso import demo_page, import_feed, read_records

from .conftest import get_raw, put_raw
from .doors import CALLS, HOME, LATE, MANAGERS, POST, fill, finished

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/homes"
KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b"
POLICIES: dict[Role, Any] = {role: policy(role, TABLE, kms_key=KEY) for role in Role}

FOR_WORKERS = {
    "listings.query_by_mls_number",
    "listings.propagate_status",
    "posts.query_by_listing",
    "posts.pending_unpublish",
    "mls_connections.due_for_sync",
    "social_connections.expiring",
}
"""What reads an index by keys that name no user: the app role may not."""


# --- A small evaluator -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What a request asks of IAM; *leading* is None where it has no partition keys."""

    action: str
    resource: str = TABLE
    leading: tuple[str, ...] | None = None
    context: Mapping[str, str] = {}


MEMBERS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}


def pk(member: dict[str, Any]) -> str:
    """Give the partition key of a single item's request, or of a member of several."""
    return str((member.get("Key") or member["Item"])["PK"]["S"])


def asked(operation: str, request: dict[str, Any]) -> list[Asked]:
    """Say what a request asks: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html."""
    action = f"dynamodb:{operation}"
    if operation == "TransactWriteItems":  # is asked member by member
        members = [next(iter(member.items())) for member in request["TransactItems"]]
        return [Asked(f"dynamodb:{MEMBERS[kind]}", leading=(pk(member),)) for kind, member in members]
    if operation == "BatchGetItem":
        return [
            Asked(action, leading=tuple(pk({"Key": key}) for key in one["Keys"])) for one in request["RequestItems"].values()
        ]
    if operation == "BatchWriteItem":
        return [
            Asked(action, leading=tuple(pk(next(iter(member.values()))) for member in members))
            for members in request["RequestItems"].values()
        ]
    if operation == "Query":
        named = re.match(r"(#\w+) = (:\w+)", request["KeyConditionExpression"])
        assert named is not None
        index = request.get("IndexName")
        assert request["ExpressionAttributeNames"][named[1]] == f"{index or ''}PK"
        value = request["ExpressionAttributeValues"][named[2]]["S"]
        return [Asked(action, f"{TABLE}/index/{index}" if index else TABLE, (value,))]
    return [Asked(action, leading=(pk(request),) if "Key" in request or "Item" in request else None)]


def expanded(text: str, tags: Mapping[str, str]) -> str | None:
    """Put the variables' values into a policy's text; None where one has no value: it equals nothing then."""
    values: dict[str, str | None] = {"$": "$", **{f"aws:PrincipalTag/{name}": value for name, value in tags.items()}}
    parts = re.split(r"\$\{([^}]*)\}", text)
    found = [values.get(part) if number % 2 else part for number, part in enumerate(parts)]
    return None if None in found else "".join(map(str, found))


def like(value: str, pattern: str) -> bool:
    """Match a StringLike pattern."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), value, re.DOTALL) is not None


def holds(operator: str, found: tuple[str, ...] | None, wanted: str | list[str], tags: Mapping[str, str]) -> bool:
    """Evaluate a condition; an operator that is not known here is an error."""
    texts = [wanted] if isinstance(wanted, str) else wanted
    if operator == "Null":
        return [str(found is None).lower()] == texts
    matches: dict[str, Callable[[str, str], bool]] = {"StringEquals": str.__eq__, "StringLike": like}
    match = matches[operator.removeprefix("ForAllValues:")]
    values = [text for one in texts if (text := expanded(one, tags)) is not None]
    if found is None:
        return operator.startswith("ForAllValues:")  # it is true of no values at all
    return all(any(match(value, text) for text in values) for value in found)


def allows(document: dict[str, Any], one: Asked, tags: Mapping[str, str]) -> bool:
    """Tell whether a policy allows what is asked by a caller with these tags."""
    context: dict[str, tuple[str, ...] | None] = {name: (value,) for name, value in one.context.items()}
    context["dynamodb:LeadingKeys"] = one.leading
    return any(
        statement["Effect"] == "Allow"
        and one.action in statement["Action"]
        and one.resource == statement["Resource"]
        and all(
            holds(operator, context.get(name), wanted, tags)
            for operator, conditions in statement.get("Condition", {}).items()
            for name, wanted in conditions.items()
        )
        for statement in document["Statement"]
    )


def refusals(role: Role, sent: list[Asked], user: str | None = None) -> list[Asked]:
    """Give what a role may not do of what was sent."""
    tags = {} if user is None else {"userId": user}
    return [one for one in sent if not allows(POLICIES[role], one, tags)]


@contextmanager
def requests() -> Iterator[list[Asked]]:
    """Collect what the requests ask that are sent."""
    sent: list[Asked] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        sent.extend(asked(model.name, msgspec.json.decode(msgspec.json.encode(params))))

    events = store().client.meta.events
    events.register("provide-client-params.dynamodb", note)
    try:
        yield sent
    finally:
        events.unregister("provide-client-params.dynamodb", note)


def sent_by(call: Callable[[], Any]) -> list[Asked]:
    """Give what the requests of a call ask."""
    with requests() as sent:
        finished(call())
    assert sent
    return sent


class TestEvaluator:
    """What the evaluator says of policies that are known to be wrong."""

    def scanning(self) -> Any:
        """Make the app's policy with a Scan in it."""
        document = deepcopy(POLICIES[Role.APP])
        document["Statement"][0]["Action"].append("dynamodb:Scan")
        return document

    def test_a_guard_is_needed(self) -> None:
        """Without the Null guard a Scan that had slipped in would be allowed, since ForAllValues is true of no keys."""
        document, scan = self.scanning(), Asked("dynamodb:Scan")
        assert not allows(document, scan, {"userId": "u1"})
        del document["Statement"][0]["Condition"]["Null"]
        assert allows(document, scan, {"userId": "u1"})

    def test_one_statement_would_not_do(self) -> None:
        """With table and index in one statement, a user whose id ends like a status key would read another's listings."""
        document = deepcopy(POLICIES[Role.APP])
        table, index = document["Statement"][:2]
        keys = table["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]
        index["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"] += keys
        query = Asked("dynamodb:Query", f"{TABLE}/index/GSI2", ("USER#u1#STATUS#sold",))
        assert allows(document, query, {"userId": "u1#STATUS#sold"})
        assert not allows(POLICIES[Role.APP], query, {"userId": "u1#STATUS#sold"})

    def test_a_wildcard_would_not_do(self) -> None:
        """With StringLike a tag that has a wildcard in it would reach other users; StringEquals takes it as it is."""
        text = json.dumps(POLICIES[Role.APP])
        get = Asked("dynamodb:GetItem", leading=("USER#u1",))
        assert allows(json.loads(text.replace("StringEquals", "StringLike")), get, {"userId": "u*"})
        assert not allows(POLICIES[Role.APP], get, {"userId": "u*"})


@pytest.mark.usefixtures("table")
class TestApp:
    @pytest.fixture(autouse=True)
    def _items(self, table: str) -> None:  # noqa: ARG002  it comes first
        fill("u1")

    @pytest.mark.parametrize("name", sorted(CALLS))
    def test_every_method(self, name: str) -> None:
        """The app role may do all that a user's managers do, but what reads an index by keys that name no user."""
        sent = sent_by(lambda: CALLS[name](for_user("u1")))
        refused = refusals(Role.APP, sent, "u1")
        assert bool(refused) is (name in FOR_WORKERS)
        assert all(one.resource != TABLE and "u1" not in str(one.leading) for one in refused)
        assert refusals(Role.WORKER, sent) == []
        assert refusals(Role.MIGRATION, sent) == []

    @pytest.mark.parametrize("caller", ["u2", "u", "u11", "u1 ", "U1", "", "*", "u?", "u1#STATUS#active", None])
    def test_another_user(self, caller: str | None) -> None:
        """No request for a user's items is allowed to a caller with another tag, or without one."""
        for door in MANAGERS:
            for name in [name for name in sorted(CALLS) if name.startswith(door)][::3]:
                fill("u1")
                sent = sent_by(lambda: CALLS[name](for_user("u1")))  # noqa: B023
                assert refusals(Role.APP, sent, caller) == sent

    def test_a_transaction_of_two_users(self) -> None:
        """A transaction that has another user's item among its members is refused by that member."""
        fill("u2")
        with requests() as sent, mlssocial.transaction() as t:
            t.update(Listing, "u1", "l", price=1)
            t.check(Listing, "u2", "l", status="active")
        assert [one.action for one in refusals(Role.APP, sent, "u1")] == ["dynamodb:ConditionCheckItem"]

    def test_batches_of_two_users(self) -> None:
        """A batch with one key of another user's is refused as a whole."""
        for call in (
            lambda: Listing.objects.get_many([("u1", "l"), ("u2", "l")]),
            lambda: Listing.objects.delete_many([("u1", "x"), ("u2", "x")]),
        ):
            sent = sent_by(call)
            assert refusals(Role.APP, sent, "u1") == refusals(Role.APP, sent, "u2") == sent

    def test_all_users(self) -> None:
        """The app role may not read a queue, nor the copies of a number, for everyone."""
        for call in (
            lambda: MLSConnection.objects.due_for_sync(LATE, user_id=ALL_USERS),
            lambda: SocialConnection.objects.expiring(LATE, user_id=ALL_USERS),
            lambda: SocialPost.objects.pending_unpublish(user_id=ALL_USERS),
            lambda: Listing.objects.query_by_mls_number("p", "n", user_id=ALL_USERS),
            lambda: SocialPost.objects.query_by_listing("l", user_id=ALL_USERS),
        ):
            sent = sent_by(call)
            assert refusals(Role.APP, sent, "u1") == sent
            assert refusals(Role.WORKER, sent) == []


@pytest.mark.usefixtures("table")
class TestWorkerAndMigration:
    def test_what_workers_do(self) -> None:
        """The worker role may do what imports, transactions, status changes and the stream handler do."""
        fill("u1")
        drifted = {"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#d"}, "EntityType": {"S": "Listing"}}
        put_raw(drifted | {"Data": {"M": {"status": {"S": "sold"}}}, "GSI1SK": {"S": "STATUS#active"}})

        def work() -> None:
            import_feed(islice(read_records(demo_page()), 3), user_id="u1", provider="p")
            Listing.objects.propagate_status("p", "n", "sold", user_id=ALL_USERS, operation_id="sale")
            with mlssocial.transaction("once") as t:
                t.create(SocialPost, "u1", "new", POST.model_copy(update={"listing_id": "elsewhere"}))
                t.save(Listing, "u2", "l", HOME)
                t.delete(MLSConnection, "u1", "c")
                t.check(SocialConnection, "u1", "facebook")
            image = get_raw("USER#u1", "LISTING#d")
            key = {name: drifted[name] for name in ("PK", "SK")}
            record = {"eventName": "INSERT", "dynamodb": {"Keys": key, "NewImage": image, "SequenceNumber": "1"}}
            assert streams.repair(record)

        sent = sent_by(work)
        assert {one.action.split(":")[1] for one in sent} >= {*MEMBERS.values(), "Query", "GetItem"}
        assert refusals(Role.WORKER, sent) == []

    def test_what_migrations_do(self, tmp_path: Path) -> None:
        """The migration role may make, check, audit and repair the table, which no other may."""
        put_raw({"PK": {"S": "USER#u1"}, "SK": {"S": "LISTING#d"}, "EntityType": {"S": "Listing"}, "Data": {"M": {}}})

        def migrate() -> None:
            mlssocial.create_table()
            mlssocial.check_table()
            mlssocial.audit_table(repair=True)
            migrations = mlssocial.Migrations(folder=tmp_path)
            migrations.new("indexes", template="index-keys")
            migrations.up()
            migrations.down()
            migrations.unlock()

        sent = sent_by(migrate)
        assert refusals(Role.MIGRATION, sent) == []
        control = {one.action for one in sent if one.leading is None}
        assert control >= {"dynamodb:Scan", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"}
        for role, user in ((Role.WORKER, None), (Role.APP, "u1")):
            assert {one.action for one in refusals(role, sent, user)} >= control

    @pytest.mark.parametrize("role", Role)
    def test_the_other_applications_keys(self, role: Role) -> None:
        """No role reaches keys of the other application's by key: not outside of users' partitions, nor in its part of GSI2."""
        for key in ("SESSION#1", "TENANT#u1", "USER"):
            for action in ("GetItem", "PutItem", "Query"):
                assert refusals(role, [Asked(f"dynamodb:{action}", leading=(key,))], "u1")
        for key in ("SESSIONID#1", "SCHEDULE#1", "VISITOR#1", "AUDIT#1", "MLS_SYNC#8", "USER#u1", "USER#u1#STATUS#draft"):
            assert refusals(role, [Asked("dynamodb:Query", f"{TABLE}/index/GSI2", (key,))], "u1")


class TestPolicies:
    @pytest.mark.parametrize("role", Role)
    def test_nothing_but_what_is_named(self, role: Role) -> None:
        """A policy allows actions by their names on one table, its two indexes and one key; a Scan to migrations alone."""
        text = json.dumps(POLICIES[role])
        for statement in POLICIES[role]["Statement"]:
            assert statement["Effect"] == "Allow"
            assert not any("*" in action or "PartiQL" in action for action in statement["Action"])
            assert statement["Resource"] in {TABLE, f"{TABLE}/index/GSI1", f"{TABLE}/index/GSI2", KEY}
        assert ("dynamodb:Scan" in text) is (role is Role.MIGRATION)
        assert ("GSI1" in text) is (role is not Role.APP)

    @pytest.mark.parametrize("role", Role)
    def test_every_key_is_guarded(self, role: Role) -> None:
        """Whatever can be confined by leading keys is, and has the Null guard beside it."""
        for statement in POLICIES[role]["Statement"]:
            if statement["Sid"] in {"WholeTable", "SealedTokens"}:
                continue
            assert statement["Condition"]["Null"] == {"dynamodb:LeadingKeys": "false"}
            for action in statement["Action"]:
                assert not allows(POLICIES[role], Asked(action, statement["Resource"]), {"userId": "u1"})

    @pytest.mark.parametrize("role", Role)
    def test_iam_takes_it(self, role: Role) -> None:
        """A policy is within a managed policy's 6,144 characters, and of the characters that a policy may have."""
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space is not counted
        text = json.dumps(POLICIES[role], separators=(",", ":"))
        assert len(text) <= 6_144
        assert all("\x20" <= character <= "\xff" for character in text)
        sids = [statement["Sid"] for statement in POLICIES[role]["Statement"]]
        assert len(set(sids)) == len(sids)
        assert all(sid.isalnum() for sid in sids)

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("action", ["kms:Decrypt", "kms:GenerateDataKey"])
    def test_sealed_tokens(self, role: Role, action: str) -> None:
        """With a KMS key, a role may use it for tokens of its context, and for nothing else."""
        name = "kms:EncryptionContext:mlssocial:token_context"
        assert allows(POLICIES[role], Asked(action, KEY, context={name: "mlssocial"}), {})
        for context in ({}, {name: "staging"}, {name: ""}, {"kms:EncryptionContext:token_context": "mlssocial"}):
            assert not allows(POLICIES[role], Asked(action, KEY, context=context), {})
        assert not allows(policy(role, TABLE), Asked(action, KEY, context={name: "mlssocial"}), {})
        assert not allows(POLICIES[role], Asked("kms:Encrypt", KEY, context={name: "mlssocial"}), {})

    def test_a_context_is_no_variable(self) -> None:
        """A token_context is what it says, whatever it looks like to IAM."""
        odd = "${aws:PrincipalTag/userId}"
        document = policy(Role.APP, TABLE, kms_key=KEY, token_context=odd)
        name = "kms:EncryptionContext:mlssocial:token_context"
        assert allows(document, Asked("kms:Decrypt", KEY, context={name: odd}), {"userId": "u1"})
        assert not allows(document, Asked("kms:Decrypt", KEY, context={name: "u1"}), {"userId": "u1"})


def run(*arguments: str, code: int = 0, env: dict[str, str] | None = None) -> Result:
    """Call the command, and see that it ends with that code."""
    result = CliRunner().invoke(cli, ["iam-policy", *arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.output) == (code, result.output)
    return result


class TestCommand:
    @pytest.mark.parametrize("role", Role)
    def test_prints_the_policy(self, role: Role) -> None:
        """The command prints the role's policy as JSON, and nothing else where all is known."""
        place = ["--table", "homes", "--region", "us-east-1", "--account", "123456789012"]
        result = run("--role", role.value, *place, "--kms-key", KEY)
        assert (json.loads(result.stdout), result.stderr) == (POLICIES[role], "")

    def test_placeholders(self) -> None:
        """What is not known stands as a placeholder, and stderr names it."""
        result = run("--role", "app", env={"AWS_CONFIG_FILE": "/nowhere"})
        resource = json.loads(result.stdout)["Statement"][0]["Resource"]
        assert resource == "arn:aws:dynamodb:<region>:<account>:table/<table>"
        assert [line.split(" ")[0] for line in result.stderr.splitlines()] == ["<region>", "<account>", "<table>"]

    @pytest.mark.parametrize(
        ("region", "given", "partition"),
        [
            ("us-west-2", [], "aws"),
            ("cn-north-1", [], "aws-cn"),
            ("us-gov-west-1", [], "aws-us-gov"),
            ("x-9", ["aws-x"], "aws-x"),
        ],
    )
    def test_partitions(self, region: str, given: list[str], partition: str) -> None:
        """The partition is the region's, from the settings or AWS's own configuration, unless it is given."""
        options = [word for name in given for word in ("--partition", name)]
        for environment in ({"MLSSOCIAL_REGION": region}, {"AWS_DEFAULT_REGION": region}):
            result = run("--role", "worker", *options, env={"MLSSOCIAL_TABLE_NAME": "homes", **environment})
            resource = json.loads(result.stdout)["Statement"][0]["Resource"]
            assert resource == f"arn:{partition}:dynamodb:{region}:<account>:table/homes"

    @pytest.mark.parametrize(
        ("options", "code", "said"),
        [
            ([], 2, "--role"),
            (["--role", "root"], 2, "'app', 'worker', 'migration'"),
            (["--role", "app", "--account", "12"], 2, "twelve digits"),
            (["--role", "app", "--kms-key", "alias/tokens"], 2, "an alias is no resource"),
            (["--role", "app", "--kms-key", "arn:aws:kms:us-east-1:123456789012:key/*"], 2, "a key's ARN is needed"),
            (["--role", "app", "--region", "nowhere-9"], 1, "give --partition"),
            (["--role", "app", "--profile", "nobodys"], 1, "nobodys"),
        ],
    )
    def test_what_it_refuses(self, options: list[str], code: int, said: str) -> None:
        """A wrong option is named, and no policy is printed."""
        result = run(*options, code=code)
        assert said in result.stderr
        assert result.stdout == ""

    def test_the_settings_context(self) -> None:
        """The condition on the key has the context that is given."""
        result = run("--role", "app", "--kms-key", KEY, "--token-context", "staging")
        (statement,) = [one for one in json.loads(result.stdout)["Statement"] if one["Sid"] == "SealedTokens"]
        assert statement["Condition"] == {"StringEquals": {"kms:EncryptionContext:mlssocial:token_context": "staging"}}
