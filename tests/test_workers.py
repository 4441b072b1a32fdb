"""Where steps run: other processes and a Dask cluster work on the same table, are sent no secret, and may die."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster

import mlssocial
from mlssocial import AuditReport, ConfigurationError, ExecutorError, Listing, Migrations, Settings, audit_table, reseal_tokens
from mlssocial.cli.app import cli
from mlssocial.connection import recorded, store
from mlssocial.reso import ImportReport, import_feed
from mlssocial.settings import current
from mlssocial.workers import Done, Task, at_hand

from .conftest import ENDPOINT, TOKEN_KEY, get_raw, put_raw
from .test_audit import drifted, status_of
from .test_migrations import write
from .test_reseal import FACEBOOK, connection, tokens
from .test_reso_importing import house

SEGMENTS = 4
ITEMS = 60
TOWN = """
entities = ["Listing"]


def transform(item):
    item["Data"]["city"] = "Reno"
    return item
"""


@pytest.fixture(params=["file", *(["endpoint"] if ENDPOINT else [])])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Make a table that several processes can reach, and fill it with drift."""
    if request.param == "file":
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}")
    else:
        mlssocial.configure(table_name=f"homes-{tmp_path.name}", region="us-east-1", endpoint_url=ENDPOINT)
    mlssocial.create_table()
    for number in range(ITEMS):
        put_raw(drifted(number))
    yield
    store().call("DeleteTable", {"TableName": store().table_name})


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read three items a page; a worker is told by its step."""
    monkeypatch.setattr("mlssocial.scans.PAGE_ITEMS", 3)


def whoami(segment: int, position: Any) -> Done[tuple[int, Settings]]:
    """Tell where a step runs, and under which settings; its secrets do not travel."""
    return Done((os.getpid(), Settings(**current().shared())), None)


def key_names(segment: int, position: Any) -> Done[list[str]]:
    """Tell which keys and profile the process has."""
    settings = current()
    return Done([str(settings.profile), str(settings.sealing_key), *sorted(settings.token_keys)], None)


def dies(segment: int, position: Any) -> Done[None]:
    """End the process that it runs in, as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Done(None, None)  # pragma: no cover


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Give two processes that begin anew, with the environment as it is by then."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def pickled(task: Task[Any]) -> Task[Any]:
    """Give what comes out of a task's pickle."""
    made: Task[Any] = pickle.loads(pickle.dumps(task))  # noqa: S301  it was made here
    return made


