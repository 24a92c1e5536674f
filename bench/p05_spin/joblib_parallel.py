"""Items of processor time by joblib."""

import sys
from pathlib import Path

from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    with Parallel(n_jobs=peer.number("--workers", 2)) as pool:
        peer.time_spins(lambda spin, items: pool(delayed(spin)(x) for x in items))
