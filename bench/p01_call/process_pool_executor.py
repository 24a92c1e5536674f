"""One warm call of CPython's ProcessPoolExecutor."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        peer.time_calls(lambda i: pool.submit(peer.add_one, i).result())
