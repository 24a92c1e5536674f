"""System calls of the parent per item: count.py FLAG SHORT LONG ITEMS PROGRAM [ARGUMENTS]."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from runner.syscalls import calls_per_item  # noqa: E402

flag, short, long, items = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4])
calls = calls_per_item(sys.argv[5:], flag, short, long, items)
print(json.dumps({"series": "calls_per_item", "check": 0, "values": [sum(calls.values())]}))
for name, n in calls.items():
    print(json.dumps({"series": f"{name}_per_item", "check": 0, "values": [n]}))
