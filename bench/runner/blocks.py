"""Blocks of the heap that a program asks for per item, its forks not counted: two runs of different length, and the difference."""

import os
import subprocess
import tempfile


def blocks_of(command, counter, env=None):
    """`counter`: the library made of common/count_blocks.c."""
    with tempfile.NamedTemporaryFile(mode="r", suffix=".blocks") as out:
        subprocess.run(
            command, env={**os.environ, **(env or {}), "LD_PRELOAD": str(counter), "BENCH_BLOCKS_TO": out.name},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=120,
        )
        number = out.read()
        if not number:
            raise RuntimeError(f"{counter} was not loaded, or the program ended early: {' '.join(command)}")
        return int(number)


def blocks_per_item(command, counter, flag, short, long, items, env=None):
    """`flag` says how much is done; `items` are in each unit of it."""
    few = blocks_of([*command, flag, str(short)], counter, env)
    many = blocks_of([*command, flag, str(long)], counter, env)
    return (many - few) / ((long - short) * items)
