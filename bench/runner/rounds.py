"""Runs the contenders of a case in turn, again and again, and collects what they print."""

import json
import os
import signal
import subprocess
import sys

from runner.results import Results

TIME_LIMIT = 300  # seconds for one run of one contender


def tell(text):
    print(text, file=sys.stderr, flush=True)


class Failed(Exception):
    pass


def run_one(command, env=None):
    """Runs a program in a process group of its own; the lines of JSON that it printed. Nothing of it is left behind."""
    child = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {TIME_LIMIT} s") from None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    if child.returncode != 0:
        last = err.strip().splitlines()[-1:] or [""]
        raise Failed(f"ended with {child.returncode}: {last[0]}")
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise Failed("printed no figures")
    return lines


def run_case(problem, case, rounds, results):
    if case.missing:
        results.miss(case.name, "", case.missing)
        tell(f"{problem}: {case.name}: not measured: {case.missing}")
        return
    able = []
    for c in case.contenders:
        if c.missing:
            results.miss(case.name, c.name, c.missing)
            tell(f"{problem}: {case.name}: missing: {c.name}: {c.missing}")
        else:
            able.append(c)
    for number in range(rounds):
        tell(f"{problem}: {case.name}: round {number + 1} of {rounds}")
        turn = number % max(len(able), 1)
        for c in able[turn:] + able[:turn]:
            if number >= c.most_rounds or c.name in results.missing.get(case.name, {}):
                continue
            try:
                results.add(case.name, c.name, run_one(c.command, c.env))
            except Failed as e:
                results.miss(case.name, c.name, str(e))
                tell(f"{problem}: {case.name}: {c.name}: {e}")


def run_problem(name, cases, rounds):
    results = Results()
    for case in cases:
        run_case(name, case, rounds, results)
    results.compare_checks()
    for fault in results.faults:
        tell(f"{name}: {fault}")
    return results
