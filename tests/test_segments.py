"""Jobs of many segments: whatever interrupts them, each step is done, and taken over once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlssocial
from mlssocial import ConfigurationError, ExecutorError, StoreError
from mlssocial.segments import Job, run
from mlssocial.settings import current
from mlssocial.workers import Done, stopping


@dataclass(slots=True)
class Tale:
    """A report that tells which steps were taken over."""

    elapsed: float = 0.0
    taken: list[tuple[int, int]] = field(default_factory=list)


def take(tale: Tale, step: tuple[int, int]) -> None:
    """Take a step over."""
    tale.taken.append(step)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path) -> None:
    """Name a table; these jobs do not read it."""
    mlssocial.configure(table_name="homes", endpoint_url=f"local:{tmp_path / 'homes.db'}")


class Work:
    """Segments of the given numbers of steps, and what was done of them, before it was taken over."""

    def __init__(self, *lengths: int, act: Callable[[int, int], Any] = lambda *_: None, units: float = 0.0) -> None:
        self.lengths, self.act, self.units = lengths, act, units
        self.done: Counter[tuple[int, int]] = Counter()
        self.lock = threading.Lock()

    def step(self, segment: int, position: Any) -> Done[tuple[int, int]]:
        """Do a step."""
        number = 0 if position is None else position["next"]
        self.act(segment, number)
        with self.lock:
            self.done[segment, number] += 1
        after = {"next": number + 1} if number + 1 < self.lengths[segment] else None
        return Done((segment, number), after, self.units)

    def job(self, name: str = "tale", **options: Any) -> Job[tuple[int, int], Tale]:
        """Give the job."""
        return Job(name, len(self.lengths), self.step, Tale(), options)

    @property
    def steps(self) -> set[tuple[int, int]]:
        """All steps that there are."""
        return {(segment, number) for segment, length in enumerate(self.lengths) for number in range(length)}


class TestSteps:
    @pytest.mark.parametrize("at_once", [1, 2, 7])
    def test_each_is_done_once_and_taken_over_in_its_segments_order(self, at_once: int) -> None:
        """Every step of every segment is done once, and each segment's steps are taken over in order."""
        work = Work(3, 1, 5, 2)
        tale = run(work.job(), take, at_once=at_once)
        assert work.done == dict.fromkeys(work.steps, 1)
        assert sorted(tale.taken) == sorted(work.steps)
        for segment in range(4):
            assert [number for of, number in tale.taken if of == segment] == list(range(work.lengths[segment]))

    def test_a_job_without_segments_is_done(self) -> None:
        """Nothing to do is done at once."""
        assert run(Work().job(), take, at_once=2).taken == []

    def test_no_more_than_may_be_are_under_way(self) -> None:
        """Of many segments only so many are begun that memory holds their results, and each place goes to the next one."""
        under_way, most, lock = 0, 0, threading.Lock()

        class Counting(ThreadPoolExecutor):
            def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
                nonlocal under_way, most
                with lock:
                    under_way += 1
                    most = max(most, under_way)
                return super().submit(*args, **kwargs)

        def taken(tale: Tale, step: tuple[int, int]) -> None:
            nonlocal under_way
            with lock:
                under_way -= 1
            take(tale, step)

        work = Work(*[3] * 40)
        with Counting(8) as pool:
            tale = run(work.job(), taken, at_once=3, executor=pool)
        assert (most, len(tale.taken)) == (3, 120)

    def test_are_taken_over_in_the_callers_thread(self) -> None:
        """Taking over and progress are the caller's thread's alone; steps are not."""
        threads: dict[str, set[int]] = {"step": set(), "take": set(), "progress": set()}
        work = Work(2, 2, act=lambda *_: threads["step"].add(threading.get_ident()))
        run(
            work.job(),
            lambda *_: threads["take"].add(threading.get_ident()),
            at_once=2,
            progress=lambda _: threads["progress"].add(threading.get_ident()),
        )
        assert threads["take"] == threads["progress"] == {threading.get_ident()}
        assert threading.get_ident() not in threads["step"]

    def test_stay_with_their_jobs_table(self) -> None:
        """A job that has begun stays with its table, whatever is configured meanwhile."""
        seen: list[str] = []
        before = current()

        def elsewhere(*_: Any) -> None:
            seen.append(current().table_name)
            mlssocial.configure(before, table_name="another")

        run(Work(3, act=elsewhere).job(), take, at_once=1)
        assert seen == ["homes"] * 3
        assert current().table_name == "another"


