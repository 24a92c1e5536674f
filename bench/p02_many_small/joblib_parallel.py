"""Trivial items by joblib, with its processes and batches."""

import sys
from pathlib import Path

from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with Parallel(n_jobs=peer.number("--workers", 2)) as pool:
        peer.time_rounds(lambda items: pool(delayed(peer.add_one)(x) for x in items))
