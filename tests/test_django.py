"""``mlssocial.django``: its promises are tests of a Django site, which Django's own runner runs in another process."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess

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
