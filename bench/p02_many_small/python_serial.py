"""Trivial items in CPython's own loop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
import peer  # noqa: E402


if __name__ == "__main__":
    peer.time_rounds(lambda items: [peer.add_one(x) for x in items])
