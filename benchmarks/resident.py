"""How much memory this process has. It imports next to nothing, since it stands in what cold.py measures."""

from __future__ import annotations

import resource
import sys


def resident_mb() -> float:
    """Give this process's resident memory in MB (10^6 bytes): now on Linux, its peak elsewhere."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123  pathlib would be a part of the figure
            pages = int(statm.read().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return pages * resource.getpagesize() / 1e6
