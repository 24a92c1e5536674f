"""What the contenders written in Python share: arguments, clock, and the lines of JSON that they print."""

import ctypes
import json
import sys
import time


def word(name, otherwise):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else otherwise


def number(name, otherwise):
    return int(word(name, otherwise))


def show(series, values, check=0):
    print(json.dumps({"series": series, "check": check, "values": values}), flush=True)


def time_calls(call):
    """One call after the other: `call(i)` returns i + 1."""
    calls = number("--calls", 200)
    took, total = [], 0
    for i in range(-(calls // 10), calls):
        began = time.perf_counter_ns()
        y = call(i)
        if i >= 0:
            took.append(time.perf_counter_ns() - began)
            total += y
    show("call_ns", took, total)


def time_rounds(work, warm_up=1):
    """`work(items)` returns the results of trivial items."""
    items = list(range(number("--items", 10000)))
    took, total = [], 0
    for i in range(-warm_up, number("--rounds", 1)):
        began = time.perf_counter_ns()
        results = work(items)
        if i >= 0:
            took.append(time.perf_counter_ns() - began)
        total = sum(results)
    show("total_ns", took, total)


def add_one(x):
    return x + 1


def slowly_add_one(x):
    time.sleep(number("--sleep-ms", 1000) / 1000)
    return x + 1


def time_sleeps(work):
    began = time.perf_counter_ns()
    results = work(slowly_add_one, list(range(10)))
    show("total_ns", [time.perf_counter_ns() - began], sum(results))


_library = None


def spin(turns):
    """The same machine code as in all other contenders."""
    global _library
    if _library is None:
        _library = ctypes.CDLL(word("--library", "libspin.so"))
        _library.spin.restype = ctypes.c_uint64
        _library.spin.argtypes = [ctypes.c_uint64]
        _library.sizes.argtypes = [ctypes.c_char_p, ctypes.c_double, ctypes.c_long, ctypes.c_void_p]
    return _library.spin(turns)


def time_spins(work):
    """`work(spin, items)` returns the results of items that take processor time."""
    spin(1)
    count = number("--items", 1000)
    array = (ctypes.c_uint64 * count)()
    _library.sizes(word("--sizes", "equal").encode(), float(number("--mean", 1000)), count, array)
    items = list(array)
    took, total = [], 0
    for i in range(-1, number("--rounds", 1)):
        began = time.perf_counter_ns()
        results = work(spin, items)
        if i >= 0:
            took.append(time.perf_counter_ns() - began)
        total = sum(results)
    show("total_ns", took, total & 0x7FFFFFFFFFFFFFFF)


def time_large(call):
    """`call(size, value)` returns so many bytes from a worker."""
    size, calls = number("--size", 1 << 20), number("--calls", 5)
    took, total = [], 0
    for i in range(-2, calls):
        began = time.perf_counter_ns()
        result = call(size, (i + 2) % 100)
        if i >= 0:
            took.append(time.perf_counter_ns() - began)
        total += result[-1] + sum(result[::4096])
    show("call_ns", took, total)


def make_result(size, value):
    return bytes([value]) * size
