"""P1: one warm call, 8 bytes there and back."""

from runner.goals import limit_goal
from runner.plan import Case

TITLE = "One warm call, 8 bytes there and back"
SERIES, UNIT = "call_ns", "us"
LIMIT = "limit: blocking pipes"
LOOP = "a loop by hand, io_uring and epoll"
REGISTERED = "the same, all registered with the kernel"
ASIO = "Asio alone, two pipes"
SPINNING = ("cofork, spinning (ring)", "cofork, spinning (reactor)")


def cases(bench):
    calls = ["--calls", bench.size(2000, 500)]
    few = ["--calls", bench.size(300, 50)]
    return [Case(place, _contenders(bench, place, calls, few)) for place in ("same", "cross", "free")]


def _contenders(bench, place, calls, few):
    where = ["--place", place, *calls]
    found = [bench.program(LIMIT, "limit-pingpong", *where)]
    if place == "cross":
        found.append(bench.program("limit: the worker looks again", "limit-pingpong", "--spin", 1, *where))
        found.append(bench.program("limit: both look again", "limit-pingpong", "--spin", 2, *where))
    found.append(bench.program(LOOP, "limit-ring_pingpong", *where))
    found.append(bench.program(REGISTERED, "limit-ring_pingpong", "--registered", 1, *where))
    found.append(bench.program(ASIO, "p01_call-asio_pipes", *where))
    found += bench.cofork("p01_call-cofork", *where)
    if place == "cross":
        found += bench.cofork("p01_call-cofork", "--spin", 50, *where, verb=", spinning")
    found.append(bench.program("std::thread pool", "p01_call-thread_pool", *where))
    if place == "free":
        found += [
            bench.python("ProcessPoolExecutor", "p01_call/process_pool_executor.py", *few),
            bench.python("multiprocessing.Pool", "p01_call/multiprocessing_pool.py", *few),
            bench.mpi("mpi4py.futures", "p01_call/mpi_futures.py", *few),
            bench.workerpool("Node workerpool", "p01_call/workerpool.js", *few),
        ]
    return found


def goals(r):
    lines = []
    for place in ("same", "cross"):
        for name, q in (("median", 0.5), ("p99", 0.99)):
            lines.append(limit_goal(
                "P1", f"one warm call, {place} processor(s), {name}: over blocking pipes", r, place, SERIES, LIMIT, 1.25, q,
                between=[("a loop by hand", LOOP), ("and all registered", REGISTERED), ("Asio alone", ASIO)],
            ))
    lines.append(limit_goal(
        "P1", "one warm call across processors, spinning allowed: over blocking pipes", r, "cross", SERIES, LIMIT, 0.25, ours=SPINNING,
        between=[("hand-written, both ends looking again", "limit: both look again")],
    ))
    return lines


def plot(r):
    return {"kind": "bars", "y": "microseconds, median", "scale": 1000, "log": True, "series": SERIES}
