"""P12: what a call of parallel adds to compile time and size."""

from runner.goals import at_most, number
from runner.plan import Case

TITLE = "What one call of parallel() adds to a file"
SERIES, UNIT = "compile_ns", "ms"
CASE = "one file"
PLAIN, OURS = "plain Asio coroutine", "with parallel()"


def cases(bench):
    return [
        Case(CASE, [
            bench.python(PLAIN, "p12_compile/compile.py", bench.build, "plain"),
            bench.python(OURS, "p12_compile/compile.py", bench.build, "parallel"),
        ])
    ]


def _added(r, series):
    ours, plain = (r.figure(CASE, name, series) for name in (OURS, PLAIN))
    return (ours - plain) / 1024 if ours and plain else None


def goals(r):
    why = r.why_missing(CASE, PLAIN, OURS)
    return [
        at_most("P12", "processor time to compile a file that calls parallel once: over a plain Asio coroutine",
                r.ratio(CASE, OURS, PLAIN, SERIES), 1.3, why=why),
        at_most("P12", "code and data that it adds to the object file", _added(r, "object_bytes"), 60, unit=" KiB",
                more=f"to the stripped program, with the library in it: {number(_added(r, 'program_bytes'))} KiB", why=why),
    ]


def plot(r):
    return {"kind": "bars", "y": "milliseconds of processor time", "scale": 1_000_000, "log": False, "series": SERIES}
