"""Managers: one method an access pattern, at ``Model.objects``."""

from .base import ALL_USERS, AllUsers, EntityManager, ItemManager, Manager
from .connections import ConnectionManager, Refreshed
from .listings import ListingManager
from .metrics import PerformanceMetricsManager
from .mls_connections import MLSConnectionManager
from .posts import SocialPostManager
from .queues import QueueManager
from .social_connections import SocialConnectionManager

__all__ = [
    "ALL_USERS",
    "AllUsers",
    "ConnectionManager",
    "EntityManager",
    "ItemManager",
    "ListingManager",
    "MLSConnectionManager",
    "Manager",
    "PerformanceMetricsManager",
    "QueueManager",
    "Refreshed",
    "SocialConnectionManager",
    "SocialPostManager",
]
