"""What the Python contenders share: the items, and what is told of the outcomes."""

import json
import os
import signal
import sys
import time

POISON = -1  # dies of SIGSEGV
HANG = -2  # never ends
SLEEP = -3  # far longer than the run


def f(item):
    if item == POISON:
        os.kill(os.getpid(), signal.SIGSEGV)
    while item == HANG:
        pass
    if item == SLEEP:
        time.sleep(600)
    return 2 * item


def items(row):
    """A row's items, and the place of the bad one."""
    if row == 1:
        return [i if i != 7 else POISON for i in range(20)], 7
    if row == 8:
        return [i if i != 31 else POISON for i in range(64)], 31
    if row == 34:
        return [i if i != 3 else HANG for i in range(8)], 3
    return [SLEEP] * 4, None


def tell(outcomes, bad, works_after):
    """`outcomes`: a value for each item, or None where it failed."""
    good = sum(1 for i, o in enumerate(outcomes) if i != bad and o == 2 * i)
    print(json.dumps({"right": good, "bad_failed": outcomes[bad] is None, "works_after": works_after}), flush=True)
    # A pool that is broken may wait for ever at its end: what matters has been told.
    os._exit(0)


def row():
    return int(sys.argv[1])
