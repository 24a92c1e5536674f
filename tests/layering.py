#!/usr/bin/env python3
"""Keeps the order of the tree: which room of the library may include which (DESIGN.md draws it), that the build forgets no
file, and that none is longer than one idea.

usage: layering.py SOURCE_ROOT    complains about the tree, one line per fault
       layering.py --self-test    feeds itself bad trees and complains about what it does not notice
"""

import re
import sys
import tempfile
from pathlib import Path

# What the two files of a room, lib/NAME.hpp and lib/NAME.cpp, may include of lib/. A new room or a new arrow is a line
# here, and thereby a decision. From the ground up: an arrow points to a line above its own.
ROOMS = {
    # ground: no system, or no other room
    "owned_fd": "",
    "frame": "",
    "crash_facts": "",
    "durations": "",
    "page": "crash_facts frame",
    "printable": "",
    "pace": "",
    "known_costs": "",
    "cpus": "",
    "threads": "",
    "error": "",
    "failure": "printable",
    "progress_line": "",
    "progress_bar": "printable progress_line",
    "driven_context": "",
    "encoder": "",
    "completion": "",
    # what runs in a worker or in the nursery
    "process": "owned_fd",
    "crash_handler": "crash_facts",
    "symbols": "crash_facts printable",
    "symboliser": "owned_fd page process symbols",
    "exception_report": "frame",
    "sandbox_rules": "",
    "sandbox": "owned_fd sandbox_rules threads",
    "worker_life": "sandbox_rules",
    "own_pipe": "crash_handler",
    "output_taps": "owned_fd page process",
    "spare_mapping": "",
    "growing_bytes": "spare_mapping",
    "crowd": "",
    "arena": "",
    "arena_writer": "",
    "slot_memory": "",
    "large_reply": "arena arena_writer frame",
    "reply_stream": "arena arena_writer frame large_reply own_pipe page process",
    "large_item": "arena growing_bytes page",
    "job_stream": "crowd frame growing_bytes large_item own_pipe page process reply_stream worker_life",
    "own_output": "owned_fd page reply_stream",
    "item_clock": "reply_stream",
    "item_timer": "item_clock",
    "worker": "arena crash_handler durations exception_report frame item_timer job_stream own_output page process reply_stream sandbox worker_life",
    "nursery_protocol": "",
    "family": "owned_fd",
    "nursery_socket": "nursery_protocol owned_fd",
    "nursery": "arena crash_handler family nursery_protocol nursery_socket output_taps page process slot_memory symboliser worker worker_life",
    # what carries bytes in the parent
    "copied_descriptor": "",
    "ring_probe": "owned_fd",
    "one_block": "",
    "own_strand": "",
    "ring": "copied_descriptor one_block owned_fd process ring_probe",
    "ring_shutdown": "copied_descriptor ring",
    "channel": "copied_descriptor owned_fd process ring",
    "transport": "channel owned_fd ring",
    "nursery_client": "arena copied_descriptor crash_handler nursery nursery_protocol owned_fd page process worker_life",
    # what decides in the parent
    "reply_run": "frame",
    "reply_parser": "frame growing_bytes reply_run",
    "report": "frame",
    "item_run": "frame",
    "current_failure": "frame",
    "tally": "durations",
    "metrics": "",
    "trace": "printable",
    "call": "dispatcher item_run pace tally",
    "call_news": "call",
    "job_message": "arena call frame item_run",
    "page_view": "nursery_client page",
    "outbox": "arena arena_writer job_message page_view",
    "held_items": "call item_run",
    "inbox": "growing_bytes page_view reply_parser",
    "system_call_filter": "owned_fd sandbox_rules",
    "blame": "nursery_protocol page_view printable sandbox_rules system_call_filter",
    "roll": "",
    "link": "blame call channel held_items inbox job_message nursery_client outbox page_view printable reply_parser report roll transport",
    "link_end": "blame link",
    "link_look": "link",
    "link_news": "link",
    "failed_call": "",
    "call_queue": "call failed_call",
    "crew": "call failed_call link nursery_client process threads",
    "place_registry": "",
    "dispatcher": "call_queue crew crowd failed_call known_costs own_strand place_registry process transport",
    "dispatcher_end": "dispatcher failed_call spare_mapping",
    "dispatcher_spin": "dispatcher",
    "dispatcher_stats": "dispatcher process",
    "crew_look": "crew",
    "crew_stats": "crew",
    "serial": "call failed_call own_strand place_registry process",
    # wiring
    "secret_region": "",
    "place": "call cpus dispatcher serial system_call_filter",
    "pool": "cpus dispatcher failed_call system_call_filter",
}

