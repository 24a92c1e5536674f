"""P2: 10,000 trivial items in a warm pool, the seed's warning."""

from runner.goals import REACTOR, RING, at_least, at_most, limit_goal
from runner.plan import Case

TITLE = "10,000 trivial items, warm pool of two workers"
SERIES, UNIT = "total_ns", "us"
LIMIT = "limit: batches by pipes"
ACCOUNTED = "limit: the same, each item accounted for"
THREADS = "std::thread pool, 512 items a task"
CASE = "warm"


def cases(bench):
    rounds = ["--rounds", bench.size(15, 5)]
    found = [
        bench.program(LIMIT, "limit-batches", *rounds),
        bench.program(ACCOUNTED, "limit-batches", "--accounted", 1, *rounds),
        *bench.cofork("p02_many_small-cofork", *rounds),
        bench.program("serial", "p02_many_small-serial", *rounds),
        bench.program(THREADS, "p02_many_small-thread_pool", "--chunk", 512, *rounds),
        bench.program("std::thread pool, an item a task", "p02_many_small-thread_pool", *rounds),
        bench.program("oneTBB", "p02_many_small-onetbb", *rounds),
        bench.python("CPython, serial", "p02_many_small/python_serial.py", *rounds),
        bench.python("ProcessPoolExecutor, as the seed", "p02_many_small/process_pool_executor.py"),
        bench.python("multiprocessing.Pool", "p02_many_small/multiprocessing_pool.py", *rounds),
        bench.python("joblib", "p02_many_small/joblib_parallel.py", module="joblib"),
        bench.mpi("mpi4py.futures, chunks of 512", "p02_many_small/mpi_futures.py", *rounds),
        bench.workerpool("Node workerpool", "p02_many_small/workerpool.js"),
    ]
    return [Case(CASE, found)]


def goals(r):
    seed = "ProcessPoolExecutor, as the seed"
    python = "CPython, serial"
    between = [("hand-written, each item accounted for", ACCOUNTED)]
    return [
        limit_goal("P2", "10,000 trivial items: over the limit", r, CASE, SERIES, LIMIT, 1.5, between=between),
        limit_goal("P2", "10,000 trivial items: over a std::thread pool, 512 items a task", r, CASE, SERIES, THREADS, 1),
        limit_goal("P2", "10,000 trivial items: over a std::thread pool, an item a task", r, CASE, SERIES, "std::thread pool, an item a task", 1),
        at_least(
            "P2", "10,000 trivial items: times faster than ProcessPoolExecutor as the seed calls it",
            r.ratio(CASE, seed, RING, SERIES), 10000, more=f"reactor {r.ratio(CASE, seed, REACTOR, SERIES) or 0:.0f}x",
            why=r.why_missing(CASE, seed, RING),
        ),
        at_most(
            "P2", "10,000 trivial items: over CPython's own serial loop", r.ratio(CASE, RING, python, SERIES), 1,
            why=r.why_missing(CASE, python, RING),
        ),
    ]


def plot(r):
    return {"kind": "bars", "y": "microseconds, median", "scale": 1000, "log": True, "series": SERIES}
