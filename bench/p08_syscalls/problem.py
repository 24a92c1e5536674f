"""P8: the parent's system calls per item, of the programs of P1 and P2."""

import shutil

from runner.goals import REACTOR, RING, at_most, number
from runner.plan import Case

TITLE = "System calls of the parent per item"
SERIES, UNIT = "calls_per_item", "calls"


def _counted(bench, contender, *counting):
    command = [*map(str, counting), *contender.command]
    counter = bench.python(contender.name, "p08_syscalls/count.py", *command, env=contender.env, most_rounds=3)
    counter.missing = contender.missing or ("" if shutil.which("strace") else "strace is not installed")
    return counter


def cases(bench):
    calls = bench.size(1000, 300)
    one = ["--calls", calls, 2 * calls, 1.1]  # of each call a tenth again is warm-up
    many = ["--rounds", 2, bench.size(22, 12), 10000]
    return [
        Case("one warm call", [
            _counted(bench, bench.program("limit: blocking pipes", "limit-pingpong"), *one),
            *(_counted(bench, c, *one) for c in bench.cofork("p01_call-cofork")),
        ]),
        Case("10,000 trivial items", [
            _counted(bench, bench.program("limit: batches by pipes", "limit-batches"), *many),
            *(_counted(bench, c, *many) for c in bench.cofork("p02_many_small-cofork")),
        ]),
    ]


def _which(r, case):
    names = r.data.get(case, {}).get(RING, {})
    calls = [(r.figure(case, RING, s), s.removesuffix("_per_item")) for s in names if s != SERIES]
    return ", ".join(f"{name} {number(n)}" for n, name in sorted(calls, reverse=True)[:4])


def goals(r):
    return [
        at_most(
            "P8", f"system calls of the parent, {case}: per item", r.figure(case, RING, SERIES), goal, unit="",
            more=f"{_which(r, case)}; reactor {number(r.figure(case, REACTOR, SERIES))}", why=r.why_missing(case, RING),
        )
        for case, goal in (("one warm call", 2.5), ("10,000 trivial items", 0.02))
    ]


def plot(r):
    return {"kind": "bars", "y": "system calls per item", "scale": 1, "log": True, "series": SERIES}
