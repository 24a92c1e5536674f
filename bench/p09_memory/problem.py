"""P9: memory of an idle worker, and the parent's own per worker."""

from runner.goals import RING, REACTOR, at_most, number
from runner.plan import Case

TITLE = "Memory of an idle worker, and of the parent for it"
SERIES, UNIT = "worker_uss_kib", "KiB"
FEW, MANY = 16, 64


def cases(bench):
    return [Case(f"{n} workers", bench.cofork("p09_memory-cofork", "--workers", n, most_rounds=7)) for n in (FEW, MANY)]


def _parent_per_worker(r, name):
    few, many = (r.figure(f"{n} workers", name, "parent_kib") for n in (FEW, MANY))
    return (many - few) / (MANY - FEW) if few and many else None


def goals(r):
    case = f"{FEW} workers"
    why = r.why_missing(case, RING)
    kib = r.figure(case, RING, SERIES)
    bare = r.figure(case, RING, "fork_uss_kib")
    return [
        at_most(
            "P9", "memory of an idle worker (USS): over a bare fork of the same process",
            r.ratio(case, (RING, SERIES), (RING, "fork_uss_kib"), None), 1.2, more=f"{number(kib)} KiB and {number(bare)} KiB", why=why,
        ),
        at_most(
            "P9", "parent's own memory for each worker", _parent_per_worker(r, RING), 64, unit=" KiB",
            more=f"reactor {number(_parent_per_worker(r, REACTOR))} KiB", why=why,
        ),
    ]


def plot(r):
    return {"kind": "bars", "y": "KiB of its own, median worker", "scale": 1, "log": False, "series": SERIES}
