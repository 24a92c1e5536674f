"""What the figures were measured on, and how busy it was."""

import os
import platform
import subprocess
import time
from pathlib import Path


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def field_of(path, name):
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def processor_times():
    numbers = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    numbers += [0] * (8 - len(numbers))
    return {"idle": numbers[3] + numbers[4], "steal": numbers[7], "all": sum(numbers[:8])}


def shares(before, after):
    """Of all processors' time: how much somebody used, and how much the hypervisor took."""
    whole = max(after["all"] - before["all"], 1)
    return {
        "busy": 1 - (after["idle"] - before["idle"]) / whole,
        "stolen": (after["steal"] - before["steal"]) / whole,
    }


def busy_by_others(seconds=2):
    before = processor_times()
    time.sleep(seconds)
    return shares(before, processor_times())


def available_gib():
    kib = field_of("/proc/meminfo", "MemAvailable").split()[0]
    return int(kib) / (1 << 20) if kib.isdigit() else 0


def describe(compiler):
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "kernel": platform.release().split("-")[0],
        "cpu": field_of("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        "compiler": first_line([compiler, "--version"]),
        "python": first_line(["/usr/bin/python3", "--version"]),
        "node": first_line(["node", "--version"]),
        "load_before": os.getloadavg()[0],
        "others": busy_by_others(),
    }
