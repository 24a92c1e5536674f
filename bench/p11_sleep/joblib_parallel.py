"""The seed's example by joblib."""

import sys
from pathlib import Path

from joblib import Parallel, delayed

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    peer.time_sleeps(lambda f, items: Parallel(n_jobs=8)(delayed(f)(x) for x in items))
