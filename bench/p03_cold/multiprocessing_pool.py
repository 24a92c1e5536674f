"""Trivial items from nothing by multiprocessing.Pool.map."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


def work(items):
    with multiprocessing.Pool(peer.number("--workers", 2)) as pool:
        return pool.map(peer.add_one, items)


if __name__ == "__main__":
    peer.time_rounds(work)