class TestInterruptions:
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        lengths=st.lists(st.integers(1, 5), min_size=1, max_size=5),
        at_once=st.integers(1, 4),
        ends=st.lists(st.tuples(st.sampled_from(["take", "progress", "step"]), st.integers(1, 6)), max_size=5),
    )
    def test_nothing_is_lost_and_nothing_is_taken_twice(
        self, tmp_path: Path, lengths: list[int], at_once: int, ends: list[tuple[str, int]]
    ) -> None:
        """Wherever a job is interrupted or fails, and however often, in the end each step was taken over exactly once."""
        path = tmp_path / "tale.json"
        left: dict[str, int] = {}

        def count_down(what: str) -> None:
            if what in left:
                left[what] -= 1
                if left[what] == 0:
                    raise StoreError("injected", code="Injected") if what == "step" else KeyboardInterrupt

        def taken(tale: Tale, step: tuple[int, int]) -> None:
            take(tale, step)
            count_down("take")

        work = Work(*lengths, act=lambda *_: count_down("step"))
        for where, after in [*ends, ("nowhere", 0)]:
            left = {where: after}
            try:
                tale = run(work.job(), taken, at_once=at_once, checkpoint=path, progress=lambda _: count_down("progress"))
            except (KeyboardInterrupt, StoreError):
                assert where != "nowhere"
                continue
            finally:
                assert not path.with_name("tale.json.lock").exists()
            break
        assert sorted(tale.taken) == sorted(work.steps)
        assert work.done.keys() == work.steps
        assert list(tmp_path.glob("tale.json*")) == []

    def test_the_checkpoint_says_no_more_than_was_done(self, tmp_path: Path) -> None:
        """Whenever the file changes, each step that it says is done has been done, and each of them is in its report."""
        path = tmp_path / "tale.json"
        work = Work(4, 4, 4)

        def look(_: Tale) -> None:
            said = json.loads(path.read_bytes())
            steps = {tuple(step) for step in said["report"]["taken"]}
            assert steps <= work.done.keys()
            for segment, position in said["positions"].items():
                done = work.lengths[int(segment)] if position is None else position["next"]
                assert {(int(segment), number) for number in range(done)} <= steps

        run(work.job(), take, at_once=3, checkpoint=path, progress=look)

    def test_an_error_ends_the_job_when_the_others_are_done(self, tmp_path: Path) -> None:
        """Where one segment fails, what is under way in the others is done and in the checkpoint, and nothing more is begun."""
        path, failed = tmp_path / "tale.json", threading.Event()

        def act(segment: int, number: int) -> None:
            if segment == 0:
                failed.set()
                raise StoreError("injected", code="Injected")
            assert failed.wait(10)
            time.sleep(0.05)

        work = Work(1, 9, 9, act=act)
        with pytest.raises(StoreError, match="injected"):
            run(work.job(), take, at_once=3, checkpoint=path)
        assert work.done == {(1, 0): 1, (2, 0): 1}
        assert json.loads(path.read_bytes())["positions"] == {"1": {"next": 1}, "2": {"next": 1}}
        work.act = lambda *_: None
        assert sorted(run(work.job(), take, at_once=3, checkpoint=path).taken) == sorted(work.steps)
        assert work.done == dict.fromkeys(work.steps, 1)

    def test_a_step_is_told_that_its_job_has_ended(self) -> None:
        """What interrupts a job ends the steps that are under way, and nothing runs when it has ended."""
        ended: list[bool] = []
        begun = threading.Event()

        def act(segment: int, number: int) -> None:
            if segment:
                begun.set()
                deadline = time.monotonic() + 10
                while not stopping() and time.monotonic() < deadline:
                    time.sleep(0.005)
                ended.append(stopping())
            else:
                assert begun.wait(10)

        def interrupt(_: Tale) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(Work(1, 1, act=act).job(), take, at_once=2, progress=interrupt)
        assert ended == [True]
        assert not stopping()

    def test_an_error_that_is_not_ours(self) -> None:
        """A step that ends by a foreign error ends the job by ours, which names the segment and shows nothing of the other."""

        def act(segment: int, number: int) -> None:
            if segment == 1:
                raise ValueError("canary")

        with pytest.raises(ExecutorError, match=r"segment 1: its step was not run, or not to its end \(ValueError\)") as raised:
            run(Work(1, 1, act=act).job(), take, at_once=1)
        assert "canary" not in str(raised.value)
        assert (raised.value.segment, type(raised.value.__cause__)) == (1, ValueError)

    def test_an_executor_that_takes_no_more(self, tmp_path: Path) -> None:
        """An executor that refuses a step ends the job by our error, and the checkpoint stays."""
        path = tmp_path / "tale.json"
        with ThreadPoolExecutor(1) as pool:
            pool.shutdown()
            with pytest.raises(ExecutorError, match=r"segment 0: .*\(RuntimeError\)"):
                run(Work(1).job(), take, at_once=1, checkpoint=path, executor=pool)
        assert path.exists()


