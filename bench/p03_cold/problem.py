"""P3: 10,000 trivial items from nothing: snapshot, fork, run, reap."""

import statistics

from runner.goals import REACTOR, RING, at_most
from runner.plan import Case
from runner.results import level

TITLE = "10,000 trivial items, cold: snapshot, fork, run, reap"
SERIES, UNIT = "total_ns", "us"
CASE = "cold"


def cases(bench):
    rounds = ["--rounds", bench.size(9, 3)]
    claim = ["--cold", 1, "--work", "add", "--items", 10000, "--step", 512, *rounds]
    return [
        Case(CASE, [
            *bench.cofork("p03_cold-cofork", *rounds),
            bench.program("limit: fork one, claim, reap", "limit-claim", "--workers", 1, *claim),
            bench.program("limit: fork two, claim, reap", "limit-claim", "--workers", 2, *claim),
            bench.program("std::thread pool made for it", "p03_cold-threads", *rounds),
            bench.python("multiprocessing.Pool made for it", "p03_cold/multiprocessing_pool.py"),
        ])
    ]


def _over_fork(r, name):
    """Over one bare fork and wait of the same process, plus 0.2 ms."""
    pairs = zip(r.rounds(CASE, name, SERIES), r.rounds(CASE, name, "fork_ns"))
    ratios = [level(cold, 0.5) / (level(fork, 0.5) + 200_000) for cold, fork in pairs]
    return statistics.median(ratios) if ratios else None


def goals(r):
    return [
        at_most(
            "P3", "10,000 trivial items, cold: over one bare fork and wait + 0.2 ms", _over_fork(r, RING), 1.3,
            more=f"reactor {_over_fork(r, REACTOR) or 0:.3g}x; over hand-written: fork one, claim, reap: "
            f"{r.ratio(CASE, RING, 'limit: fork one, claim, reap', SERIES) or 0:.3g}x",
            why=r.why_missing(CASE, RING),
        )
    ]


def plot(r):
    return {"kind": "bars", "y": "microseconds, median", "scale": 1000, "log": True, "series": SERIES}
