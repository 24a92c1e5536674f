#!/usr/bin/env python3
"""What must not compile does not, and says why.

usage: compile_fail.py FOLDER COMPILER [FLAG...]

Each FOLDER/*.cpp holds lines `// expect: TEXT`. It must not compile, and the compiler must say each TEXT. With -DFIXED
it must compile: so what it fails for is what it is about. What all include is compiled once, before.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory


def compile_source(command, source):
    run = subprocess.run([*command, "-fsyntax-only", str(source)], capture_output=True, text=True, errors="replace")
    return run.returncode == 0, run.stdout + run.stderr


def faults(source, command):
    expected = re.findall(r"^// expect: (.+?)\s*$", source.read_text(), re.MULTILINE)
    if not expected:
        return ["has no line `// expect: TEXT`"]
    compiled, output = compile_source(command, source)
    found = ["compiles, but must not"] if compiled else []
    if not compiled:
        # Compilers break no lines, but g++ writes quotes as its locale wants them.
        plain = re.sub("[‘’]", "'", output)
        found += [f"fails without saying: {text}" for text in expected if text not in plain]
    if found:
        found[-1] += f"\n{output[:4000]}"
    fixed, output = compile_source([*command, "-DFIXED"], source)
    return found if fixed else [*found, f"does not compile with -DFIXED\n{output[:4000]}"]


def main():
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    sources = sorted(folder.glob("*.cpp"))
    if not sources:
        print(f"{folder}: no sources")
        return 1
    failed = 0
    with TemporaryDirectory() as there, ThreadPoolExecutor(max_workers=2) as pool:
        header = Path(there) / "all.hpp"
        header.write_text("#include <cofork/cofork.hpp>\n")
        subprocess.run([*command, "-x", "c++-header", "-o", f"{header}.gch", header], check=True)
        command += ["-include", str(header), "-Winvalid-pch"]
        for source, found in zip(sources, pool.map(lambda s: faults(s, command), sources)):
            failed += bool(found)
            for fault in found or ["as expected"]:
                print(f"{source.name}: {fault}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
