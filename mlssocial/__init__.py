"""
Data mapper for MLS listings and social posts in one DynamoDB table.

This is the only door: every public name is in ``__all__``, and is loaded when it is first used, so that importing the package,
and the command line's ``--help``, cost next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import keys as keys
    from . import streams as streams
    from .audit import AuditReport as AuditReport
    from .audit import audit_table as audit_table
    from .batch import BatchResult as BatchResult
    from .crypto import KeyProvider as KeyProvider
    from .crypto import new_token_key as new_token_key
    from .drift import Finding as Finding
    from .entities import Address as Address
    from .entities import ListingData as ListingData
    from .entities import ListingStatus as ListingStatus
    from .entities import MLSConnectionData as MLSConnectionData
    from .entities import PerformanceMetricsData as PerformanceMetricsData
    from .entities import Photo as Photo
    from .entities import Platform as Platform
    from .entities import PlatformMetrics as PlatformMetrics
    from .entities import PostStatus as PostStatus
    from .entities import SocialConnectionData as SocialConnectionData
    from .entities import SocialPostData as SocialPostData
    from .exceptions import BatchIncompleteError as BatchIncompleteError
    from .exceptions import ConfigurationError as ConfigurationError
    from .exceptions import DecryptionError as DecryptionError
    from .exceptions import ExecutorError as ExecutorError
    from .exceptions import FeedError as FeedError
    from .exceptions import InvalidCursorError as InvalidCursorError
    from .exceptions import InvalidExportError as InvalidExportError
    from .exceptions import InvalidItemError as InvalidItemError
    from .exceptions import InvalidKeyError as InvalidKeyError
    from .exceptions import InvalidRecordError as InvalidRecordError
    from .exceptions import ItemAlreadyExistsError as ItemAlreadyExistsError
    from .exceptions import ItemNotFoundError as ItemNotFoundError
    from .exceptions import MigrationLockedError as MigrationLockedError
    from .exceptions import MissingExtraError as MissingExtraError
    from .exceptions import MLSSocialError as MLSSocialError
    from .exceptions import OutcomeUnknownError as OutcomeUnknownError
    from .exceptions import PlaintextTokensWarning as PlaintextTokensWarning
    from .exceptions import SkippedRecordError as SkippedRecordError
    from .exceptions import StaleItemError as StaleItemError
    from .exceptions import StoreError as StoreError
    from .exceptions import TransactionCanceledError as TransactionCanceledError
    from .exceptions import UnreadableItemWarning as UnreadableItemWarning
    from .exceptions import WrongEntityError as WrongEntityError
    from .explained import Explanation as Explanation
    from .export import ExportReport as ExportReport
    from .export import export_table as export_table
    from .managers import ALL_USERS as ALL_USERS
    from .managers import Refreshed as Refreshed
    from .migrations import MigrationReport as MigrationReport
    from .migrations import Migrations as Migrations
    from .models import Item as Item
    from .models import Listing as Listing
    from .models import MLSConnection as MLSConnection
    from .models import PerformanceMetrics as PerformanceMetrics
    from .models import SocialConnection as SocialConnection
    from .models import SocialPost as SocialPost
    from .models import check_table as check_table
    from .models import create_table as create_table
    from .notices import on_write as on_write
    from .operations import Capacity as Capacity
    from .operations import Operation as Operation
    from .operations import count_capacity as count_capacity
    from .operations import on_operation as on_operation
    from .propagation import Propagation as Propagation
    from .purge import PurgePlan as PurgePlan
    from .purge import PurgeReport as PurgeReport
    from .purge import PurgeScope as PurgeScope
    from .purge import plan_purge as plan_purge
    from .purge import purge_items as purge_items
    from .reseal import ResealReport as ResealReport
    from .reseal import TokenFailure as TokenFailure
    from .reseal import reseal_tokens as reseal_tokens
    from .restore import Conflict as Conflict
    from .restore import RestoreReport as RestoreReport
    from .restore import restore_table as restore_table
    from .results import Page as Page
    from .results import Results as Results
    from .rollups import MetricsRow as MetricsRow
    from .settings import Settings as Settings
    from .settings import configure as configure
    from .status import TableStatus as TableStatus
    from .status import table_status as table_status
    from .tenants import UserManagers as UserManagers
    from .tenants import for_user as for_user
    from .tokens import DataKey as DataKey
    from .tokens import Token as Token
    from .transactions import Transaction as Transaction
    from .transactions import transaction as transaction
    from .transforms import DELETE as DELETE
    from .upgrades import upgrade as upgrade

_HOMES = {
    "audit": "AuditReport audit_table",
    "drift": "Finding",
    "batch": "BatchResult",
    "crypto": "KeyProvider new_token_key",
    "entities": (
        "Address ListingData ListingStatus MLSConnectionData PerformanceMetricsData Photo Platform PlatformMetrics PostStatus "
        "SocialConnectionData SocialPostData"
    ),
    "exceptions": (
        "BatchIncompleteError ConfigurationError DecryptionError ExecutorError FeedError InvalidCursorError InvalidExportError "
        "InvalidItemError InvalidKeyError InvalidRecordError ItemAlreadyExistsError ItemNotFoundError MigrationLockedError "
        "MissingExtraError MLSSocialError OutcomeUnknownError PlaintextTokensWarning SkippedRecordError StaleItemError "
        "StoreError TransactionCanceledError UnreadableItemWarning WrongEntityError"
    ),
    "explained": "Explanation",
    "export": "ExportReport export_table",
    "managers": "ALL_USERS Refreshed",
    "migrations": "MigrationReport Migrations",
    "models": "Item Listing MLSConnection PerformanceMetrics SocialConnection SocialPost check_table create_table",
    "notices": "on_write",
    "operations": "Capacity Operation count_capacity on_operation",
    "propagation": "Propagation",
    "reseal": "ResealReport TokenFailure reseal_tokens",
    "purge": "PurgePlan PurgeReport PurgeScope plan_purge purge_items",
    "restore": "Conflict RestoreReport restore_table",
    "results": "Page Results",
    "rollups": "MetricsRow",
    "settings": "Settings configure",
    "status": "TableStatus table_status",
    "tenants": "UserManagers for_user",
    "tokens": "DataKey Token",
    "transactions": "Transaction transaction",
    "transforms": "DELETE",
    "upgrades": "upgrade",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

_MODULES = ("keys", "streams")

__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
