"""P4: a million trivial items, as parallel and as stream, and the parent's memory."""

from runner.goals import at_most, limit_goal
from runner.plan import Case

TITLE = "1,000,000 trivial items, warm pool of two workers"
SERIES, UNIT = "total_ns", "ms"
LIMIT = "limit: batches by pipes"
ACCOUNTED = "limit: the same, each item accounted for"
CASE = "warm"
STREAM = "cofork stream"


def cases(bench):
    rounds = ["--items", bench.size(1_000_000, 100_000), "--rounds", 3]
    found = [
        bench.program(LIMIT, "limit-batches", *rounds),
        bench.program(ACCOUNTED, "limit-batches", "--accounted", 1, *rounds),
        *bench.cofork("p04_million-cofork_parallel", *rounds),
        *bench.cofork("p04_million-cofork_stream", *rounds, verb=" stream"),
        bench.program("serial", "p02_many_small-serial", *rounds),
        bench.program("std::thread pool, 512 items a task", "p02_many_small-thread_pool", "--chunk", 512, *rounds),
        bench.program("oneTBB", "p02_many_small-onetbb", *rounds),
        bench.python("multiprocessing.Pool", "p02_many_small/multiprocessing_pool.py", *rounds),
    ]
    return [Case(CASE, found)]


def _growth(r, name):
    """KiB that the parent's peak grew by between its first and its last round."""
    rounds = r.rounds(CASE, name, "peak_kib")
    return max(peaks[-1] - peaks[1] for peaks in rounds) if rounds else None


def goals(r):
    stream = (f"{STREAM} (ring)", f"{STREAM} (reactor)")
    between = [("hand-written, each item accounted for", ACCOUNTED)]
    lines = [
        limit_goal("P4", "a million trivial items, parallel: over the limit", r, CASE, SERIES, LIMIT, 2, between=between),
        limit_goal("P4", "a million trivial items, stream: over the limit", r, CASE, SERIES, LIMIT, 2, ours=stream, between=between),
    ]
    for name in ("cofork (ring)", stream[0]):
        # Flat: less than a page of growth for each ten thousand items that passed after the first round.
        lines.append(at_most(
            "P4", f"growth of the parent's peak after its first round, {name}", _growth(r, name), 256, unit=" KiB",
            why=r.why_missing(CASE, name),
        ))
    return lines


def plot(r):
    return {"kind": "bars", "y": "milliseconds, median", "scale": 1_000_000, "log": True, "series": SERIES}
