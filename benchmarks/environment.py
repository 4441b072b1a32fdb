"""What every process here has around it, and the description of the machine that results are published with."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "mlssocial", "pynamodb", "pydantic", "pydantic-core", "boto3", "botocore", "aiodynamo", "aiohttp", "pydynox", "dyntastic",
    "dynantic", "msgspec", "httptools",
)  # fmt: skip
OUTPUT_OPTIONS = ("--json", "--markdown")


def clean() -> dict[str, str]:
    """Give the environment of clients: made-up credentials, a region, and nothing of the caller's that would interfere."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MLSSOCIAL_", "PYTHON")) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def describe(module: str) -> dict[str, str]:
    """Describe the machine, the packages and the command, for whoever reads the figures later."""
    packages = {name: _version(name) for name in PACKAGES}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": command(module, sys.argv[1:]),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load average at the start": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {found}" for name, found in packages.items() if found),
    }


def command(module: str, arguments: list[str]) -> str:
    """Give the command that makes the same figures, without the names of the files that they are written to."""
    kept: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in OUTPUT_OPTIONS:
            next(remaining, None)
        elif not argument.startswith(tuple(f"{option}=" for option in OUTPUT_OPTIONS)):
            kept.append(argument)
    return " ".join(["python -m", module, *kept])


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
