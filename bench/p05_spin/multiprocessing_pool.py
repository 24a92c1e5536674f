"""Items of processor time by multiprocessing.Pool.map."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with multiprocessing.Pool(peer.number("--workers", 2)) as pool:
        peer.time_spins(pool.map)
