"""What came out of a problem, and the figures that are taken from it."""

import statistics


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def level(values, q):
    return statistics.median(values) if q == 0.5 else quantile(values, q)


class Results:
    """By case, contender and series: the rounds, each a list of numbers.

    A figure of one contender is the median over the rounds of the round's quantile (its median, unless said otherwise). A
    ratio is taken round by round, from two runs that followed each other, and then its median.
    """

    def __init__(self, data=None, missing=None, faults=None):
        self.data = data or {}
        self.missing = missing or {}  # by case and contender: why
        self.faults = faults or []

    def add(self, case, contender, lines):
        into = self.data.setdefault(case, {}).setdefault(contender, {})
        for line in lines:
            into.setdefault(line["series"], []).append({"values": line["values"], "check": line["check"]})

    def miss(self, case, contender, why):
        self.missing.setdefault(case, {})[contender] = why

    def rounds(self, case, contender, series):
        return [r["values"] for r in self.data.get(case, {}).get(contender, {}).get(series, []) if r["values"]]

    def figure(self, case, contender, series, q=0.5):
        rounds = self.rounds(case, contender, series)
        return statistics.median(level(r, q) for r in rounds) if rounds else None

    def ratio(self, case, over, under, series, q=0.5):
        """over / under; both are contenders, or (contender, series)."""
        a, b = (pair if isinstance(pair, tuple) else (pair, series) for pair in (over, under))
        pairs = list(zip(self.rounds(case, *a), self.rounds(case, *b)))
        ratios = [level(x, q) / level(y, q) for x, y in pairs if level(y, q) > 0]
        return statistics.median(ratios) if ratios else None

    def best(self, case, contenders, series):
        """The contender with the least figure."""
        known = [(self.figure(case, c, series), c) for c in contenders]
        known = [(f, c) for f, c in known if f is not None]
        return min(known)[1] if known else None

    def why_missing(self, case, *contenders):
        if case not in self.data and case not in self.missing:
            return f"no case {case!r} in this run"
        reasons = self.missing.get(case, {})
        for c in ("", *contenders):
            if c in reasons:
                return f"{c or case}: {reasons[c]}"
        return "no result"

    def compare_checks(self):
        """All contenders of a case did the same work, or somebody did not do it."""
        for case, contenders in self.data.items():
            seen = {}
            for contender, series in contenders.items():
                for name, rounds in series.items():
                    for r in rounds:
                        if r["check"]:
                            # The sum over single calls depends on how many there were: peers make fewer.
                            work = (name, len(r["values"]) if name == "call_ns" else 0)
                            seen.setdefault(work, {}).setdefault(r["check"], set()).add(contender)
            for (name, _), sums in seen.items():
                if len(sums) > 1:
                    self.faults.append(f"{case}: not all did the same work, {name}: {({c: sorted(w) for c, w in sums.items()})}")
