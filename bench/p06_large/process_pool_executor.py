"""Large results by ProcessPoolExecutor."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        peer.time_large(lambda size, value: pool.submit(peer.make_result, size, value).result())
