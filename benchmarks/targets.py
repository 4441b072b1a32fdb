"""What this project means to reach: how many times as much as mlssocial a peer costs."""

from __future__ import annotations

Ratios = dict[tuple[str, str], float]
"""Peer divided by ours, by peer and operation."""

_MAPPERS = {"get": 5, "put": 5, "query": 10, "batch_write": 10, "batch_get": 10}

CANNED: dict[str, dict[str, float]] = {
    "pynamodb_typed": {"get": 6, "put": 6, "query": 14, "batch_write": 10, "batch_get": 12},
    "boto3_client": {"get": 5, "put": 5, "query": 7, "batch_write": 10, "batch_get": 8},
    "aiodynamo_aiohttp": {"get": 1.5, "put": 1.5, "query": 2.5, "batch_write": 2, "batch_get": 2},
    "pydynox_pydantic": {"get": 1.5, "put": 1.5, "query": 2.2, "batch_write": 1.6, "batch_get": 2.2},
    "pydynox_dict": {"get": 1.0, "put": 1.0, "query": 1.0, "batch_write": 1.0, "batch_get": 1.1},
    "dyntastic_model": dict(_MAPPERS),
    "dynantic_model": dict(_MAPPERS),
}
"""Client CPU against the canned server."""

UNKNOWN_FIELDS: dict[str, dict[str, float]] = {"pynamodb_typed": {"query": 10}}
"""The same, with two fields in each item that the model does not know."""

ENGINE: dict[str, dict[str, float]] = {"pynamodb_typed": {"query": 4}}
"""Wall time on a real engine."""

COLD_OF_PYNAMODB_PYDANTIC = 1.05
"""CPU of a cold import with a first client, at most this many times that of PynamoDB with pydantic."""

MEMORY_GROWTH_MB = 50
"""How much memory may grow at the most while 100,000 items are iterated."""
