"""P11: the seed's ten sleeps of one second on eight workers."""

from runner.goals import REACTOR, RING, at_most, number
from runner.plan import Case

TITLE = "Ten sleeps of one second on eight workers, from nothing"
SERIES, UNIT = "total_ns", "ms"
CASE = "cold"
QUICK_MS = 200


def cases(bench):
    ms = bench.size(1000, QUICK_MS)
    sleep = ["--sleep-ms", ms]
    found = [
        bench.program("limit: fork eight, claim, reap", "limit-claim", "--cold", 1, "--work", "sleep", "--workers", 8, "--items", 10,
                      "--mean", ms, "--rounds", 1),
        *bench.cofork("p11_sleep-cofork", *sleep),
        bench.program("std::thread pool", "p11_sleep-threads", *sleep),
        bench.python("ProcessPoolExecutor", "p11_sleep/process_pool_executor.py", *sleep),
        bench.python("multiprocessing.Pool", "p11_sleep/multiprocessing_pool.py", *sleep),
        bench.python("joblib", "p11_sleep/joblib_parallel.py", *sleep, module="joblib", most_rounds=3),
        bench.python("GNU parallel", "p11_sleep/gnu_parallel.py", *sleep, needs="parallel"),
    ]
    return [Case(CASE, found)]


def goals(r):
    """A quick run sleeps less: then the same 10 ms on top are asked for."""
    took = r.figure(CASE, RING, SERIES)
    other = r.figure(CASE, REACTOR, SERIES)
    goal = 2.01 if took is None or took > 2e9 else 2 * QUICK_MS / 1000 + 0.01
    return [
        at_most(
            "P11", "ten sleeps on eight workers", took and took / 1e9, goal, unit=" s",
            more=f"reactor {number(other and other / 1e9)} s", why=r.why_missing(CASE, RING),
        )
    ]


def plot(r):
    return {"kind": "bars", "y": "milliseconds", "scale": 1_000_000, "log": False, "series": SERIES}
