from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.config import Config
from botocore.exceptions import ClientError

from mlssocial import local
from mlssocial.exceptions import ConfigurationError

SESSION = botocore.session.get_session()
HOMES: dict[str, Any] = {
    "TableName": "homes",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK", "City", "Street")],
    "KeySchema": [{"AttributeName": "PK", "KeyType": "HASH"}, {"AttributeName": "SK", "KeyType": "RANGE"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "ByCity",
            "KeySchema": [{"AttributeName": "City", "KeyType": "HASH"}, {"AttributeName": "Street", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}
FORK = multiprocessing.get_context("fork")
# MiniStack's own thread makes every process multi-threaded, which Python 3.12 and later remark upon at each fork.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def connect(url: str, *, region: str = "us-east-1", **config: Any) -> Any:
    client = SESSION.create_client(
        "dynamodb",
        region_name=region,
        endpoint_url=local.DUMMY_ENDPOINT,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}, **config),
    )
    local.attach(client, url)
    return client


def key(sk: str) -> dict[str, Any]:
    return {"PK": {"S": "USER#u1"}, "SK": {"S": sk}}


def home(sk: str, **attributes: Any) -> dict[str, Any]:
    return {**key(sk), "City": {"S": "Reno"}, "Street": {"S": f"{sk} Street"}, **attributes}


def put(client: Any, sk: str, **attributes: Any) -> None:
    client.put_item(TableName="homes", Item=home(sk, **attributes))


def get(client: Any, sk: str) -> Any:
    return client.get_item(TableName="homes", Key=key(sk)).get("Item")


def add(client: Any, sk: str, number: str = "1") -> None:
    client.update_item(
        TableName="homes", Key=key(sk), UpdateExpression="ADD Seen :n", ExpressionAttributeValues={":n": {"N": number}}
    )


def stored(client: Any) -> set[str]:
    pages = client.get_paginator("scan").paginate(TableName="homes")
    return {item["SK"]["S"] for page in pages for item in page["Items"]}


def described(client: Any) -> str:
    return json.dumps(client.describe_table(TableName="homes")["Table"], default=str)


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process with this module's names at hand."""
    here = str(Path(__file__).parent)
    prelude = f"import sys; sys.path.append({here!r}); import test_local; globals().update(vars(test_local))\n"
    command = [sys.executable, "-W", "error", "-c", prelude + code, *map(str, arguments)]
    pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **pipes, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


@pytest.fixture(autouse=True)
def _fresh_memory() -> Any:
    local.forget()
    yield
    local.forget()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "homes.db"


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    return "local:" if request.param == "memory" else f"local:{path}"


@pytest.fixture
def client(url: str) -> Any:
    client = connect(url)
    client.create_table(**HOMES)
    return client


@pytest.fixture
def filed(path: Path) -> Any:
    client = connect(f"local:{path}")
    client.create_table(**HOMES)
    return client


class TestAttach:
    def test_the_last_engine_alone_answers(self, client: Any, url: str, path: Path) -> None:
        """A client that is attached again runs a write once, and in the engine that was named last."""
        local.attach(client, url)
        add(client, "counter")
        assert get(client, "counter")["Seen"] == {"N": "1"}
        local.attach(client, f"local:{path.with_name('other.db')}")
        assert client.list_tables()["TableNames"] == []

    def test_another_url_is_refused(self) -> None:
        """An URL that names no embedded engine is refused before it becomes a file."""
        with pytest.raises(ConfigurationError, match="'local:' or 'local:PATH'"):
            connect("http://localhost:8000")


class TestRequests:
    def test_an_item_comes_back_by_key_index_and_scan(self, client: Any) -> None:
        """What was put is found by its key, through an index in the index's order, and by a scan."""
        for sk in ("2", "1"):
            put(client, sk)
        index: dict[str, Any] = {"KeyConditionExpression": "City = :c", "ExpressionAttributeValues": {":c": {"S": "Reno"}}}
        found = client.query(TableName="homes", IndexName="ByCity", **index)
        assert get(client, "1") == home("1")
        assert found["Items"] == [home("1"), home("2")]
        assert stored(client) == {"1", "2"}

    def test_a_refused_condition_changes_nothing(self, client: Any) -> None:
        """A write whose condition fails is refused with DynamoDB's error, and the item stays as it was."""
        put(client, "1")
        with pytest.raises(client.exceptions.ConditionalCheckFailedException):
            client.put_item(TableName="homes", Item=key("1"), ConditionExpression="attribute_not_exists(PK)")
        assert get(client, "1") == home("1")

    def test_update_and_delete_act_on_the_stored_item(self, client: Any) -> None:
        """An update adds to what is stored, and a deleted item is gone."""
        put(client, "1", Seen={"N": "41"})
        put(client, "2")
        add(client, "1")
        client.delete_item(TableName="homes", Key=key("2"))
        assert get(client, "1") == home("1", Seen={"N": "42"})
        assert stored(client) == {"1"}

    def test_a_batch_puts_and_deletes(self, client: Any) -> None:
        """A batch applies each of its puts and deletes, and its reading half returns them."""
        put(client, "old")
        writes: list[Any] = [{"PutRequest": {"Item": home(f"{n}")}} for n in range(24)]
        answer = client.batch_write_item(RequestItems={"homes": [*writes, {"DeleteRequest": {"Key": key("old")}}]})
        read = client.batch_get_item(RequestItems={"homes": {"Keys": [key("0"), key("old")]}})
        assert answer["UnprocessedItems"] == {}
        assert stored(client) == {f"{n}" for n in range(24)}
        assert read["Responses"]["homes"] == [home("0")]

    def test_a_transaction_is_all_or_none(self, client: Any) -> None:
        """A transaction applies every member, or none and names the member at fault."""
        put(client, "sold")
        exists = {"TableName": "homes", "ConditionExpression": "attribute_exists(PK)"}
        members: list[Any] = [
            {"Put": {"TableName": "homes", "Item": home("new")}},
            {"Delete": {"TableName": "homes", "Key": key("sold")}},
            {"ConditionCheck": {"Key": key("absent"), **exists}},
        ]
        with pytest.raises(client.exceptions.TransactionCanceledException) as caught:
            client.transact_write_items(TransactItems=members)
        assert [reason["Code"] for reason in caught.value.response["CancellationReasons"]][-1] == "ConditionalCheckFailed"
        assert stored(client) == {"sold"}
        client.transact_write_items(TransactItems=members[:2])
        assert stored(client) == {"new"}

    def test_a_table_may_be_named_by_its_arn(self, client: Any) -> None:
        """An ARN in place of the table's name reaches the same table."""
        arn = client.describe_table(TableName="homes")["Table"]["TableArn"]
        client.put_item(TableName=arn, Item=home("1"))
        assert get(client, "1") == home("1")

    def test_every_region_sees_the_same_tables(self, client: Any, url: str) -> None:
        """A client's region makes no difference."""
        put(client, "1")
        assert get(connect(url, region="eu-west-2"), "1") == home("1")

    def test_what_a_mapper_does_not_need_is_refused(self, client: Any) -> None:
        """An operation outside of tables and items is an UnknownOperationException, which names it."""
        with pytest.raises(ClientError, match=r"UnknownOperationException.*ExecuteStatement"):
            client.execute_statement(Statement='SELECT * FROM "homes"')

    def test_a_failure_inside_names_its_type_only(self, client: Any, url: str) -> None:
        """An exception inside of MiniStack is a 500 which names its type, and shows nothing of the request."""
        arn = client.describe_table(TableName="homes")["Table"]["TableArn"]
        with pytest.raises(ClientError) as caught:
            connect(url, parameter_validation=False).tag_resource(ResourceArn=arn, Tags=[{"Value": "secret"}])
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert caught.value.response["Error"]["Code"] == "InternalServerError"
        assert caught.value.response["Error"]["Message"] == "the embedded engine failed: KeyError"

    def test_a_running_event_loop_is_no_hindrance(self, client: Any) -> None:
        """Requests can be made from inside of a coroutine."""

        async def main() -> Any:
            put(client, "1")
            return get(client, "1")

        assert asyncio.run(main()) == home("1")

    def test_threads_lose_no_update(self, client: Any) -> None:
        """Eight threads that each add 25 to one counter make 200."""

        def work() -> None:
            for _ in range(25):
                add(client, "counter")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert get(client, "counter")["Seen"] == {"N": "200"}


class TestTokens:
    def test_the_same_token_applies_once(self, client: Any) -> None:
        """A transaction that is sent again under its token succeeds and changes nothing more."""
        update = {"TableName": "homes", "Key": key("1"), "UpdateExpression": "ADD Seen :n"}
        members = [{"Update": {**update, "ExpressionAttributeValues": {":n": {"N": "1"}}}}]
        for _ in range(2):
            client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert get(client, "1")["Seen"] == {"N": "1"}

    def test_another_request_under_the_token_is_refused(self, client: Any) -> None:
        """A token that stands for another transaction is refused, and nothing is written."""
        for sk in ("1", "2"):
            members = [{"Put": {"TableName": "homes", "Item": home(sk)}}]
            if sk == "2":
                with pytest.raises(client.exceptions.IdempotentParameterMismatchException):
                    client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
            else:
                client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert stored(client) == {"1"}

    def test_a_refused_transaction_leaves_its_token_free(self, client: Any) -> None:
        """A transaction that was cancelled can be sent again under its token."""
        condition = {"TableName": "homes", "Key": key("1"), "ConditionExpression": "attribute_exists(PK)"}
        members = [{"ConditionCheck": condition}, {"Put": {"TableName": "homes", "Item": home("2")}}]
        with pytest.raises(client.exceptions.TransactionCanceledException):
            client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        put(client, "1")
        client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert stored(client) == {"1", "2"}

    def test_a_token_holds_in_other_processes(self, filed: Any, path: Path) -> None:
        """A transaction that one process has applied is not applied again by another under its token."""
        code = """
client = connect(sys.argv[1])
client.transact_write_items(TransactItems=[{"Put": {"TableName": "homes", "Item": home("1")}}], ClientRequestToken="t1")
"""
        finish(start(code, f"local:{path}"))
        filed.delete_item(TableName="homes", Key=key("1"))
        filed.transact_write_items(TransactItems=[{"Put": {"TableName": "homes", "Item": home("1")}}], ClientRequestToken="t1")
        assert stored(filed) == set()

    def test_a_token_is_forgotten_after_ten_minutes(self, filed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A token stands for its transaction no longer than DynamoDB remembers it."""
        members = [{"Put": {"TableName": "homes", "Item": home("1")}}]
        filed.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        filed.delete_item(TableName="homes", Key=key("1"))
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 601)
        filed.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert stored(filed) == {"1"}


class TestNumbers:
    @pytest.mark.parametrize(
        ("before", "added", "after"),
        [
            ("12345678901234567890123456789012345678", "1", "12345678901234567890123456789012345679"),
            ("0.0000000000000000000000000000000000001", "1", "1.0000000000000000000000000000000000001"),
        ],
    )
    def test_a_sum_is_exact_to_38_digits(self, client: Any, before: str, added: str, after: str) -> None:
        """ADD keeps all of DynamoDB's 38 digits."""
        put(client, "1", Seen={"N": before})
        add(client, "1", added)
        assert get(client, "1")["Seen"] == {"N": after}

    @pytest.mark.parametrize(
        ("before", "added"),
        [("1E+38", "0.1"), ("9.9E+125", "9.9E+125"), ("1.1E-130", "-1E-130")],
        ids=["digits", "overflow", "underflow"],
    )
    def test_a_sum_that_no_number_holds_is_refused(self, client: Any, before: str, added: str) -> None:
        """A sum of more than 38 digits or out of DynamoDB's range is refused, by transactions too, not rounded."""
        put(client, "1", Seen={"N": before})
        item = get(client, "1")
        update = {"TableName": "homes", "Key": key("1"), "UpdateExpression": "ADD Seen :n"}
        update["ExpressionAttributeValues"] = {":n": {"N": added}}
        with pytest.raises(ClientError, match="ValidationException"):
            client.update_item(**update)
        with pytest.raises(ClientError, match="ValidationException"):
            client.transact_write_items(TransactItems=[{"Put": {"TableName": "homes", "Item": home("2")}}, {"Update": update}])
        assert get(client, "1") == item
        assert stored(client) == {"1"}


class TestTimeToLive:
    def test_the_attribute_is_reported_as_it_was_given(self, client: Any) -> None:
        """The name that hides the attribute from MiniStack's reaper shows in no answer."""
        specification = {"Enabled": True, "AttributeName": "TTL"}
        answer = client.update_time_to_live(TableName="homes", TimeToLiveSpecification=specification)
        described = client.describe_time_to_live(TableName="homes")["TimeToLiveDescription"]
        assert answer["TimeToLiveSpecification"] == specification
        assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "TTL"}

    @pytest.mark.usefixtures("client")
    def test_an_attribute_is_needed(self, url: str) -> None:
        """An empty attribute name is still refused."""
        with pytest.raises(ClientError, match="ValidationException"):
            connect(url, parameter_validation=False).update_time_to_live(
                TableName="homes", TimeToLiveSpecification={"Enabled": True, "AttributeName": ""}
            )

    def test_an_expired_item_stays(self, path: Path) -> None:
        """MiniStack's reaper, at ten thousand times its pace, deletes from its own tables and none from ours."""
        code = """
sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 10_000)
from ministack.core.responses import request_scope
clients = [connect("local:"), connect(sys.argv[1])]
ttl = {"TableName": "homes", "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "TTL"}}
for client in clients:
    client.create_table(**HOMES)
    client.update_time_to_live(**ttl)
    put(client, "expired", TTL={"N": "1"})
def theirs(operation, request):
    from ministack.services import dynamodb
    with request_scope("0" * 12, "us-east-1"):
        try:
            dynamodb.handle_request("POST", "/", {"x-amz-target": "." + operation}, json.dumps(request), {}).send(None)
        except StopIteration as end:
            return json.loads(end.value[2])
theirs("CreateTable", HOMES)
theirs("UpdateTimeToLive", ttl)
theirs("PutItem", {"TableName": "homes", "Item": home("expired", TTL={"N": "1"})})
while theirs("Scan", {"TableName": "homes"})["Items"]:
    sleep(0.01)
print(*(stored(client) for client in clients))
"""
        assert finish(start(code, f"local:{path}")) == "{'expired'} {'expired'}\n"


class TestAnswers:
    def test_headers_are_right(self, client: Any) -> None:
        """Every answer carries its checksum, its type and an id of its own, and so does an error."""
        answers: list[dict[str, Any]] = []
        client.meta.events.register("response-received.dynamodb", lambda response_dict, **_: answers.append(response_dict))
        put(client, "1")
        get(client, "1")
        with pytest.raises(ClientError):
            client.get_item(TableName="absent", Key=key("1"))
        assert [answer["status_code"] for answer in answers] == [200, 200, 400]
        for answer in answers:
            assert answer["headers"]["x-amz-crc32"] == str(zlib.crc32(answer["body"]))
            assert answer["headers"]["content-type"] == "application/x-amz-json-1.0"
        assert len({answer["headers"]["x-amzn-requestid"] for answer in answers}) == 3

    @pytest.mark.parametrize("target", ["DynamoDB_20120810.GetItem", b"DynamoDB_20120810.GetItem"])
    @pytest.mark.parametrize("form", [str.encode, str, lambda text: io.BytesIO(text.encode())], ids=["bytes", "str", "file"])
    def test_a_request_in_any_form_is_read(self, client: Any, target: str | bytes, form: Any) -> None:
        """A prepared request is understood with its target and its body in each of the forms that botocore gives them."""
        put(client, "1")
        body = form(json.dumps({"TableName": "homes", "Key": key("1")}))
        headers = HeadersDict({"X-Amz-Target": target})
        request = AWSPreparedRequest("POST", "http://local.invalid/", headers, body, stream_output=False)
        answers = client.meta.events.emit("before-send.dynamodb.GetItem", request=request)
        assert json.loads(answers[0][1].content) == {"Item": home("1")}


class TestForget:
    def test_tables_and_tokens_are_dropped(self) -> None:
        """After forget() the clients of the engine in memory go on with no table and no token."""
        client = connect("local:")
        members = [{"Put": {"TableName": "homes", "Item": home("1")}}]
        for _ in range(2):
            client.create_table(**HOMES, DeletionProtectionEnabled=True)
            client.transact_write_items(TransactItems=members, ClientRequestToken="t1")
            assert stored(client) == {"1"}
            local.forget()
            assert client.list_tables()["TableNames"] == []

    def test_files_are_left_alone(self, filed: Any) -> None:
        """forget() drops nothing of an engine in a file."""
        put(filed, "1")
        local.forget()
        assert stored(filed) == {"1"}


class TestFile:
    def test_paths_are_apart(self, filed: Any, tmp_path: Path) -> None:
        """Two paths, and memory, are three engines with tables of one name."""
        other, memory = connect(f"local:{tmp_path / 'other.db'}"), connect("local:")
        for number, client in enumerate((filed, other, memory)):
            if client is not filed:
                client.create_table(**HOMES)
            put(client, f"{number}")
        assert [stored(client) for client in (filed, other, memory)] == [{"0"}, {"1"}, {"2"}]

    def test_one_path_is_one_engine(self, filed: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A relative path, one under the home directory and a link are the file that they lead to."""
        put(filed, "1")
        monkeypatch.chdir(path.parent)
        monkeypatch.setenv("HOME", str(path.parent))
        (path.parent / "link.db").symlink_to(path)
        for name in ("homes.db", "~/homes.db", "link.db"):
            assert stored(connect(f"local:{name}")) == {"1"}
        assert sum(str(path.parent) in where for where in local._engines) == 1

    def test_it_is_for_its_owner_alone(self, filed: Any, path: Path) -> None:
        """The file and what SQLite lays beside it can be read by nobody else."""
        put(filed, "1")
        assert {file.stat().st_mode & 0o777 for file in path.parent.glob("homes.db*")} == {0o600}

    def test_everything_is_kept(self, path: Path) -> None:
        """Another process finds tables, indexes, TTL, tags, protection and items as they were left."""
        code = """
client = connect(sys.argv[1])
table = client.create_table(**HOMES, DeletionProtectionEnabled=True, Tags=[{"Key": "env", "Value": "test"}])
arn = table["TableDescription"]["TableArn"]
client.update_time_to_live(TableName="homes", TimeToLiveSpecification={"Enabled": True, "AttributeName": "TTL"})
client.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
client.untag_resource(ResourceArn=arn, TagKeys=["b"])
for name in ("gone", "plain"):
    client.create_table(**{**HOMES, "TableName": name})
client.delete_table(TableName="gone")
for sk in ("1", "2"):
    put(client, sk, Data={"M": {"café": {"L": [{"N": "1.5"}, {"BOOL": True}, {"NULL": True}, {"B": b"\\x00"}]}}})
client.delete_item(TableName="homes", Key=key("2"))
print(described(client))
"""
        expected = finish(start(code, f"local:{path}"))
        client = connect(f"local:{path}")
        arn = client.describe_table(TableName="homes")["Table"]["TableArn"]
        data = {"M": {"café": {"L": [{"N": "1.5"}, {"BOOL": True}, {"NULL": True}, {"B": b"\x00"}]}}}
        index: dict[str, Any] = {"KeyConditionExpression": "City = :c", "ExpressionAttributeValues": {":c": {"S": "Reno"}}}
        assert client.list_tables()["TableNames"] == ["homes", "plain"]
        assert described(client) + "\n" == expected
        assert client.describe_time_to_live(TableName="homes")["TimeToLiveDescription"]["AttributeName"] == "TTL"
        assert client.describe_time_to_live(TableName="plain")["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}
        assert client.list_tags_of_resource(ResourceArn=arn)["Tags"] == [
            {"Key": "env", "Value": "test"},
            {"Key": "a", "Value": "1"},
        ]
        assert client.query(TableName="homes", IndexName="ByCity", **index)["Items"] == [home("1", Data=data)]
        assert stored(client) == {"1"}
        with pytest.raises(ClientError, match="protected"):
            client.delete_table(TableName="homes")

    def test_a_file_that_was_moved_is_whole(self, path: Path, tmp_path: Path) -> None:
        """A copy at another path has its items and tags under its own ARNs, and is apart from the first."""
        code = """
client = connect(sys.argv[1])
client.create_table(**HOMES, Tags=[{"Key": "env", "Value": "test"}])
put(client, "1")
"""
        finish(start(code, f"local:{path}"))
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        client, copied = connect(f"local:{path}"), connect(f"local:{copy}")
        arn = copied.describe_table(TableName="homes")["Table"]["TableArn"]
        put(client, "2")
        assert arn != client.describe_table(TableName="homes")["Table"]["TableArn"]
        assert copied.list_tags_of_resource(ResourceArn=arn)["Tags"] == [{"Key": "env", "Value": "test"}]
        assert stored(copied) == {"1"}

    @pytest.mark.parametrize("names", [("Id",), ("Id", "Day")], ids=["hash", "hash and range"])
    def test_numeric_keys_are_kept(self, path: Path, names: tuple[str, ...]) -> None:
        """A numeric key in any notation is one item, with or without a sort key, after a restart too."""
        code = """
client, names = connect(sys.argv[1]), sys.argv[2:]
roles = dict(zip(names, ("HASH", "RANGE")))
client.create_table(
    TableName="days",
    BillingMode="PAY_PER_REQUEST",
    AttributeDefinitions=[{"AttributeName": name, "AttributeType": "N"} for name in names],
    KeySchema=[{"AttributeName": name, "KeyType": role} for name, role in roles.items()],
)
for number in ("1.50", "-0", "1E+2", "12345678901234567890123456789012345678", "0.10"):
    client.put_item(TableName="days", Item={name: {"N": number} for name in names})
client.batch_write_item(RequestItems={"days": [{"PutRequest": {"Item": {name: {"N": "7.0"} for name in names}}}]})
client.delete_item(TableName="days", Key={name: {"N": "0.1"} for name in names})
client.update_item(TableName="days", Key={name: {"N": "7"} for name in names})
"""
        finish(start(code, f"local:{path}", *names))
        items = connect(f"local:{path}").scan(TableName="days")["Items"]
        expected = {"1.5", "0", "100", "12345678901234567890123456789012345678", "7"}
        assert sorted(item["Id"]["N"] for item in items) == sorted(expected)

    def test_a_deleted_file_is_begun_anew(self, filed: Any, path: Path) -> None:
        """After the file was deleted under a running process its next write goes into a new file, not into nothing."""
        put(filed, "old")
        path.unlink()
        with pytest.raises(filed.exceptions.ResourceNotFoundException):
            put(filed, "new")
        filed.create_table(**HOMES)
        put(filed, "new")
        code = "print(stored(connect(sys.argv[1])))"
        assert finish(start(code, f"local:{path}")) == "{'new'}\n"

    def test_a_refused_definition_is_not_half_applied(self, filed: Any) -> None:
        """An UpdateTable that MiniStack refuses halfway leaves the table as it is in the file."""
        before = described(filed)
        create = {"IndexName": "ByCity", **{k: HOMES["GlobalSecondaryIndexes"][0][k] for k in ("KeySchema", "Projection")}}
        with pytest.raises(ClientError, match="duplicate index"):
            filed.update_table(
                TableName="homes", DeletionProtectionEnabled=True, GlobalSecondaryIndexUpdates=[{"Create": create}]
            )
        assert described(filed) == before

    def test_what_could_not_be_committed_is_not_there(self, filed: Any, path: Path) -> None:
        """A write that the disk has no room for is a 500 which says so; it cannot be read, and may be sent again."""
        database: Any = local._engines[str(path)]
        pages = database._db.execute("PRAGMA page_count").fetchone()[0]
        database._db.execute(f"PRAGMA max_page_count = {pages}")
        members = [{"Put": {"TableName": "homes", "Item": home("1", Text={"S": "x" * 100_000})}}]
        with pytest.raises(ClientError, match=r"homes\.db: database or disk is full") as caught:
            filed.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert stored(filed) == set()
        database._db.execute("PRAGMA max_page_count = 100000")
        filed.transact_write_items(TransactItems=members, ClientRequestToken="t1")
        assert stored(filed) == {"1"}

    def test_an_interrupted_write_is_not_there(self, filed: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A KeyboardInterrupt between MiniStack's write and the commit leaves nothing behind, in memory or in the file."""
        database: Any = local._engines[str(path)]

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(database._copy, "get", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(filed, "1")
        monkeypatch.undo()
        assert stored(filed) == set()
        put(filed, "2")
        assert stored(filed) == {"2"}


class TestProcesses:
    def test_counters_are_exact(self, path: Path) -> None:
        """Four processes that make the file at the same moment and add 100 each to one counter make 400."""
        code = """
client = connect(sys.argv[1])
try:
    client.create_table(**HOMES)
except client.exceptions.ResourceInUseException:
    pass
for _ in range(100):
    add(client, "counter")
"""
        for process in [start(code, f"local:{path}") for _ in range(4)]:
            finish(process)
        assert get(connect(f"local:{path}"), "counter")["Seen"] == {"N": "400"}

    def test_kill_9_loses_nothing_acknowledged(self, filed: Any, path: Path) -> None:
        """Each write that was acknowledged before its process was killed is there; the file can be killed upon twice."""
        code = """
client = connect(sys.argv[1])
for number in range(100_000):
    put(client, f"{sys.argv[2]} {number}")
    print(f"{sys.argv[2]} {number}", flush=True)
"""
        acknowledged: set[str] = set()
        for run in range(2):
            process = start(code, f"local:{path}", run)
            assert process.stdout is not None
            for _ in range(100):
                acknowledged.add(process.stdout.readline().strip())
            process.kill()
            acknowledged.update(process.communicate(timeout=60)[0].split("\n")[:-1])
            assert process.returncode == -signal.SIGKILL
            assert acknowledged <= stored(filed)
        assert len(acknowledged) >= 200

    def test_each_sees_what_the_other_wrote(self, filed: Any, path: Path) -> None:
        """A process that is open sees every change that another one has committed, to items and to tables."""
        code = """
client = connect(sys.argv[1])
for line in sys.stdin:
    eval(line)
    print("done", flush=True)
"""
        other = start(code, f"local:{path}")

        def tell(line: str) -> None:
            print(line, file=other.stdin, flush=True)
            assert other.stdout is not None
            assert other.stdout.readline() == "done\n"

        put(filed, "mine")
        tell("put(client, 'theirs')")
        assert stored(filed) == {"mine", "theirs"}
        tell("client.delete_item(TableName='homes', Key=key('mine'))")
        assert stored(filed) == {"theirs"}
        tell("client.create_table(**{**HOMES, 'TableName': 'more'})")
        assert filed.list_tables()["TableNames"] == ["homes", "more"]
        tell(f"[put(client, str(number)) for number in range({local._KEPT_CHANGES + 50})]")
        assert len(stored(filed)) == local._KEPT_CHANGES + 51
        tell("client.delete_table(TableName='homes')")
        with pytest.raises(filed.exceptions.ResourceNotFoundException):
            get(filed, "theirs")
        finish(other)

    def test_an_item_that_would_be_refused_as_new_is_taken_over(self, filed: Any, path: Path) -> None:
        """What another process has stored is read as it is, even where a PutItem of it would be refused."""
        put(filed, "1")
        other = sqlite3.connect(path, isolation_level=None)
        odd = json.dumps(home("2", Text={"S": "x" * 500_000}))
        other.execute("INSERT INTO items VALUES ('homes', ?, ?)", (json.dumps(key("2")), odd))
        other.execute("INSERT INTO changes (home, key) VALUES ('homes', ?)", (json.dumps(key("2")),))
        other.close()
        assert stored(filed) == {"1", "2"}

    def test_a_locked_file_is_waited_for_and_then_named(self, filed: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write waits while another process holds the file, and ends as a 500 that says why; reads go on."""
        monkeypatch.setattr(local, "_BUSY_SECONDS", 0.5)
        put(filed, "1")
        local._close_files()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(ClientError, match=r"InternalServerError.*homes\.db: another process keeps it locked"):
            put(filed, "2")
        assert time.monotonic() - began > 0.4
        assert stored(filed) == {"1"}
        other.execute("COMMIT")
        other.close()
        put(filed, "2")
        assert stored(filed) == {"1", "2"}

    @forks
    def test_a_fork_sees_and_writes_rightly(self, filed: Any) -> None:
        """Forked children, with a busy thread in the parent, see what it wrote; it sees what they wrote; all adds count."""
        put(filed, "parent")

        def child(number: int) -> None:
            assert "parent" in stored(filed)
            put(filed, f"child {number}")
            for _ in range(10):
                add(filed, "counter")

        stop = threading.Event()
        adds = 0

        def work() -> None:
            nonlocal adds
            while not stop.is_set():
                add(filed, "counter")
                adds += 1

        busy = threading.Thread(target=work)
        busy.start()
        children = [FORK.Process(target=child, args=(number,)) for number in range(4)]
        for process in children:
            process.start()
        for process in children:
            process.join(30)
        stop.set()
        busy.join()
        assert [process.exitcode for process in children] == [0, 0, 0, 0]
        assert stored(filed) == {"parent", "counter", *(f"child {number}" for number in range(4))}
        assert get(filed, "counter")["Seen"] == {"N": str(adds + 40)}

    @forks
    def test_a_fork_of_the_memory_is_a_copy(self) -> None:
        """A forked child goes on with what was in memory, and its writes are its own."""
        client = connect("local:")
        client.create_table(**HOMES)
        put(client, "1")

        def child() -> None:
            put(client, "2")
            assert stored(client) == {"1", "2"}

        process = FORK.Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        assert stored(client) == {"1"}


class TestRefusedFiles:
    def test_a_foreign_file_is_refused_and_left_as_it_is(self, path: Path) -> None:
        """Garbage and another program's SQLite file are refused by name, and not a byte of them changes."""
        other = sqlite3.connect(path.with_name("other.db"))
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE theirs (a)")
        other.close()
        path.with_name("garbage.db").write_text("not a database at all")
        for name in ("other.db", "garbage.db"):
            file = path.with_name(name)
            before = file.read_bytes(), file.stat().st_mtime_ns, sorted(path.parent.iterdir())
            with pytest.raises(ConfigurationError, match=rf"{name}: the file is not mlssocial's"):
                connect(f"local:{file}")
            assert (file.read_bytes(), file.stat().st_mtime_ns, sorted(path.parent.iterdir())) == before

    def test_a_damaged_file_is_refused(self, path: Path) -> None:
        """A file of ours of which SQLite can make nothing is refused by name."""
        header = bytearray(b"SQLite format 3\0".ljust(100, b"\xff"))
        header[68:72] = local._APPLICATION_ID.to_bytes(4)
        path.write_bytes(header)
        with pytest.raises(ConfigurationError, match=r"homes\.db: file is not a database"):
            connect(f"local:{path}")

    def test_an_empty_file_is_taken(self, path: Path) -> None:
        """An empty file, as tempfile makes one, becomes the engine's."""
        path.touch()
        assert connect(f"local:{path}").list_tables()["TableNames"] == []

    def test_a_later_format_is_refused(self, path: Path) -> None:
        """A file that a later version wrote is refused, and the message says what to do."""
        finish(start("connect(sys.argv[1])", f"local:{path}"))
        later = sqlite3.connect(path)
        later.execute(f"PRAGMA user_version = {local._FORMAT + 1}")
        later.close()
        with pytest.raises(ConfigurationError, match=r"a later mlssocial wrote it .*; update mlssocial"):
            connect(f"local:{path}")

    def test_a_missing_folder_is_named(self, path: Path) -> None:
        """A path in a folder that is not there is refused, and the folder named."""
        with pytest.raises(ConfigurationError, match=r"there is no folder .*absent; make it"):
            connect(f"local:{path.parent / 'absent' / 'homes.db'}")

    def test_a_folder_is_refused(self, path: Path) -> None:
        """A folder in the place of the file is refused."""
        with pytest.raises(ConfigurationError, match="Is a directory"):
            connect(f"local:{path.parent}")


class TestMiniStack:
    def test_it_is_imported_with_the_first_engine(self) -> None:
        """Importing the module does not import MiniStack; attaching a client does."""
        code = """
print("ministack" in sys.modules)
connect("local:")
print("ministack" in sys.modules)
"""
        assert finish(start(code)) == "False\nTrue\n"

    def test_it_is_asked_for_by_name_where_it_is_missing(self) -> None:
        """Without MiniStack the error says how to install it."""
        code = """
sys.modules["ministack"] = None
try:
    connect("local:")
except ConfigurationError as error:
    print(error)
"""
        assert finish(start(code)) == "the embedded engine needs MiniStack: pip install 'mlssocial[local]'\n"

    def test_it_says_nothing(self) -> None:
        """Neither import nor requests write anything, log anything or change the environment or the root logger."""
        code = """
import logging, os
records = []
class Kept(logging.Handler):
    def emit(self, record):
        records.append(record.name)
logging.getLogger().addHandler(Kept())
logging.getLogger().setLevel(logging.DEBUG)
logging.getLogger("botocore").propagate = False
before = dict(os.environ), list(logging.getLogger().handlers), logging.getLogger().level
client = connect("local:")
client.create_table(**HOMES)
put(client, "1")
try:
    client.scan(TableName="homes", FilterExpression="PK (", Limit=1)
except ClientError:
    pass
assert before == (dict(os.environ), list(logging.getLogger().handlers), logging.getLogger().level)
print(records)
"""
        assert finish(start(code)) == "[]\n"

    def test_its_shape_is_the_one_that_we_use(self) -> None:
        """handle_request, request_scope and the state that load_persisted_state takes back are as this module knows them."""
        from ministack.core.responses import request_scope
        from ministack.services import dynamodb

        def ask(operation: str, **request: Any) -> Any:
            headers = {"x-amz-target": f"DynamoDB_20120810.{operation}"}
            coroutine = dynamodb.handle_request("POST", "/", headers, json.dumps(request).encode(), {})
            with pytest.raises(StopIteration) as end, request_scope("1" * 12, "us-east-1"):
                coroutine.send(None)
            status, _, body = end.value.value
            assert isinstance(body, bytes)
            return status, json.loads(body)

        hashed = {**HOMES, "TableName": "hashed", "KeySchema": HOMES["KeySchema"][:1], "GlobalSecondaryIndexes": []}
        hashed["AttributeDefinitions"] = HOMES["AttributeDefinitions"][:1]
        for table in (HOMES, hashed):
            assert ask("CreateTable", **table)[0] == 200
            assert ask("PutItem", TableName=table["TableName"], Item=home("1")) == (200, {})
        tables = dynamodb.get_state()["tables"]
        state = {name: tables.get_scoped("1" * 12, "us-east-1", name) for name in ("homes", "hashed")}
        for name in state:
            assert ask("DeleteTable", TableName=name)[0] == 200
        assert state["homes"]["items"] == {"USER#u1": {"1": home("1")}}
        assert state["hashed"]["items"] == {"USER#u1": {"__no_sort__": home("1")}}
        assert (state["homes"]["pk_name"], state["homes"]["sk_name"], state["hashed"]["sk_name"]) == ("PK", "SK", None)
        assert state["hashed"]["GlobalSecondaryIndexes"] == state["homes"]["LocalSecondaryIndexes"] == []
        assert (state["homes"]["ItemCount"], state["homes"]["TableSizeBytes"]) == (1, 200)

    def test_another_shape_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A MiniStack without the function, or with one that answers otherwise, waits or refuses, does not pass."""
        from ministack.services import dynamodb

        async def other(*_: Any) -> str:
            return "answer"

        async def waiting(*_: Any) -> None:
            await asyncio.sleep(0)

        async def refusing(*_: Any) -> tuple[int, dict[str, str], bytes]:
            return 400, {}, b"{}"

        for function in (other, waiting, refusing, len):
            monkeypatch.setattr(dynamodb, "handle_request", function)
            with pytest.raises(ConfigurationError, match="is not like ministack"):
                local._MiniStack()
        monkeypatch.undo()
        monkeypatch.delattr(dynamodb, "load_persisted_state")
        with pytest.raises(ConfigurationError, match="is not like ministack"):
            local._MiniStack()

    def test_another_layout_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A MiniStack that does not find the items that it was given back is refused: kept items never look lost."""
        from ministack.services import dynamodb

        code = """
client = connect(sys.argv[1])
client.create_table(**HOMES)
put(client, "1")
"""
        finish(start(code, f"local:{path}"))
        restore = dynamodb.load_persisted_state

        def other(state: Any) -> None:
            restore({"tables": {name: table | {"items": {}} for name, table in state["tables"].items()}})

        monkeypatch.setattr(dynamodb, "load_persisted_state", other)
        client = connect(f"local:{path}")
        with pytest.raises(ConfigurationError, match="is not like ministack"):
            get(client, "1")
        engine: Any = local._engines[str(path)]
        engine._copy._restore = restore
        assert get(client, "1") == home("1")
