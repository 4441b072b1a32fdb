"""``mlssocial.django``: its promises are tests of a Django site, which Django's own runner runs in another process."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket
from subprocess import CompletedProcess
from urllib.request import urlopen

import pytest

from .djangosite.runner import OUTCOMES

ROOT = Path(__file__).parents[1]
SITE = ROOT / "examples" / "django_site"
PROMISES = [
    f"{case.name}.{test.name}"
    for case in ast.parse((ROOT / "tests/djangosite/promises.py").read_text()).body
    if isinstance(case, ast.ClassDef)
    for test in case.body
    if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
]


def python(*arguments: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run Python with warnings as errors; what is warned of on the way out is an error too."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **(environment or {})}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the site's tests, and give what went wrong in each."""
    path = tmp_path_factory.mktemp("django") / "outcomes.json"
    environment = {OUTCOMES: str(path), "DJANGO_SETTINGS_MODULE": "tests.djangosite.settings"}
    ran = python("-m", "django", "test", "tests.djangosite.promises", environment=environment)
    assert path.exists(), ran.stderr
    found: dict[str, str] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(promise: str, outcomes: dict[str, str]) -> None:
    """Each promise of tests/djangosite/promises.py is kept."""
    assert outcomes[promise] == ""


def test_an_unknown_key_ends_the_start() -> None:
    """A process whose settings have an unknown key does not start, and says which keys there are."""
    code = "import django; from django.conf import settings as s; s.configure(INSTALLED_APPS=['mlssocial.django'], "
    ended = python("-c", f"{code} MLSSOCIAL={{'TABEL_NAME': 'x'}}); django.setup()")
    assert ended.returncode == 1
    assert "ImproperlyConfigured: MLSSOCIAL: TABEL_NAME: no such key; there are ALLOW_PLAINTEXT_TOKENS, " in ended.stderr


def test_without_django() -> None:
    """Where Django is missing the import says which extra has it."""
    ended = python("-c", "import sys; sys.modules['django'] = None; import mlssocial.django")
    assert "MissingExtraError: mlssocial.django needs Django: pip install 'mlssocial[django]'" in ended.stderr


@pytest.mark.skipif(not SITE.is_dir(), reason="the examples are not there")
class TestExample:
    def test_its_own_tests(self) -> None:
        """The example's tests go over HTTP: each of its pages is one request, and pages show every active listing once."""
        ended = python("manage.py", "test", cwd=SITE)
        assert ended.returncode == 0, ended.stderr
        assert "Ran 2 tests" in ended.stderr

    def test_it_is_served_as_its_readme_says(self, tmp_path: Path) -> None:
        """From an empty folder the commands of its README lead to a page; the command line works on the same table."""
        site = tmp_path / "site"
        shutil.copytree(SITE, site, ignore=shutil.ignore_patterns("homes.db*", "__pycache__"))
        assert "932 created" in python("manage.py", "fill", cwd=site).stdout
        listed = python("manage.py", "mlssocial", "listings", "--user", "agent-1", "--limit", "1", "--json", cwd=site)
        assert json.loads(listed.stdout)["items"][0]["data"]["price"] == 59222
        with served(site) as address, urlopen(f"{address}/agents/agent-1/", timeout=30) as page:  # noqa: S310  our own
            assert b"Homes for sale" in page.read()


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Run ``manage.py runserver`` on a free port, and give its address."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=site, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
