"""What a timing was made on; figures of two machines, or of one busy and idle, are not held against each other."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CPUINFO = Path("/proc/cpuinfo")


def fingerprint() -> dict[str, Any]:
    """Returns CPU, cores, frequency governor where it can be read, load of the last minute, kernel."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.exists() else None,
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def _cpu() -> str:
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def pin() -> int | None:
    """Keeps this process on one core, the last it may use, so that it is not moved in the middle of a call.

    Returns: that core; None where the system cannot.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core
