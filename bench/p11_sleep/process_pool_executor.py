"""The seed's example by ProcessPoolExecutor."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


def work(f, items):
    with ProcessPoolExecutor(8) as pool:
        return list(pool.map(f, items))


if __name__ == "__main__":
    peer.time_sleeps(work)
