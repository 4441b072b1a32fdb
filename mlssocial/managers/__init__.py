"""Managers: one method an access pattern, at ``Model.objects``."""

from .base import ALL_USERS, AllUsers, EntityManager, ItemManager, Manager
from .listings import ListingManager
from .metrics import PerformanceMetricsManager
from .mls_connections import MLSConnectionManager
from .posts import SocialPostManager
from .social_connections import SocialConnectionManager

__all__ = [
    "ALL_USERS",
    "AllUsers",
    "EntityManager",
    "ItemManager",
    "ListingManager",
    "MLSConnectionManager",
    "Manager",
    "PerformanceMetricsManager",
    "SocialConnectionManager",
    "SocialPostManager",
]
