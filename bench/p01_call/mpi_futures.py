"""One warm call of mpi4py.futures, with workers that Open MPI spawns."""

import sys
from pathlib import Path

from mpi4py.futures import MPIPoolExecutor

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with MPIPoolExecutor(1) as pool:
        peer.time_calls(lambda i: pool.submit(peer.add_one, i).result())
