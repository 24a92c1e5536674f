"""P7: how long the caller's loop stands still."""

from runner.goals import REACTOR, RING, at_most, number
from runner.machine import available_gib
from runner.plan import Case

TITLE = "How long the caller's loop stands still when workers start"
SERIES, UNIT = "start_ns", "us"
BALLAST = (0, 1024, 4096)  # MiB


def _name(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else "5 MiB"


def cases(bench):
    found = []
    for mib in BALLAST:
        missing = ""
        if bench.quick and mib > 1024:
            missing = "left out by --quick"
        elif available_gib() < 1.5 * mib / 1024 + 1:
            missing = "not enough memory"
        found.append(Case(_name(mib), bench.cofork("p07_stall-cofork", "--ballast", mib, "--rounds", 3), missing))
    return found


def goals(r):
    lines = []
    for mib in BALLAST:
        case = _name(mib)
        why = r.why_missing(case, RING)
        quiet = r.figure(case, RING, "quiet_ns")
        for series, what in (("start_ns", "8 workers of a pool start"), ("replace_ns", "a worker of a pool is replaced")):
            stall = r.figure(case, RING, series)
            other = r.figure(case, REACTOR, series)
            lines.append(at_most(
                "P7", f"stand-still when {what}, caller of {case}", stall and stall / 1e6, 0.2, unit=" ms",
                more=f"reactor {number(other and other / 1e6)} ms, when nothing happens {number(quiet and quiet / 1e6)} ms", why=why,
            ))
        lines.append(at_most(
            "P7", f"stand-still at a snapshot, caller of {case}: over that at a bare fork",
            r.ratio(case, (RING, "snapshot_ns"), (RING, "fork_ns"), None), 1.1,
            more=f"reactor {number(r.ratio(case, (REACTOR, 'snapshot_ns'), (REACTOR, 'fork_ns'), None))}x", why=why,
        ))
    return lines


def plot(r):
    lines = {}
    for series, name in (("fork_ns", "a bare fork"), ("snapshot_ns", "snapshot"), ("start_ns", "pool: 8 workers start"),
                         ("replace_ns", "pool: one is replaced")):
        points = [(max(mib, 5), r.figure(_name(mib), RING, series)) for mib in BALLAST]
        lines[name] = [(x, y / 1e6) for x, y in points if y]
    return {"kind": "lines", "x": "MiB in the caller", "y": "milliseconds without a turn of the loop", "lines": lines,
            "logx": True, "log": True}
