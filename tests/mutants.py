#!/usr/bin/env python3
"""Shows that the tests bite: breaks the library in one place at a time, in a copy, and expects the tests to notice.

usage: mutants.py SOURCE_ROOT [--build FOLDER] [--jobs N] [NAME...]     all mutants, or those named; some minutes
       mutants.py SOURCE_ROOT --check                                  only that each can still be planted

Prints, for each mutant, which test caught it and after how long. Exits with 1 when one survived.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SKIPPED = 77
# A test that has not ended by then has noticed, too.
LIMIT = 60

# name: (what is broken, [(file, what is there, what comes in its place)], the tests that may notice)
MUTANTS = {
    "no-length-cap": (
        "a reply may claim any length",
        [("lib/frame.hpp", "if ((h.size & ~is_large) > std::min(most, longest_reply))", "if ((h.size & ~is_large) > longest_reply)")],
        ["reply_parser", "hostile"],
    ),
    "length-cap-off-by-one": (
        "a result of just the allowed length is refused",
        [("lib/frame.hpp", "if ((h.size & ~is_large) > std::min(most, longest_reply))", "if (h.size >= std::min(most, longest_reply) && h.size > 0)")],
        ["reply_parser", "fault_value"],
    ),
    "no-id-check": (
        "a reply counts for the next item, whatever it says",
        [("lib/frame.hpp", "if (h.sequence != next)", "if (false && h.sequence != next)")],
        ["reply_parser", "hostile"],
    ),
    "answers-in-a-row": (
        "of answers that come together all are believed when the first one is",
        [("lib/link.cpp", "believed = std::max(believed, seen());", "believed = wanted;")],
        ["hostile_pipe"],
    ),
    "double-delivery": (
        "what was taken from the page is taken from the pipe once more",
        [("lib/inbox.cpp", "std::min(bytes, early_.size() - confirmed_)", "std::size_t{0} * bytes")],
        ["inbox", "fault_kill", "kill_storm"],
    ),
    "part-beyond-the-arena": (
        "a part of a reply may lie outside of what its worker shares with us",
        [("lib/reply_parser.hpp", "if (size > arena.size() - at)", "if (size > arena.size())")],
        ["reply_parser"],
    ),
    "arena-written-over": (
        "a large item goes where its worker has not read the last one yet",
        [("lib/arena_writer.hpp", "std::max(read_to, unread_from_)", "filled_")],
        ["arena_writer", "outbox"],
    ),
    "value-of-another-call": (
        "a value that was begun for one call is taken by another one for its own",
        [("include/cofork/detail/arriving.hpp", "dynamic_cast<arriving<T>*>", "static_cast<arriving<T>*>")],
        ["arriving", "hostile_arena"],
    ),
    "elements-not-counted": (
        "a large value has as many elements as came, whatever number it began with",
        [("include/cofork/detail/arriving.hpp", "if (held_ > 0 || std::ranges::size(value_) != count)", "if (count == ~std::uint64_t{0})")],
        ["arriving", "outbox"],
    ),
    "reply-freed-while-it-is-read": (
        "a reply is completed from its worker's page while the kernel writes to its memory",
        [("lib/inbox.cpp", "pipe_position_ > parser_.position() || !target_.empty()", "pipe_position_ > parser_.position()")],
        ["inbox"],
    ),
    "item-in-one-piece": (
        "no item is made while it comes",
        [("lib/worker.cpp", "code()->item_maker : setup_.life.inherited->item_maker()", "nullptr : setup_.life.inherited->item_maker()")],
        ["worker_large"],
    ),
    "item-kept-while-idle": (
        "a large item that was taken back stays in its worker's memory",
        [("lib/worker.cpp", "jobs_.drop_item(); // nobody", "; // nobody")],
        ["worker_large"],
    ),
    "memory-by-claim": (
        "the buffer for a reply is as large as the reply claims to be",
        [
            (
                "lib/reply_parser.hpp",
                "part_.reserve(std::min(whole, std::max(2 * part_.size(), part_.size() + more)), whole);",
                "part_.reserve(whole);",
            )
        ],
        ["reply_parser", "hostile"],
    ),
    "no-drain": (
        "what a dead worker had written is not read",
        [("lib/link_end.cpp", "    if (!retiring_)\n        drain();\n", "    (void)&link::drain;\n")],
        ["fault_death", "fault_kill", "fault_hang", "kill_storm"],
    ),
    "timer-before-result": (
        "an item that has finished is killed for its time",
        [
            ("lib/link_look.cpp", "        if (page_.finished() == started)\n            return {};\n", ""),
            ("lib/link_look.cpp", "    auto since = running_since();\n", "    auto since = last_start();\n"),
            ("lib/link_look.cpp", "        const auto still = running_since();\n", "        const auto still = last_start();\n"),
        ],
        ["fault_hang"],
    ),
    "descriptor-leak": (
        "the job pipe of a refused worker stays open",
        [
            (
                "lib/link.hpp",
                "    void on_refused() noexcept { on_ended({}); }",
                "    void on_refused() noexcept { (void)jobs_read_.release(); on_ended({}); }",
            )
        ],
        ["fault_resource"],
    ),
    "blame-the-first": (
        "the first item of a batch fails, whether or not it was running",
        [("lib/link_end.cpp", "std::uint32_t n = unfit_.empty() ? started_unanswered() : 0;", "std::uint32_t n = held_.empty() ? 0 : 1;")],
        ["fault_death", "fault_kill"],
    ),
    "blame-the-claimed": (
        "cheap items that were claimed with the one that was running fail with it",
        [
            (
                "lib/page_view.hpp",
                "return page_.started.load(std::memory_order_acquire); }",
                "return claimed_of(page_.claim.load(std::memory_order_acquire)); }",
            )
        ],
        ["fault_death"],
    ),
    "run-again": (
        "an item that was running when its worker died is started again",
        [("lib/link_end.cpp", "std::uint32_t n = unfit_.empty() ? started_unanswered() : 0;", "std::uint32_t n = 0;")],
        ["fault_death"],
    ),
    "signals-not-reset": (
        "workers have the program's signal handlers",
        [("lib/process.cpp", "    unmap_rings();\n    default_signals();\n", "    unmap_rings();\n")],
        ["fault_death", "fault_kill", "fault_parent"],
    ),
    "ring-inherited": (
        "workers have the memory of the program's ring",
        [
            ("lib/process.cpp", "    unmap_rings();\n", ""),
            ("lib/ring.cpp", "watched_ && ::io_uring_ring_dontfork(queues_.get()) == 0", "bool{watched_}"),
        ],
        ["ring", "fault_inheritance"],
    ),
}


def plant(root, edits):
    """Returns what the files held before, or complains."""
    before = {}
    for name, old, new in edits:
        path = root / name
        text = path.read_text()
        before.setdefault(path, text)
        if text.count(old) != 1:
            sys.exit(f"mutants: {name} holds {text.count(old)} times, not once: {old.strip()}")
        path.write_text(text.replace(old, new))
    return before


def restore(before):
    for path, text in before.items():
        path.write_text(text)


def check(root):
    for _, edits, tests in MUTANTS.values():
        for name, old, _ in edits:
            found = (root / name).read_text().count(old)
            if found != 1:
                sys.exit(f"mutants: {name} holds {found} times, not once: {old.strip()}")
        for test in tests:
            if not (root / "tests" / f"{test}_test.cpp").exists():
                sys.exit(f"mutants: there is no test {test}")
    print(f"{len(MUTANTS)} mutants can be planted")


def run(command, **more):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def commands(folder):
    """How each test is run, and so in which program it is: {name: command}. One transport stands for both."""
    told = run(["meson", "introspect", "--tests", folder])
    if told.returncode != 0:
        sys.exit(f"mutants: {told.stdout}")
    return {t["name"].removesuffix("-ring"): t["cmd"] for t in json.loads(told.stdout)}


def build(folder, tests, jobs):
    programs = {os.path.relpath(command[0], folder) for command in tests}
    built = run(["ninja", "-C", folder, "-j", str(jobs), *sorted(programs)])
    if built.returncode != 0:
        sys.exit(f"mutants: it does not compile\n{built.stdout}")


def first_to_notice(tests):
    """(test case, seconds), or nothing. `tests`: {name: command}."""
    began = time.monotonic()
    for name, command in tests.items():
        for transport in ("ring", "reactor"):
            environment = {"COFORK_TRANSPORT": transport, "PATH": "/usr/bin:/bin"}
            try:
                told = run([*command, "--abort"], env=environment, timeout=LIMIT)
            except subprocess.TimeoutExpired:
                return f"{name}: does not end", LIMIT
            if told.returncode not in (0, SKIPPED):
                named = re.search(r"^-{20,}\n(.+)\n(?:.*\n)*?-{20,}$", told.stdout, re.MULTILINE)
                what = named.group(1) if named else told.stdout.strip().splitlines()[-1:]
                return f"{name} ({transport}): {what}", time.monotonic() - began
    return None


def hunt(copy, folder, names, jobs):
    survivors = []
    run(["meson", "setup", folder, copy, "-Dexamples=false", "-Doptimization=1"], check=True)
    how = commands(folder)
    print("building the library as it is", flush=True)
    build(folder, [how[test] for name in names for test in MUTANTS[name][2]], jobs)
    for name in names:
        about, edits, tests = MUTANTS[name]
        before = plant(copy, edits)
        build(folder, [how[test] for test in tests], jobs)
        noticed = first_to_notice({test: how[test] for test in tests})
        restore(before)
        if noticed:
            print(f"caught    {name}: {about}\n          {noticed[0]}, after {noticed[1]:.1f} s", flush=True)
        else:
            survivors.append(name)
            print(f"SURVIVED  {name}: {about}", flush=True)
    return survivors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--build", type=Path, help="keep the copy and its build here")
    parser.add_argument("--jobs", type=int, default=2)
    wanted = parser.parse_args()
    root = wanted.root.resolve()
    if wanted.check:
        return check(root)
    names = wanted.names or list(MUTANTS)
    for name in names:
        if name not in MUTANTS:
            sys.exit(f"mutants: there is no {name}; there are {', '.join(MUTANTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        place = wanted.build or Path(temporary)
        copy = place / "source"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("build", ".git"))
        survivors = hunt(copy, place / "build", names, wanted.jobs)
    print(f"{len(names) - len(survivors)} of {len(names)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
