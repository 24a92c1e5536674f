"""P5: items of processor time, equal and log-normal, two workers."""

import statistics

from runner.goals import REACTOR, RING, at_least, at_most, number
from runner.plan import Case
from runner.results import level
from runner.rounds import run_one

TITLE = "Items of 10 us to 10 ms of processor time, two workers"
SERIES, UNIT = "total_ns", "ms"
SIZES = {"10 us": 10_000, "100 us": 100_000, "1 ms": 1_000_000, "10 ms": 10_000_000}
COUNTS = {"10 us": 10_000, "100 us": 2_000, "1 ms": 400, "10 ms": 100}
KINDS = ("equal", "lognormal")
SLICE_NS = 500_000  # what a batch is meant to cost when little is left: lib/pace.cpp
LIMIT = "limit: claim from a shared counter"


def _turn_ns(bench):
    """What a turn of the loop costs here: the least of several, since others can only make it longer."""
    program = bench.program("", "p05_spin-serial", "--items", 200, "--mean", 10_000, "--rounds", 9)
    if program.missing:
        return 2.0
    took = next(line["values"] for line in run_one(program.command) if line["series"] == SERIES)
    return min(took) / 200 / 10_000


def cases(bench):
    turn = _turn_ns(bench)
    found = []
    for size, ns in SIZES.items():
        for kind in KINDS:
            count = max(COUNTS[size] // bench.size(1, 5), 20)
            work = ["--items", count, "--mean", round(ns / turn), "--sizes", kind, "--rounds", 1]
            found.append(Case(f"{size}, {kind}", _contenders(bench, work, peers=kind == "equal" and size in ("100 us", "1 ms"))))
    return found


def _contenders(bench, work, peers):
    found = [
        bench.program("serial", "p05_spin-serial", *work),
        bench.program(LIMIT, "limit-claim", "--work", "spin", *work),
        *bench.cofork("p05_spin-cofork", *work),
        bench.program("std::thread pool", "p05_spin-thread_pool", *work),
        bench.program("oneTBB", "p05_spin-onetbb", *work),
    ]
    if peers:
        spin = [*work, "--library", bench.path("libspin.so")]
        found += [
            bench.python("ProcessPoolExecutor", "p05_spin/process_pool_executor.py", *spin),
            bench.python("multiprocessing.Pool", "p05_spin/multiprocessing_pool.py", *spin),
            bench.python("joblib", "p05_spin/joblib_parallel.py", *spin, module="joblib"),
        ]
    return found


def _share_of_ideal(r, case, name):
    """The ideal: the serial time, shared by two workers of whom each takes the next item when it is free, at no cost."""
    shares = []
    rounds = zip(
        r.rounds(case, "serial", SERIES), r.rounds(case, "serial", "ideal_share_millionths"), r.rounds(case, name, SERIES)
    )
    for serial, share, ours in rounds:
        shares.append(100 * level(serial, 0.5) * share[0] / 1e6 / level(ours, 0.5))
    return statistics.median(shares) if shares else None


def goals(r):
    lines = []
    for size in SIZES:
        for kind in KINDS:
            case = f"{size}, {kind}"
            limit = _share_of_ideal(r, case, LIMIT)
            lines.append(at_least(
                "P5", f"items of {case}: share of the ideal", _share_of_ideal(r, case, RING), 90 if size == "10 us" else 97, unit=" %",
                more=f"reactor {number(_share_of_ideal(r, case, REACTOR))} %, hand-written {number(limit)} %",
                why=r.why_missing(case, "serial", RING),
            ))
    for size, ns in SIZES.items():
        case = f"{size}, equal"
        spread = r.figure(case, RING, "spread_ns")
        lines.append(at_most(
            "P5", f"items of {case}: from the end of the first worker to that of the last, in slices",
            None if spread is None else spread / max(SLICE_NS, ns), 1, unit="", why=r.why_missing(case, RING),
        ))
    return lines


def plot(r):
    lines = {}
    for name in (LIMIT, RING, REACTOR, "std::thread pool", "oneTBB", "ProcessPoolExecutor", "multiprocessing.Pool", "joblib"):
        points = [(ns / 1000, _share_of_ideal(r, f"{size}, equal", name)) for size, ns in SIZES.items()]
        lines[name] = [(x, y) for x, y in points if y is not None]
    return {"kind": "lines", "x": "microseconds of work in an item", "y": "% of the ideal, equal items", "lines": lines, "logx": True}
