"""A checkpoint's file: whole at any moment, and one run's at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlssocial import ConfigurationError
from mlssocial.checkpoints import held

HOLD = """
import sys
from pathlib import Path
from mlssocial.checkpoints import held

with held(Path(sys.argv[1])) as checkpoint:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where a checkpoint may be."""
    return tmp_path / "job.json"


def holder(path: Path) -> subprocess.Popen[str]:
    """Start a process that has a checkpoint, and wait until it has."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


class TestFile:
    def test_what_was_written_is_read(self, path: Path) -> None:
        """What was written last is there, until it is removed; nothing is left beside it."""
        with held(path) as checkpoint:
            assert checkpoint.read() is None
            checkpoint.write(b"one")
            checkpoint.write(b"two")
            assert checkpoint.read() == b"two"
        assert list(path.parent.iterdir()) == [path]
        with held(path) as checkpoint:
            assert checkpoint.read() == b"two"
            checkpoint.remove()
        assert list(path.parent.iterdir()) == []

    def test_a_write_that_fails_leaves_what_was_there(self, path: Path) -> None:
        """A write that cannot be finished is an error of ours, and the old content stays."""
        with held(path) as checkpoint:
            checkpoint.write(b"old")
            path.with_name("job.json.new").mkdir()  # where the new content would be written
            with pytest.raises(ConfigurationError, match="the checkpoint cannot be written"):
                checkpoint.write(b"new")
            assert checkpoint.read() == b"old"

    @pytest.mark.parametrize(("name", "reason"), [("nowhere/job.json", "No such file"), ("\0", "embedded null byte")])
    def test_a_place_where_none_can_be(self, path: Path, name: str, reason: str) -> None:
        """Where no file can be made, the error names the reason."""
        with pytest.raises(ConfigurationError, match=f"cannot be written: {reason}"), held(path.parent / name):
            pytest.fail("held")

    def test_a_folder_is_none(self, path: Path) -> None:
        """A folder in its place is an error of ours."""
        path.mkdir()
        with held(path) as checkpoint, pytest.raises(ConfigurationError, match="the checkpoint cannot be read: Is a directory"):
            checkpoint.read()


class TestLock:
    def test_within_a_process(self, path: Path) -> None:
        """A checkpoint that a run of this process has is refused to another one, and free after it."""
        with held(path), pytest.raises(ConfigurationError, match="another run goes on with this checkpoint"), held(path):
            pytest.fail("held twice")
        with held(path):
            pass

    def test_between_processes(self, path: Path) -> None:
        """A checkpoint that another process has is refused, and free when that one has ended."""
        process = holder(path)
        with pytest.raises(ConfigurationError, match="another run goes on with this checkpoint"), held(path):
            pytest.fail("held twice")
        process.communicate("")
        assert process.returncode == 0
        with held(path):
            pass

    def test_goes_with_a_killed_process(self, path: Path) -> None:
        """A process that was killed locks nothing, though its lock file is still there."""
        process = holder(path)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert path.with_name("job.json.lock").exists()
        with held(path):
            pass
        assert list(path.parent.iterdir()) == []

    def test_is_not_a_forked_childs(self, path: Path) -> None:
        """A child that outlives the run that forked it does not keep the checkpoint."""
        reader, writer = os.pipe()
        with held(path):
            child = os.fork()
            if not child:  # pragma: no cover  a child of its own has no coverage
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
        try:
            with held(path):
                pass
        finally:
            os.close(writer)
            os.waitpid(child, 0)
            os.close(reader)

    def test_of_many_at_once_one_has_it(self, path: Path) -> None:
        """Of runs that come and go at the same time, never two have the checkpoint."""
        code = """
import sys, time
from pathlib import Path
from mlssocial.checkpoints import held
from mlssocial.exceptions import ConfigurationError

path, had = Path(sys.argv[1]), 0
while had < 100:
    try:
        with held(path):
            inside = path.with_name("inside")
            inside.open("x").close()
            inside.unlink()
            had += 1
    except ConfigurationError as error:
        assert "another run" in str(error), error
"""
        processes = [subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE) for _ in range(3)]
        for process in processes:
            _, said = process.communicate(timeout=60)
            assert (process.returncode, said) == (0, b"")
