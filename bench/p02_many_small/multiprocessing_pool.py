"""Trivial items by multiprocessing.Pool.map, in chunks as it chooses."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with multiprocessing.Pool(peer.number("--workers", 2)) as pool:
        peer.time_rounds(lambda items: pool.map(peer.add_one, items))
