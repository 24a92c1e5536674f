"""Items of processor time by ProcessPoolExecutor.map."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with ProcessPoolExecutor(peer.number("--workers", 2)) as pool:
        peer.time_spins(lambda spin, items: list(pool.map(spin, items)))
