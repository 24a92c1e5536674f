#!/usr/bin/env python3
"""What the quickstart prints is right, and its sleeps were slept at the same time; it says what it cannot do.

usage: quickstart_test.py QUICKSTART
"""

import re
import subprocess
import sys

# What is printed first, the sum, and between which seconds it has to be there.
LINES = [
    # Ten sleeps of a second on eight workers are two, one after the other; more than four would be fewer than four workers.
    ("ten items of a second, eight workers", 110, 2, 4),
    # The tenth starts after nine pauses.
    ("the same, their starts 250 ms apart", 110, 3.25, 6),
    ("ten thousand trivial items", 50015000, 0, 5),
]


def faults(text):
    printed = re.findall(r"^(.+): the sum is (\d+), after ([\d.e+-]+) s$", text, re.MULTILINE)
    if [what for what, _, _ in printed] != [what for what, _, _, _ in LINES]:
        yield "other lines than expected"
        return
    for (what, total, took), (_, expected, least, most) in zip(printed, LINES):
        if int(total) != expected:
            yield f"{what}: the sum is not {expected}"
        if not least <= float(took) < most:
            yield f"{what}: not between {least} and {most} s"


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with open("/dev/full", "w") as full:
        unheard = subprocess.Popen([sys.argv[1]], stdout=full, stderr=subprocess.PIPE, text=True)
    run = subprocess.run([sys.argv[1]], capture_output=True, text=True, timeout=120)
    print(run.stdout + run.stderr, end="")
    found = list(faults(run.stdout))
    said = unheard.communicate(timeout=120)[1]
    if unheard.returncode != 1 or "could not be written" not in said:
        found.append(f"stdout is full: status {unheard.returncode}, {said!r}")
    wrong = subprocess.run([sys.argv[1], "--wrokers"], capture_output=True, text=True, timeout=10)
    if wrong.returncode != 2 or not wrong.stderr.startswith("usage:"):
        found.append(f"an argument: status {wrong.returncode}, {wrong.stderr!r}")
    for fault in found:
        print(fault)
    return 1 if found or run.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
