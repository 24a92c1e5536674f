"""System calls of one process per item, counted by strace: two runs of different length, and the difference."""

import os
import shutil
import subprocess
import tempfile


def calls_of(command, env=None):
    """By name, how often the program itself made each system call; its forks are not counted."""
    if not shutil.which("strace"):
        raise RuntimeError("strace is not installed")
    with tempfile.NamedTemporaryFile(mode="r", suffix=".strace") as out:
        subprocess.run(
            ["strace", "-c", "-U", "calls,name", "-o", out.name, *command],
            env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=120,
        )
        words = [line.split() for line in out]
    return {name: int(count) for count, name in (w for w in words if len(w) == 2 and w[0].isdigit()) if name != "total"}


def calls_per_item(command, flag, short, long, items, env=None):
    """`flag` says how much is done; `items` are in each unit of it."""
    few = calls_of([*command, flag, str(short)], env)
    many = calls_of([*command, flag, str(long)], env)
    done = (long - short) * items
    difference = {name: (many[name] - few.get(name, 0)) / done for name in many}
    return {name: n for name, n in sorted(difference.items(), key=lambda x: -x[1]) if abs(n) * items >= 0.05}
