#!/usr/bin/env python3
"""Writes a source file that compiles several test files at once, each in a namespace of its own.

What the compiler makes of the headers is half of what a test file costs. The headers come first, outside of the namespaces:
they are read once, and where a test file includes them again they are empty.
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r"^#include (?P<quoted><[^>]+>|\"[^\"]+\")", re.MULTILINE)


def together(files):
    headers = dict.fromkeys(m["quoted"] for f in files for m in INCLUDE.finditer(f.read_text()))
    lines = [f"#include {h}" for h in headers]
    for f in files:
        lines += ["", f"namespace {f.stem} {{", f'#include "{f.name}"', "}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    output, *inputs = map(Path, sys.argv[1:])
    output.write_text(together(inputs))
