"""The pytest plugin: options and fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlssocial.settings import Settings

    from .factory import Factory

_ENGINES = "local (the embedded engine in memory), moto, or the URL of an endpoint such as DynamoDB Local's"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of the engine."""
    parser.addini("mlssocial_engine", f"where mlssocial_table is: {_ENGINES}", default="local")
    group = parser.getgroup("mlssocial")
    group.addoption("--mlssocial-engine", metavar="local|moto|URL", help=f"where mlssocial_table is: {_ENGINES}")


@pytest.fixture
def mlssocial_settings() -> dict[str, Any]:
    """Give further settings for mlssocial_table. Override it to have some."""
    return {}


@pytest.fixture
def mlssocial_table(request: pytest.FixtureRequest, mlssocial_settings: dict[str, Any]) -> Iterator[Settings]:
    """Put a new, empty table in force for the test, in every thread, and give its settings."""
    from .tables import fresh_table

    engine = request.config.getoption("--mlssocial-engine") or request.config.getini("mlssocial_engine")
    with fresh_table(str(engine), **mlssocial_settings) as settings:
        yield settings


@pytest.fixture
def mlssocial_factory() -> Factory:
    """Give what makes valid payloads and items, the same ones in each run."""
    from .factory import Factory

    return Factory()
