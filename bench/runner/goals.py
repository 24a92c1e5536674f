"""The goals of the project, each as a line: ratio, goal, pass or short."""

from dataclasses import asdict, dataclass


@dataclass
class Goal:
    problem: str
    what: str
    value: str
    goal: str
    verdict: str  # pass, short, not measured
    more: str = ""

    def line(self):
        text = f"{self.problem:<4} {self.verdict:<13} {self.value:>9}  goal {self.goal:<9} {self.what}"
        return text + (f" ({self.more})" if self.more else "")

    def as_dict(self):
        return asdict(self)


def number(x):
    if x is None:
        return "-"
    if x == 0 or 0.01 <= abs(x) < 1000:
        return f"{x:.3g}"
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.2g}"


def at_most(problem, what, value, goal, unit="x", more="", why=""):
    return _judge(problem, what, value, goal, unit, more, why, "<=", value is not None and value <= goal)


def at_least(problem, what, value, goal, unit="x", more="", why=""):
    return _judge(problem, what, value, goal, unit, more, why, ">=", value is not None and value >= goal)


def _judge(problem, what, value, goal, unit, more, why, sign, good):
    wanted = f"{sign} {number(goal)}{unit}"
    if value is None:
        return Goal(problem, what, "-", wanted, "not measured", why or "no result")
    return Goal(problem, what, number(value) + unit, wanted, "pass" if good else "short", more)


RING, REACTOR = "cofork (ring)", "cofork (reactor)"


def limit_goal(problem, what, results, case, series, limit, goal, q=0.5, ours=(RING, REACTOR), between=()):
    """How many times the time of `limit` cofork takes; judged on the ring, the reactor is told. `between`: contenders that do
    more of what cofork has to, each with a word for it: how many times the limit they take."""
    value = results.ratio(case, ours[0], limit, series, q)
    told = [("reactor", results.ratio(case, ours[1], limit, series, q))]
    told += [(word, results.ratio(case, name, limit, series, q)) for word, name in between]
    more = ", ".join(f"{word} {number(ratio)}x" for word, ratio in told if ratio is not None)
    return at_most(problem, what, value, goal, more=more, why=results.why_missing(case, ours[0], limit))
