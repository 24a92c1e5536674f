"""docs/performance.md, from bench/performance.md.in and a run."""

from runner import report


def fill(template, run):
    values = {
        "MACHINE": "\n".join(report.machine_lines(run["machine"], run)),
        "GOALS": report.goals_table(run["goals"]),
        "PROBLEMS": "\n".join(report.problem_text(n, p, r, run["plots"]) for n, (p, r) in run["problems"].items()),
    }
    for name, text in values.items():
        template = template.replace(f"@{name}@", text)
    return template
