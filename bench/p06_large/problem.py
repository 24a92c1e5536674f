"""P6: results and items of 64 KiB to 256 MiB."""

from runner.goals import REACTOR, RING, at_least, number
from runner.machine import available_gib
from runner.plan import Case

TITLE = "Large results and items, one at a time, one worker"
SERIES, UNIT = "call_ns", "us"
KIB = 1024
SIZES = {"64 KiB": 64 * KIB, "1 MiB": KIB * KIB, "16 MiB": 16 * KIB * KIB, "256 MiB": 256 * KIB * KIB}
CALLS = {"64 KiB": (200, 20), "1 MiB": (50, 10), "16 MiB": (10, 3), "256 MiB": (3, 1)}
WAYS = ("pipe", "vmsplice", "readv", "arena")
LIMITS = [f"limit: {way}" for way in WAYS]
DIRECTIONS = ("result", "item")


def cases(bench):
    return [_case(bench, direction, size) for direction in DIRECTIONS for size in SIZES]


def _case(bench, direction, size):
    calls = bench.size(*CALLS[size])
    work = ["--direction", direction, "--size", SIZES[size], "--calls", calls]
    missing = ""
    if size == "256 MiB" and bench.quick:
        missing = "left out by --quick"
    elif available_gib() < 8 * SIZES[size] / (1 << 30) + 1:
        missing = "not enough memory"
    found = [bench.program(f"limit: {way}", "limit-transfer", "--by", way, "--place", "cross", *work) for way in WAYS]
    found += bench.cofork("p06_large-cofork", "--place", "cross", *work)
    if direction == "result" and size != "256 MiB":
        found.append(bench.python("ProcessPoolExecutor", "p06_large/process_pool_executor.py", *work))
    return Case(f"{direction} of {size}", found, missing)


def goals(r):
    lines = []
    for direction in DIRECTIONS:
        for size in SIZES:
            case = f"{direction} of {size}"
            best = r.best(case, LIMITS, SERIES)
            lines.append(at_least(
                "P6", f"{case}: speed over the best mechanism", best and r.ratio(case, best, RING, SERIES), 0.8,
                more=f"{best}; reactor {number(r.ratio(case, best, REACTOR, SERIES))}x" if best else "",
                why=r.why_missing(case, RING),
            ))
    return lines


def plot(r):
    lines = {}
    for name in (*LIMITS, RING, REACTOR, "ProcessPoolExecutor"):
        points = [(bytes_ / (KIB * KIB), bytes_, r.figure(f"result of {size}", name, SERIES)) for size, bytes_ in SIZES.items()]
        lines[name] = [(x, n / ns) for x, n, ns in points if ns]
    return {"kind": "lines", "x": "MiB of one result", "y": "GB/s", "lines": lines, "logx": True}