class TestTask:
    def test_runs_in_its_jobs_context_here(self) -> None:
        """In its own process a step has its job's settings as they are, though it comes out of a pickle."""
        made = mlssocial.configure(table_name="homes", endpoint_url="local:", profile="me")
        with at_hand(whoami) as task:
            pid, _ = pickled(task)(0, None).result
        assert (pid, current()) == (os.getpid(), made)
        with at_hand(key_names) as task:
            assert pickled(task)(0, None).result[0] == "me"

    def test_is_told_the_table_elsewhere(
        self, processes: ProcessPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In another process a step has its job's table, by a name that holds there, and the settings of time and transport."""
        monkeypatch.chdir(tmp_path)
        mlssocial.configure(table_name="homes", endpoint_url="local:homes.db", deadline=7.5, transport="botocore", profile="me")
        with at_hand(whoami) as task:
            pid, settings = processes.submit(task, 0, None).result().result
        assert pid != os.getpid()
        assert settings.endpoint_url == f"local:{tmp_path / 'homes.db'}"
        assert (settings.table_name, settings.deadline, settings.transport) == ("homes", 7.5, "botocore")
        assert settings.profile is None

    def test_has_the_keys_of_its_own_environment_elsewhere(self, processes: ProcessPoolExecutor, tmp_path: Path) -> None:
        """In another process a step has that process's keys and profile, whatever its job's own are."""
        mlssocial.configure(
            endpoint_url=f"local:{tmp_path / 'homes.db'}",
            profile="me",
            token_keys={"k1": TOKEN_KEY, "k2": TOKEN_KEY},
            current_token_key="k2",
        )
        with at_hand(key_names) as task:
            assert processes.submit(task, 0, None).result().result == ["None", "test", "test"]
            assert pickled(task)(0, None).result == ["me", "k2", "k1", "k2"]

    def test_seals_under_its_jobs_key_or_not_at_all(self, processes: ProcessPoolExecutor, tmp_path: Path) -> None:
        """A worker whose keys are its job's seals there; one whose current key is another says so, and writes nothing."""
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}")
        mlssocial.create_table()
        put_raw(connection(accessToken="t"))
        before = get_raw(*FACEBOOK)
        here = mlssocial.configure(current(), token_keys={"test": TOKEN_KEY, "k2": TOKEN_KEY}, current_token_key="k2")
        with pytest.raises(ConfigurationError, match="a worker's current key is test, and the job's is k2; set MLSSOCIAL_"):
            reseal_tokens(executor=processes)
        assert get_raw(*FACEBOOK) == before
        mlssocial.configure(here, current_token_key="test")
        assert reseal_tokens(executor=processes).resealed == 1
        assert tokens() == {"accessToken": ("test", "t")}

    def test_goes_by_its_own_table_in_a_process_of_many(self, tmp_path: Path) -> None:
        """Steps of several tables in one worker's process each have their own, at the same time."""
        code = """
import pickle, sys, threading
from mlssocial.connection import store
barrier, seen = threading.Barrier(3), []
tasks = pickle.load(sys.stdin.buffer)

def work(task):
    first = task(0, None).result
    barrier.wait(30)
    assert first == task(0, None).result
    seen.append(first)

threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sorted(seen))
"""
        tasks = []
        for name in ("one", "two", "three"):
            mlssocial.configure(table_name=name, endpoint_url=f"local:{tmp_path / name}")
            with at_hand(table_of_store) as task:
                tasks.append(task)
        here = Path(__file__).parents[1]  # the process finds this module there, wherever this one is at the moment
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, input=pickle.dumps(tasks), capture_output=True, check=False, cwd=here)
        assert (done.stderr.decode(), done.stdout.decode()) == ("", "[('one', 'one'), ('three', 'three'), ('two', 'two')]\n")

    def test_carries_no_secret(self) -> None:
        """A step's pickle holds neither a key nor a profile, whatever is configured."""
        canary = base64.b64encode(b"canary-canary-canary-canary-cana").decode()
        mlssocial.configure(table_name="homes", endpoint_url="local:", profile="canary", token_keys={"k1": canary})
        with at_hand(whoami) as task:
            sent = pickle.dumps(task)
        assert b"homes" in sent
        assert not any(word.encode() in sent for word in ("canary", canary))

    def test_the_engine_in_memory_is_one_processes(self, processes: ProcessPoolExecutor) -> None:
        """A worker's process that could only see an empty engine of its own says so."""
        mlssocial.configure(endpoint_url="local:")
        mlssocial.create_table()
        with pytest.raises(ConfigurationError, match="cannot reach the embedded engine: it is in memory"):
            audit_table(executor=processes)


def table_of_store(segment: int, position: Any) -> Done[tuple[str, str]]:
    """Tell which table a step would send to."""
    return Done((store().table_name, current().table_name), None)


@pytest.mark.usefixtures("far", "short_pages")
class TestProcesses:
    def test_do_what_threads_do(self, processes: ProcessPoolExecutor) -> None:
        """Other processes find and repair what threads would, and the report is the same."""
        found = audit_table(segments=SEGMENTS)
        report = audit_table(repair=True, segments=SEGMENTS, executor=processes)
        assert (report.scanned, report.counts, report.outcomes) == (ITEMS, found.counts, {"repaired": ITEMS})
        assert (report.read_units, len(report.findings)) == (found.read_units, ITEMS)
        assert audit_table().drifted == 0
        assert status_of(7) == ["l1"]

    def test_an_error_of_the_tables_is_the_same_one(self, processes: ProcessPoolExecutor, tmp_path: Path) -> None:
        """DynamoDB's refusal in a worker is the error that it would be here, and the checkpoint stays."""
        held = current()
        mlssocial.configure(held, table_name="nowhere")
        with pytest.raises(mlssocial.StoreError, match="ResourceNotFound") as raised:
            audit_table(executor=processes, checkpoint=tmp_path / "audit.json")
        assert raised.value.code == "ResourceNotFoundException"
        assert (tmp_path / "audit.json").exists()
        mlssocial.configure(held)

    def test_a_process_that_dies(self, tmp_path: Path) -> None:
        """Where an executor loses its workers the job ends with our error, and goes on from its checkpoint on another one."""
        path = tmp_path / "audit.json"

        def kill(report: AuditReport) -> None:
            if report.scanned >= ITEMS // 3:
                for worker in multiprocessing.active_children():
                    worker.kill()

        pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
        with pool, pytest.raises(ExecutorError, match="BrokenProcessPool"):
            audit_table(repair=True, segments=SEGMENTS, executor=pool, checkpoint=path, progress=kill)
        report = audit_table(repair=True, segments=SEGMENTS, checkpoint=path)
        assert report.scanned == ITEMS
        assert audit_table().drifted == 0
        assert [status_of(number) for number in range(ITEMS)] == [["l1"]] * ITEMS


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Give a Dask cluster of two worker processes, with an environment of their own."""
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "MLSSOCIAL_TOKEN_KEYS": f"test={TOKEN_KEY}",
    }
    processes: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "env": environment}
    with LocalCluster(**processes, dashboard_address=":0", silence_logs=50) as made:
        yield made


def address(cluster: LocalCluster) -> str:
    """Give a cluster's address as users write it."""
    return str(cluster.scheduler_address).replace("tcp://", "dask://")


