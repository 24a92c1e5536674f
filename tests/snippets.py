#!/usr/bin/env python3
"""The C++ that README.md and docs/*.md show is that of an example: so it compiles, and does what the text says.

usage: snippets.py SOURCE_ROOT    complains about each ```cpp block that is in no file under examples/
       snippets.py --self-test    feeds itself bad trees and complains about what it does not notice

A block has to be whole lines of one file, one after the other. Indentation and empty lines are not compared.
"""

import re
import sys
import tempfile
from pathlib import Path

FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(\S*)")


def lines_of(text):
    return [line for each in text.splitlines() if (line := each.strip())]


def blocks(text):
    """Each block that calls itself C++: the number of its first line, and its lines."""
    opened, kind, began, inside = None, "", 0, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            opened, kind, began, inside = fence[1], fence[2].lower(), number + 1, []
        elif fence and fence[1].startswith(opened) and not fence[2]:
            if kind in ("cpp", "c++", "cc"):
                yield began, lines_of("\n".join(inside))
            opened = None
        elif opened is not None:
            inside.append(line)
    if opened is not None:
        yield began, None


def is_piece_of(block, lines):
    return any(lines[at : at + len(block)] == block for at in range(len(lines) - len(block) + 1))


def faults(root):
    examples = [lines_of(path.read_text()) for path in sorted((root / "examples").rglob("*.[ch]pp"))]
    found = 0
    for document in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        for number, block in blocks(document.read_text()):
            found += 1
            where = f"{document.relative_to(root)}:{number}"
            if block is None:
                yield f"{where}: the block does not end"
            elif not block:
                yield f"{where}: an empty block"
            elif not any(is_piece_of(block, lines) for lines in examples):
                yield f"{where}: in no example: {block[0]}"
    if not found:
        yield "no block of C++ in README.md and docs/*.md"


GOOD_TREE = {
    "README.md": "text\n```cpp\nint f();\n\n    int g();\n```\n```sh\nls\n```\n",
    "docs/one.md": "* a list:\n\n  ```cpp\n  return f();\n  ```\n",
    "examples/a/a.cpp": "int f();\nint g();\n\nint main()\n{\n    return f();\n}\n",
}

# Each: the file that goes wrong, what is in it instead, and what has to be said.
BAD_TREES = [
    ("README.md", "```cpp\nint h();\n```\n", "README.md:2: in no example: int h();"),
    ("README.md", "\n```cpp\nint g();\nint f();\n```\n", "README.md:3: in no example: int g();"),
    ("README.md", "```cpp\nint f();\nreturn f();\n```\n", "README.md:2: in no example: int f();"),
    ("README.md", "```cpp\nint f()\n```\n", "README.md:2: in no example: int f()"),
    ("README.md", "```cpp\nint f();  int g();\n```\n", "README.md:2: in no example: int f();  int g();"),
    ("README.md", "```sh\nls\n```\n```c++\nint h();\n```\n", "README.md:5: in no example: int h();"),
    ("README.md", "```cpp\n```\n", "README.md:2: an empty block"),
    ("README.md", "```cpp\nint f();\n", "README.md:2: the block does not end"),
    ("docs/one.md", "~~~cpp\nint h();\n~~~\n", "docs/one.md:2: in no example: int h();"),
    ("docs/two.md", "```cpp\nint h();\n```\n", "docs/two.md:2: in no example: int h();"),
    ("examples/a/a.cpp", "int f(); // changed\nint g();\nreturn f();\n", "README.md:3: in no example: int f();"),
    ("examples/a/a.cpp", "int f();\nint x();\nint g();\nreturn f();\n", "README.md:3: in no example: int f();"),
]


def faults_of(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return list(faults(Path(folder)))


def self_test():
    complaints = [f"the good tree is said to be bad: {fault}" for fault in faults_of(GOOD_TREE)]
    for name, text, expected in BAD_TREES:
        found = faults_of({**GOOD_TREE, name: text})
        if expected not in found:
            complaints.append(f"{name} with {text!r}: expected {expected!r}, found {found}")
    nothing = faults_of({**GOOD_TREE, "README.md": "", "docs/one.md": ""})
    if not nothing:
        complaints.append("documents without any block are not noticed")
    return complaints


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 2
    complaints = self_test() if sys.argv[1] == "--self-test" else list(faults(Path(sys.argv[1]).resolve()))
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
