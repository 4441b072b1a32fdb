"""A test runner that leaves the outcome of each test in the file that OUTCOMES names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest import TextTestResult

from django.test.runner import DiscoverRunner

OUTCOMES = "MLSSOCIALTEST_OUTCOMES"


class Result(TextTestResult):
    """Notes which tests ended well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def stopTest(self, test: Any) -> None:  # noqa: N802  unittest's name
        failed = {one.id(): text for one, text in (*self.failures, *self.errors)}
        self.outcomes[test.id().partition(".promises.")[2]] = failed.get(test.id(), "")
        super().stopTest(test)

    def stopTestRun(self) -> None:  # noqa: N802
        super().stopTestRun()
        if path := os.environ.get(OUTCOMES):
            Path(path).write_text(json.dumps(self.outcomes))


class Runner(DiscoverRunner):
    """Django's runner, with these results."""

    def get_resultclass(self) -> type[Result]:
        return Result
