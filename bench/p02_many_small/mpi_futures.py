"""Trivial items by mpi4py.futures, in chunks of 512."""

import sys
from pathlib import Path

from mpi4py.futures import MPIPoolExecutor

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with MPIPoolExecutor(peer.number("--workers", 2)) as pool:
        peer.time_rounds(lambda items: list(pool.map(peer.add_one, items, chunksize=512)))
