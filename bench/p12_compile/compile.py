"""Compiles one of the two files as the build does; its processor time, and the size of what comes out.

compile.py BUILD_FOLDER plain|parallel
"""

import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path


def show(series, value):
    print(json.dumps({"series": series, "check": 0, "values": [value]}))


def command_for(build, name):
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"].endswith(f"p12_compile/{name}.cpp"):
            words = shlex.split(entry["command"])
            return words[1:] if Path(words[0]).name == "ccache" else words
    raise SystemExit(f"no command for {name}.cpp")


def compiler_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loaded_bytes(path):
    text, data = subprocess.run(["size", path], capture_output=True, text=True, check=True).stdout.split("\n")[1].split()[:2]
    return int(text) + int(data)


def main():
    build, name = Path(sys.argv[1]), sys.argv[2]
    command = command_for(build, name)
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "out.o")
        command[command.index("-o") + 1] = target
        began = compiler_time()
        subprocess.run(command, cwd=build, env={**os.environ, "CCACHE_DISABLE": "1"}, check=True, stderr=subprocess.DEVNULL)
        show("compile_ns", int((compiler_time() - began) * 1e9))
        show("object_bytes", loaded_bytes(target))
        stripped = os.path.join(folder, "stripped")
        subprocess.run(["strip", "-o", stripped, build / "bench" / f"p12_compile-{name}"], check=True)
        show("program_bytes", os.path.getsize(stripped))


main()
