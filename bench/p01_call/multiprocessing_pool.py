"""One warm call of CPython's multiprocessing.Pool."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:
        peer.time_calls(lambda i: pool.apply(peer.add_one, (i,)))
