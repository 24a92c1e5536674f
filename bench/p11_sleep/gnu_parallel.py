"""The seed's example by GNU parallel: a process for each item."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


def work(_, items):
    pause = peer.number("--sleep-ms", 1000) / 1000
    command = ["parallel", "--will-cite", "-k", "-j8", f"sleep {pause}; echo $(({{}} + 1))", ":::", *map(str, items)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(line) for line in out.split()]


if __name__ == "__main__":
    peer.time_sleeps(work)
