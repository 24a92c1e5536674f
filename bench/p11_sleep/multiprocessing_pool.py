"""The seed's example by multiprocessing.Pool, items one by one."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


def work(f, items):
    with multiprocessing.Pool(8) as pool:
        return pool.map(f, items, chunksize=1)


if __name__ == "__main__":
    peer.time_sleeps(work)
