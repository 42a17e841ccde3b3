"""What a figure was measured on: a figure without its machine says nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
from pathlib import Path


def describe_machine() -> dict[str, object]:
    """Processor, cores, memory, system, and the versions of what does the work, as JSON values."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION.split()[1],
    }


def python_version() -> str:
    """Such as `CPython 3.11.7`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")