# Arrows of the table that point downwards all the same, from the source of a part to the whole that it belongs to. A call
# asks its dispatcher to cancel it.
DOWNWARDS = {("call", "dispatcher")}

# Runs after the fork: reaches neither Asio nor liburing by any path.
CHILD_SIDE = [
    "arena", "arena_writer", "crash_facts", "crash_handler", "durations", "encoder", "exception_report", "family", "frame", "job_stream", "large_item", "large_reply", "nursery", "nursery_protocol", "nursery_socket",
    "owned_fd", "crowd", "growing_bytes", "item_clock", "item_timer", "output_taps", "own_output", "own_pipe", "page", "printable", "process", "reply_stream", "sandbox", "sandbox_rules", "slot_memory", "spare_mapping", "worker_life", "symboliser", "symbols", "threads", "worker",
]

# The room that knows io_uring.
RING = ("ring", "ring_probe", "ring_shutdown")

MOST_LINES = 400

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"][^>"\n]+)[>"]', re.MULTILINE)
DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
STANDARD = re.compile(r"[a-z_]+")  # a C++ header has neither a folder nor an ending, which every POSIX one has


class Tree:
    """The files of include/ and lib/, and which includes which."""

    def __init__(self, root):
        self.root = root
        self.public = sorted((root / "include").rglob("*.hpp"))
        self.private = sorted(p for p in (root / "lib").iterdir() if p.suffix in (".hpp", ".cpp"))
        self.text = {p: p.read_text() for p in self.public + self.private}
        self.includes = {p: INCLUDE.findall(text) for p, text in self.text.items()}

    def name(self, path):
        return str(path.relative_to(self.root))

    def resolve(self, path, include):
        """The file of ours that an include names, or None when it is somebody else's."""
        if include.startswith('"'):
            return path.parent / include[1:]
        if include.startswith("<cofork/"):
            return self.root / "include" / include[1:]
        return None

    def ours(self, path):
        return [t for i in self.includes.get(path, []) if (t := self.resolve(path, i)) is not None]


def foreign(include):
    """What an include brings that has its place: "Asio", "liburing" or None."""
    if re.match(r"<asio(/|\.hpp)", include):
        return "Asio"
    if re.match(r"<(liburing|linux/io_uring)", include):
        return "liburing"
    return None


def missing(tree):
    for path in tree.public + tree.private:
        for target in tree.ours(path):
            if target not in tree.text:
                yield f"{tree.name(path)} includes {target.name}, which does not exist"


def public_headers(tree):
    for path in tree.public:
        for include in tree.includes[path]:
            header = include[1:]
            if include.startswith('"'):
                yield f'{tree.name(path)} must include "{header}" as <cofork/...>'
            elif not STANDARD.fullmatch(header) and not re.match(r"(asio|cofork|cereal)/", header):
                yield f"{tree.name(path)} must not include <{header}>: public headers see std, Asio, cereal and cofork"
        for macro in DEFINE.findall(tree.text[path]):
            yield f"{tree.name(path)} must not define the macro {macro}"


def rooms(tree, allowed):
    for path in tree.private:
        room = path.stem
        if room not in allowed:
            yield f"{tree.name(path)} is in no room of tests/layering.py"
            continue
        for target in tree.ours(path):
            if target.parent == path.parent and target.stem not in (room, *allowed[room].split()):
                yield f"{tree.name(path)} must not include {target.name}"
        for include in tree.includes[path]:
            if foreign(include) == "liburing" and room not in RING:
                yield f"{tree.name(path)} must not include {include}>: only lib/{RING[0]} knows liburing"


def child_side(tree):
    for room in CHILD_SIDE:
        for start in (p for p in tree.private if p.stem == room):
            todo, seen = [(start, tree.name(start))], set()
            while todo:
                path, way = todo.pop()
                for include in tree.includes.get(path, []):
                    if (what := foreign(include)) is not None:
                        yield f"{way} reaches {what}, which the child side must not"
                for target in tree.ours(path):
                    if target not in seen:
                        seen.add(target)
                        todo.append((target, f"{way} -> {target.name}"))


def cycles(tree):
    done = set()

    def visit(path, way):
        if path in way:
            circle = [p.name for p in way[way.index(path):]] + [path.name]
            yield "includes go in a circle: " + " -> ".join(circle)
        elif path not in done:
            for target in tree.ours(path):
                yield from visit(target, way + [path])
            done.add(path)

    for path in tree.public + tree.private:
        if path.suffix == ".hpp":
            yield from visit(path, [])


def unbuilt(tree):
    """Files that Meson's lists forgot: a header that is not installed, a source or a test that is not compiled."""
    lists = [
        (tree.public, tree.root / "include" / "cofork", tree.root / "include" / "meson.build"),
        ([p for p in tree.private if p.suffix == ".cpp"], tree.root, tree.root / "meson.build"),
    ]
    for paths, base, build_file in lists:
        named = build_file.read_text()
        for path in paths:
            if f"'{path.relative_to(base)}'" not in named:
                yield f"{tree.name(path)} is not named in {tree.name(build_file)}"
    tests = tree.root / "tests"
    for path in sorted(tests.glob("*_test.cpp")):
        if f"'{path.stem.removesuffix('_test')}'" not in (tests / "meson.build").read_text():
            yield f"{tree.name(path)} is not named in tests/meson.build"


def misplaced(tree):
    """Sources of the child side that are compiled as the parent's, or the other way round: they have other flags, and other headers."""
    libraries = re.findall(r"child_side = static_library\(([^)]*?)(?:include_directories|\))", (tree.root / "meson.build").read_text())
    in_library = set(re.findall(r"'lib/(\w+)\.cpp'", libraries[-1]))
    for path in tree.private:
        if path.suffix == ".cpp" and (path.stem in in_library) != (path.stem in CHILD_SIDE):
            library = "in" if path.stem in in_library else "not in"
            yield f"{tree.name(path)} is {library} the library of the child side, against CHILD_SIDE in tests/layering.py"


def too_long(tree):
    """A file holds one idea: what needs more lines holds two."""
    for folder in ("include", "lib", "tests", "examples", "bench"):
        for path in sorted((tree.root / folder).rglob("*")):
            if path.suffix in (".hpp", ".cpp", ".c", ".py") and path.read_text().count("\n") > MOST_LINES:
                yield f"{tree.name(path)} has more than {MOST_LINES} lines"


def faults(root, allowed):
    tree = Tree(root)
    checks = [
        missing(tree), public_headers(tree), rooms(tree, allowed), child_side(tree), cycles(tree), unbuilt(tree), misplaced(tree),
        too_long(tree),
    ]
    return [fault for check in checks for fault in check]


GOOD_ROOMS = {"ground": "", "worker": "ground", "ring": "ground", "top": "ring ground"}

GOOD_TREE = {
    "meson.build": "child_side = static_library('lib/worker.cpp')\ncofork = library('lib/ring.cpp')\n",
    "include/meson.build": "'all.hpp' 'detail/job.hpp'",
    "tests/meson.build": "'worker'",
    "tests/worker_test.cpp": "",
    "include/cofork/all.hpp": "#include <cofork/detail/job.hpp>\n#include <asio/awaitable.hpp>\n#include <vector>\n",
    "include/cofork/detail/job.hpp": "#include <span>\n",
    "lib/ground.hpp": "#include <sys/types.h>\n",
    "lib/worker.hpp": "#include <cofork/detail/job.hpp>\n",
    "lib/worker.cpp": '#include "worker.hpp"\n#include "ground.hpp"\n#include <unistd.h>\n',
    "lib/ring.cpp": '#include "ground.hpp"\n#include <liburing.h>\n',
    "lib/top.hpp": '#include "ground.hpp"\n#include <asio/post.hpp>\n',
}

# Each: the file that goes wrong, what it gets, and what has to be said of it.
BAD_TREES = [
    ("include/cofork/all.hpp", '#include "../../lib/ground.hpp"\n', 'must include "../../lib/ground.hpp" as'),
    ("include/cofork/all.hpp", "#include <unistd.h>\n", "must not include <unistd.h>"),
    ("include/cofork/all.hpp", "#  include <sys/wait.h>\n", "must not include <sys/wait.h>"),
    ("include/cofork/all.hpp", "#include <liburing.h>\n", "must not include <liburing.h>"),
    ("include/cofork/all.hpp", "#define COFORK 1\n", "must not define the macro COFORK"),
    ("include/cofork/all.hpp", "#include <cofork/gone.hpp>\n", "gone.hpp, which does not exist"),
    ("include/cofork/detail/job.hpp", "#include <cofork/all.hpp>\n", "go in a circle: all.hpp -> job.hpp -> all.hpp"),
    ("include/cofork/detail/job.hpp", "#include <asio/post.hpp>\n", "worker.hpp -> job.hpp reaches Asio"),
    ("include/cofork/new.hpp", "", "include/cofork/new.hpp is not named in include/meson.build"),
    ("lib/worker.cpp", "#include <asio.hpp>\n", "lib/worker.cpp reaches Asio"),
    ("lib/worker.cpp", "#include <liburing.h>\n", "lib/worker.cpp reaches liburing"),
    ("lib/worker.hpp", '#include "top.hpp"\n', "lib/worker.hpp must not include top.hpp"),
    ("lib/worker.hpp", '#include "top.hpp"\n', "worker.hpp -> top.hpp reaches Asio"),
    ("lib/ground.hpp", '#include "worker.hpp"\n', "lib/ground.hpp must not include worker.hpp"),
    ("lib/ground.hpp", '#include "top.hpp"\n', "go in a circle: ground.hpp -> top.hpp -> ground.hpp"),
    ("lib/top.hpp", "#include <liburing/io_uring.h>\n", "only lib/ring knows liburing"),
    ("lib/top.hpp", "#include <linux/io_uring.h>\n", "only lib/ring knows liburing"),
    ("lib/top.cpp", "", "lib/top.cpp is not named in meson.build"),
    ("meson.build", "child_side = static_library('lib/worker.cpp', 'lib/ring.cpp')", "lib/ring.cpp is in the library of"),
    ("meson.build", "child_side = static_library()", "lib/worker.cpp is not in the library of"),
    ("tests/ring_test.cpp", "", "tests/ring_test.cpp is not named in tests/meson.build"),
    ("lib/extra.hpp", "", "lib/extra.hpp is in no room"),
    ("tests/worker_test.cpp", "\n" * 401, "tests/worker_test.cpp has more than 400 lines"),
]


def faults_of(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return faults(Path(folder), GOOD_ROOMS)


def self_test():
    complaints = [f"the good tree is said to be bad: {fault}" for fault in faults_of(GOOD_TREE)]
    for name, text, expected in BAD_TREES:
        found = faults_of({**GOOD_TREE, name: GOOD_TREE.get(name, "") + text})
        if not any(expected in fault for fault in found):
            complaints.append(f"{name} with {text!r}: expected {expected!r}, found {found}")
    if not any(table_faults({"ground": "top", "top": ""}, set())):
        complaints.append("an arrow of the table that points downwards is not noticed")
    return complaints


def table_faults(allowed, excepted):
    names = list(allowed)
    for room in names:
        for target in allowed[room].split():
            if target not in names[: names.index(room)] and (room, target) not in excepted:
                yield f"tests/layering.py: {room} may include {target}, which is no line above it"


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 2
    if sys.argv[1] == "--self-test":
        complaints = self_test()
    else:
        complaints = [*table_faults(ROOMS, DOWNWARDS), *faults(Path(sys.argv[1]).resolve(), ROOMS)]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