class TestCheckpoint:
    def leave(self, path: Path, **options: Any) -> None:
        """Interrupt a job, so that its checkpoint stays."""

        def interrupt(_: Tale) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(Work(2, 2).job(**options), take, at_once=1, checkpoint=path, progress=interrupt)

    @pytest.mark.parametrize(
        ("job", "reason"),
        [
            (Work(2, 2).job("story", a=1), "it is the checkpoint of another tale, with job tale and not story"),
            (Work(2, 2).job(a=2), "with a 1 and not 2"),
            (Work(2, 2).job(), "with a 1 and not None"),
            (Work(2, 2).job(a=1, b=3), "with b None and not 3"),
            (Work(2).job(a=1), "with segments 2 and not 1"),
        ],
    )
    def test_another_jobs_is_refused(self, tmp_path: Path, job: Job[Any, Tale], reason: str) -> None:
        """A checkpoint of another job, or of the same one with other options, is refused, and stays as it is."""
        path = tmp_path / "tale.json"
        self.leave(path, a=1)
        content = path.read_bytes()
        with pytest.raises(ConfigurationError, match=reason):
            run(job, take, at_once=1, checkpoint=path)
        assert path.read_bytes() == content

    def test_two_runs_at_once_are_refused(self, tmp_path: Path) -> None:
        """A second run on a checkpoint in use is refused before it does anything, and does not disturb the first."""
        path, second = tmp_path / "tale.json", Work(2)

        def act(segment: int, number: int) -> None:
            with pytest.raises(ConfigurationError, match="another run goes on with this checkpoint"):
                run(second.job(), take, at_once=1, checkpoint=path)

        first = Work(2, act=act)
        assert run(first.job(), take, at_once=1, checkpoint=path).taken == [(0, 0), (0, 1)]
        assert second.done == {}
        assert run(second.job(), take, at_once=1, checkpoint=path).taken == [(0, 0), (0, 1)]

    def test_the_time_of_all_runs_counts(self, tmp_path: Path) -> None:
        """A report's time is that of all its runs, and not of the pause between them."""
        path = tmp_path / "tale.json"
        job = Work(2, 2, act=lambda *_: time.sleep(0.05)).job

        def interrupt(_: Tale) -> None:
            raise KeyboardInterrupt

        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(job(), take, at_once=1, checkpoint=path, progress=interrupt)
        time.sleep(0.5)
        tale = run(job(), take, at_once=1, checkpoint=path)
        assert 0.2 <= tale.elapsed <= time.monotonic() - started - 0.5


class AtOnce(Executor):
    """An executor that does each step when it is submitted, in the same thread."""

    submitted = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        self.submitted += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future

    def shutdown(self, *_: Any, **__: Any) -> None:
        """Say that it is not for others to shut down."""
        pytest.fail("it is the caller's")


class TestRate:
    class Clock:
        """A clock that moves when somebody sleeps."""

        now = 1000.0

        def monotonic(self) -> float:
            """Give the time."""
            return self.now

        def sleep(self, seconds: float) -> None:
            """Move on."""
            self.now += seconds

    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """Give the clock that jobs go by."""
        clock = self.Clock()
        monkeypatch.setattr("mlssocial.segments.time", clock)
        return clock

    @pytest.mark.parametrize("at_once", [1, 2, 5])
    @pytest.mark.parametrize("lengths", [(6,), (3, 3), (1,) * 6, (4, 1, 1), (1, 5)])
    def test_units_a_second(self, clock: Clock, lengths: tuple[int, ...], at_once: int) -> None:
        """However the work is spread over segments, it takes as long as its units do, and hardly longer."""
        tale = run(Work(*lengths, units=1.0).job(), take, at_once=at_once, rate=10, executor=AtOnce())
        assert len(tale.taken) == 6
        assert 0.6 - 1e-6 <= clock.now - 1000 <= 0.9

    def test_a_segment_that_ends_leaves_its_share_to_the_others(self, clock: Clock) -> None:
        """The rate is shared by the segments that are under way: one that is left has all of it."""
        run(Work(1, 1, 1, 5, units=1.0).job(), take, at_once=4, rate=10, executor=AtOnce())
        assert clock.now - 1000 == pytest.approx(0.8)  # with a quarter of the rate it would be two seconds

    def test_the_time_that_a_step_took_counts(self, clock: Clock) -> None:
        """A step that took longer than its units may is followed by the next one at once."""
        run(Work(5, act=lambda *_: clock.sleep(3), units=1.0).job(), take, at_once=1, rate=10, executor=AtOnce())
        assert clock.now - 1000 == pytest.approx(15)

    def test_on_the_real_clock(self) -> None:
        """Steps in threads take as long as their units do."""
        started = time.monotonic()
        run(Work(3, 3, units=1.0).job(), take, at_once=2, rate=20)
        assert time.monotonic() - started >= 0.3


def test_any_executor_will_do() -> None:
    """An executor of the caller's own runs the steps, and is not shut down."""
    pool = AtOnce()
    assert len(run(Work(2, 3).job(), take, at_once=2, executor=pool).taken) == pool.submitted == 5
