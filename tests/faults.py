#!/usr/bin/env python3
"""Writes docs/faults.md: which test shows that cofork survives which fault.

usage: faults.py SOURCE_ROOT            writes it
       faults.py SOURCE_ROOT --check    complains when it is not what would be written, and about tags without a row

A test names its faults in its tags: [F34]. A row without a test says why.
"""

import re
import sys
from pathlib import Path

# number: (fault, why there is no test; empty when there has to be one)
ROWS = {
    1: ("A worker dies of a signal while it runs an item", ""),
    2: ("A signal from outside kills a worker while it runs an item", ""),
    3: ("A worker is killed while it is idle", ""),
    4: ("A worker is killed before it has read its items", ""),
    5: ("A worker is killed after its result was written", ""),
    6: ("A worker is killed at any byte of its result", ""),
    7: ("A worker is killed while a large item is being written to it", ""),
    8: ("A poisoned item in a batch", ""),
    9: ("Several poisoned items in a batch", ""),
    10: ("A poisoned item that may be tried again", ""),
    11: ("_exit(0) in an item", ""),
    12: ("exit, _exit and quick_exit with a status", ""),
    13: ("std::terminate, a throw out of noexcept, a pure virtual call, abort", ""),
    14: ("longjmp out of f", ""),
    15: ("Overflow of the stack", ""),
    16: ("A crash in a thread that f has started", ""),
    17: ("A crash with a broken heap, a jump into nothing", ""),
    18: ("All workers die at once", ""),
    19: ("A worker dies after its item has succeeded", ""),
    20: ("Core dumps of large workers", ""),
    21: ("A worker is killed for lack of memory", ""),
    22: ("f throws a standard exception", ""),
    23: ("f throws anything else", ""),
    24: ("The text of an exception is endless, hostile, or throws itself", ""),
    25: ("Encoding an item throws", ""),
    26: ("Decoding an item throws in the worker", ""),
    27: ("Encoding a result throws or crashes", ""),
    28: ("Decoding a result throws in the program", ""),
    29: ("A result is longer than allowed", ""),
    30: ("Results of every awkward size", ""),
    31: ("No memory in f, not even for the message", ""),
    32: ("Items or results that hold pointers or references", "refused by the compiler: tests/compile_fail"),
    33: ("Items and results are freed", ""),
    34: ("An item hangs", ""),
    35: ("An item hangs and ignores signals", ""),
    36: ("A worker is stopped", ""),
    37: ("The timeout is the item's, not the batch's", ""),
    38: ("A result and its timeout cross", ""),
    39: ("The program itself stands still for long", ""),
    40: ("The program reads results slowly", ""),
    41: ("A million items at once", ""),
    42: ("Both pipes of a worker are full", ""),
    43: ("A slow item is told and goes on", ""),
    44: ("Locks that other threads hold at the fork", ""),
    45: ("fork fails", ""),
    46: ("pipe fails", ""),
    47: ("io_uring is refused", ""),
    48: ("io_uring is refused later", ""),
    49: ("Pipes cannot be enlarged", ""),
    50: ("The state of a worker can never be made", ""),
    51: ("The state of a worker cannot be made the first time", ""),
    52: ("The k-th system call fails", ""),
    53: ("Workers are replaced after so many items", ""),
    54: ("A pool changes its size while it works", ""),
    55: ("Thousands of workers come and go", ""),
    56: ("A call is cancelled before its items run", ""),
    57: ("A call is cancelled while its items run", ""),
    58: ("Cancellation races with completion", ""),
    59: ("parallel or timer, parallel and something that fails", ""),
    60: ("One of many items fails", ""),
    61: ("The context is stopped and restarted", ""),
    62: ("The context is destroyed", ""),
    63: ("The pool is closed and destroyed, from everywhere", ""),
    64: ("The program dies", ""),
    65: ("Ctrl-C, and SIGTERM to the program", ""),
    66: ("Noise instead of a reply", ""),
    67: ("Lengths that lie", ""),
    68: ("A long reply that never comes", ""),
    69: ("A reply that comes byte by byte", ""),
    70: ("A reply for another item", ""),
    71: ("A reply for an item that was not sent", ""),
    72: ("A flood of replies", ""),
    73: ("A worker that does not read its items", ""),
    74: ("A result that is none", ""),
    75: ("A report of an exception that lies", ""),
    76: ("A crash report that lies", ""),
    77: ("A worker that is ready twice", ""),
    78: ("Memory of the program's ring in a worker", ""),
    79: ("Shared memory that changes while it is read", ""),
    80: ("Descriptors sent to the program", "workers have pipes, by which none can be sent"),
    81: ("A worker that changes its pipes or leaves them to others", ""),
    82: ("System calls against the program", ""),
    83: ("Bombs: processes, threads, files, memory", ""),
    84: ("Secrets and random numbers of the program", ""),
    85: ("f leaves processes behind", ""),
    86: ("f closes or replaces its descriptors, writes into its pipe", ""),
    87: ("f prints, with stdout closed, broken or full", ""),
    88: ("f changes signals, limits, the directory", ""),
    89: ("f leaves threads behind", ""),
    90: ("Calls inside workers", ""),
    91: ("f uses the program's io_context", ""),
    92: ("The program ignores SIGCHLD or reaps everything", ""),
    93: ("f leaks memory", ""),
    94: ("A storm of killed workers", ""),
    95: ("Empty, endless and throwing ranges, senseless options", ""),
    96: ("The program is very large", ""),
}

HEAD = """# Faults and their tests

Written by `tests/faults.py` from the tags of the tests. A row names a fault; each test in it makes the fault happen, on
io_uring and on Asio's reactor, and looks that nothing is lost and nothing is left.

| | fault | test |
|---|---|---|
"""

CASE = re.compile(r'TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"\s*,\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)


def tests(root):
    """fault -> [(file, name of the test)]"""
    found = {}
    for path in sorted((root / "tests").glob("*_test.cpp")):
        for name, tags in CASE.findall(path.read_text()):
            for number in re.findall(r"\[F(\d+)\]", tags):
                found.setdefault(int(number), []).append((path.stem.removesuffix("_test"), name))
    return found


def table(found):
    lines = []
    for number, (fault, reason) in ROWS.items():
        shown = "<br>".join(f"{file}: {name}" for file, name in found.get(number, []))
        lines.append(f"| {number} | {fault} | {shown or '*' + reason + '*'} |\n")
    return HEAD + "".join(lines)


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    root = Path(sys.argv[1])
    found = tests(root)
    wrong = [f"tag [F{n}] has no row in tests/faults.py" for n in sorted(set(found) - set(ROWS))]
    for number, (fault, reason) in ROWS.items():
        if not reason and number not in found:
            wrong.append(f"no test has the tag [F{number}]: {fault}")
        if reason and number in found:
            wrong.append(f"[F{number}] has a test by now, and a reason why it has none: {fault}")
    target = root / "docs" / "faults.md"
    if "--check" in sys.argv:
        if not target.exists() or target.read_text() != table(found):
            wrong.append("docs/faults.md is old: run tests/faults.py .")
    else:
        target.parent.mkdir(exist_ok=True)
        target.write_text(table(found))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
