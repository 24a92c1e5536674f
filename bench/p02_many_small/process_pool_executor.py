"""Trivial items as the seed calls ProcessPoolExecutor: a pool for the call, items one by one."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


def work(items):
    with ProcessPoolExecutor(peer.number("--workers", 2)) as pool:
        return list(pool.map(peer.add_one, items))


if __name__ == "__main__":
    peer.time_rounds(work, warm_up=0)
