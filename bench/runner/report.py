"""The results as text: the goals, and a table for each problem."""

from runner.goals import number

SCALES = {"us": 1e3, "ms": 1e6}


def machine_lines(machine, run):
    others = machine["others"]
    lines = [
        f"{machine['date']}, Linux {machine['kernel']}, {machine['cpus']} x {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['compiler']}, release build; {machine['python']}, Node {machine['node']}.",
        f"Revision {run['revision']}; {run['rounds']} rounds, contenders in turn, after a warm-up; `{run['command']}`.",
        f"Load when it began {machine['load_before']:.2f}, when it ended {run['load_after']:.2f}; before it began others used "
        f"{100 * others['busy']:.0f} % of the processors; while it ran the hypervisor took {100 * run['stolen']:.1f} %.",
    ]
    if run["busy"]:
        lines.append("**The machine was busy: these figures are not to be quoted.**")
    if run["quick"]:
        lines.append("**A quick run: few rounds, small amounts.**")
    return lines


def goals_table(goals):
    rows = ["| # | goal | wanted | measured | | |", "|---|---|---|---|---|---|"]
    for g in goals:
        verdict = f"**{g.verdict}**" if g.verdict == "short" else g.verdict
        rows.append(f"| {g.problem} | {g.what} | {g.goal} | {g.value} | {verdict} | {g.more} |")
    return "\n".join(rows)


def problem_table(problem, results):
    series, unit = problem.SERIES, problem.UNIT
    scale = SCALES.get(unit, 1)
    rows = []
    for case, contenders in results.data.items():
        base = next(iter(contenders), None)
        for name in contenders:
            median = results.figure(case, name, series)
            if median is None:
                continue
            rounds = results.rounds(case, name, series)
            many = max(len(r) for r in rounds) >= 100
            tail = number(results.figure(case, name, series, 0.99) / scale) if many else ""
            ratio = results.ratio(case, name, base, series)
            rows.append(f"| {case} | {name} | {number(median / scale)} | {tail} | {number(ratio)} |")
    head = [f"| case | contender | median, {unit} | p99 | over the first |", "|---|---|---|---|---|"]
    return "\n".join(head + rows)


def missing_lines(results):
    lines = []
    for case, reasons in results.missing.items():
        for contender, why in reasons.items():
            lines.append(f"* not measured: {case}{', ' + contender if contender else ''}: {why}")
    return lines + [f"* wrong: {fault}" for fault in results.faults]


def problem_text(name, problem, results, plots):
    parts = [f"### {name}: {problem.TITLE}", ""]
    if name in plots:
        parts += [f"![{problem.TITLE}]({plots[name]})", ""]
    parts += [problem_table(problem, results), ""]
    parts += missing_lines(results)
    parts.append(f"\nBy itself: `bench/run --only {name}`\n")
    return "\n".join(parts)


def whole(run):
    texts = [problem_text(n, p, r, run["plots"]) for n, (p, r) in run["problems"].items()]
    return "\n".join([
        "# Measured", "", "\n".join(machine_lines(run["machine"], run)), "", "## Goals", "", goals_table(run["goals"]), "",
        "## Problems", "", *texts,
    ])