@pytest.mark.usefixtures("far", "short_pages")
class TestDask:
    def test_does_what_threads_do(self, cluster: LocalCluster) -> None:
        """A cluster's workers find and repair what threads would."""
        found = audit_table(segments=SEGMENTS)
        report = audit_table(repair=True, segments=SEGMENTS, executor=address(cluster))
        assert (report.scanned, report.counts, report.outcomes) == (ITEMS, found.counts, {"repaired": ITEMS})
        assert audit_table().drifted == 0

    def test_on_the_command_line(self, cluster: LocalCluster) -> None:
        """``--executor`` has a cluster do the command's work."""
        where = current()
        options = {"--table": where.table_name, "--region": where.region, "--endpoint": where.endpoint_url}
        named = [word for name, value in options.items() if value for word in (name, value)]
        arguments = ["--repair", "--yes", "--segments", "3", "--executor", address(cluster)]
        with recorded() as calls:
            result = CliRunner().invoke(cli, [*named, "audit", *arguments])
        assert (result.exit_code, f"{ITEMS} drifted: {ITEMS} repaired" in result.output) == (0, True), result.output
        assert [call.operation for call in calls if call.operation == "Scan"] == []

    def test_seals_tokens(self, cluster: LocalCluster) -> None:
        """A cluster's workers seal tokens under the keys of their own environment."""
        put_raw(connection(accessToken="t"))
        assert reseal_tokens(segments=SEGMENTS, executor=address(cluster)).resealed == 1
        assert tokens() == {"accessToken": ("test", "t")}

    def test_migrates_exports_and_restores(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """A cluster's workers change every item, read every item, and put every item back that is gone."""
        folder, there = tmp_path / "migrations", address(cluster)
        write(folder, "0001_town", TOWN)
        (done,) = Migrations(folder=folder, segments=SEGMENTS, executor=there).up()
        assert (done.changed, done.is_done) == (ITEMS, True)
        exported = mlssocial.export_table(tmp_path / "export", segments=SEGMENTS, executor=there)
        assert exported.items["Listing"] == ITEMS
        for number in range(0, ITEMS, 2):
            Listing.objects.delete(f"u{number}", "l1")
        with recorded() as calls:
            restored = mlssocial.restore_table(tmp_path / "export", executor=there)
        assert (restored.written, restored.skipped, restored.conflicts) == (ITEMS // 2, 0, 0)
        assert "PutItem" not in {call.operation for call in calls}
        stored = [get_raw(f"USER#u{number}", "LISTING#l1") or {} for number in range(ITEMS)]
        assert [item["Data"]["M"]["city"] for item in stored] == [{"S": "Reno"}] * ITEMS

    def test_a_worker_that_is_killed(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """Of two worker processes one is killed amid its pages: its pages are done by the other, and every item is right."""
        killed: list[int] = []

        def kill(report: AuditReport) -> None:
            busy = [worker for worker, steps in watcher.processing().items() if steps]
            if not killed and busy and report.scanned >= ITEMS // 3:
                killed.append(watcher.run(os.getpid, workers=busy[:1])[busy[0]])
                os.kill(killed[0], signal.SIGKILL)

        with Client(cluster.scheduler_address, set_as_default=False) as watcher:
            report = audit_table(
                repair=True,
                segments=SEGMENTS,
                executor=address(cluster),
                checkpoint=tmp_path / "audit.json",
                progress=kill,
            )
            assert len(killed) == 1
            assert killed[0] not in watcher.run(os.getpid).values()
        assert report.scanned == ITEMS
        assert ITEMS - 3 * SEGMENTS <= report.repaired <= ITEMS  # what the dead one repaired was right when it was read again
        assert report.left == 0
        assert audit_table().drifted == 0
        assert [status_of(number) for number in range(ITEMS)] == [["l1"]] * ITEMS
        assert list(tmp_path.glob("audit.json*")) == []

    def test_an_import_whose_worker_is_killed(
        self, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An import whose windows a cluster writes, one of whose workers is killed amid them, leaves each listing once."""
        monkeypatch.setattr("mlssocial.reso.importing.WINDOW", 10)
        feed = tmp_path / "feed.ndjson"
        feed.write_text("\n".join(json.dumps(house(ListingKey=f"K{number}")) for number in range(300)))
        killed: list[int] = []

        def kill(report: ImportReport) -> None:
            busy = [worker for worker, steps in watcher.processing().items() if steps]
            if not killed and busy and report.total >= 100:
                killed.append(watcher.run(os.getpid, workers=busy[:1])[busy[0]])
                os.kill(killed[0], signal.SIGKILL)

        names: dict[str, Any] = {"user_id": "importer", "provider": "flexmls", "checkpoint": tmp_path / "import.json"}
        with Client(cluster.scheduler_address, set_as_default=False) as watcher:
            report = import_feed(feed, **names, executor=address(cluster), workers=4, progress=kill)
        assert len(killed) == 1
        assert (report.created + report.unchanged, report.rejected_count) == (300, 0)
        assert Listing.objects.query("importer", consistent=True).count() == 300
        assert import_feed(feed, **names).total == 0

    def test_the_same_job_again_is_done_again(self, cluster: LocalCluster) -> None:
        """Dask takes no page for one that it has done already, not even on an executor that it would do so on."""
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            pool = client.get_executor(pure=True)
            assert audit_table(repair=True, executor=pool).repaired == ITEMS
            put_raw(drifted(3))
            assert audit_table(repair=True, executor=pool).repaired == 1

    def test_an_interruption(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """What interrupts a job on a cluster leaves a checkpoint, from which threads go on."""
        path = tmp_path / "audit.json"

        def interrupt(report: AuditReport) -> None:
            if report.scanned >= ITEMS // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            audit_table(repair=True, segments=SEGMENTS, executor=address(cluster), checkpoint=path, progress=interrupt)
        assert audit_table(repair=True, segments=SEGMENTS, checkpoint=path).scanned == ITEMS
        assert audit_table().drifted == 0

    def test_a_cluster_that_ends(self, tmp_path: Path) -> None:
        """Where the whole cluster goes the job ends with our error, and its checkpoint stays."""
        path = tmp_path / "audit.json"
        command = [
            sys.executable,
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
        ]
        scheduler = subprocess.Popen([*command, "--scheduler-file", str(tmp_path / "where")], stderr=subprocess.DEVNULL)
        try:
            with connected(tmp_path / "where") as client:
                threading.Timer(0.5, scheduler.kill).start()  # it has no worker, so the steps wait
                with pytest.raises(ExecutorError, match="CancelledError"):
                    audit_table(executor=client.get_executor(), checkpoint=path)
        finally:
            scheduler.kill()
            scheduler.wait()
        assert path.exists()


def connected(where: Path) -> Client:
    """Connect to a scheduler as soon as it says where it is."""
    deadline = time.monotonic() + 30
    while not where.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return Client(scheduler_file=str(where), set_as_default=False, timeout=10)


class TestAddresses:
    @pytest.fixture(autouse=True)
    def somewhere(self, tmp_path: Path) -> None:
        """Have a table, which is not reached."""
        mlssocial.configure(endpoint_url=f"local:{tmp_path / 'homes.db'}", deadline=0.5)

    @pytest.mark.parametrize("url", ["", "dask", "tcp://127.0.0.1:8786", "http://localhost"])
    def test_of_another_kind(self, url: str) -> None:
        """An address that is not one of Dask's is refused by its form."""
        with pytest.raises(ConfigurationError, match="an Executor or dask://HOST:PORT is needed"):
            audit_table(executor=url)

    @pytest.mark.parametrize("url", ["dask://127.0.0.1:1", "dask://", "dask://127.0.0.1:x", "dask://no.such.host.invalid:8786"])
    def test_where_nothing_answers(self, url: str) -> None:
        """An address at which no scheduler answers before the deadline is an error of ours."""
        with pytest.raises(ConfigurationError, match=f"{url}: no scheduler of Dask's answers there"):
            audit_table(executor=url)

    def test_without_dask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where Dask is not installed the error says how it is."""
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'mlssocial\[dask\]'"):
            audit_table(executor="dask://127.0.0.1:8786")
