"""P10: a thousand workers, mostly idle."""

from runner.goals import RING, REACTOR, at_most, number
from runner.machine import available_gib
from runner.plan import Case

TITLE = "A pool of 1,000 workers, mostly idle"
SERIES, UNIT = "call_ns", "us"
FEW, MANY = "2 workers", "1,000 workers"


def cases(bench):
    missing = "not enough memory" if available_gib() < 2 else ""
    calls = ["--calls", bench.size(1000, 300)]
    return [
        Case(FEW, bench.cofork("p10_thousand-cofork", "--workers", 2, *calls)),
        Case(MANY, bench.cofork("p10_thousand-cofork", "--workers", 1000, *calls), missing),
    ]


def _growth(r, name):
    few, many = (r.figure(case, name, SERIES) for case in (FEW, MANY))
    return many / few if few and many else None


def goals(r):
    why = r.why_missing(MANY, RING)
    return [
        at_most(
            "P10", "start of 1,000 workers: over as many bare forks", r.ratio(MANY, (RING, "start_ns"), (RING, "bare_forks_ns"), None), 1.3,
            more=f"reactor {number(r.ratio(MANY, (REACTOR, 'start_ns'), (REACTOR, 'bare_forks_ns'), None))}x", why=why,
        ),
        at_most(
            "P10", "one call with 1,000 workers: over that with 2", _growth(r, RING), 1.5,
            more=f"reactor {number(_growth(r, REACTOR))}x", why=why,
        ),
    ]


def plot(r):
    return {"kind": "bars", "y": "microseconds for one call, median", "scale": 1000, "log": False, "series": SERIES}
