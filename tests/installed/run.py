#!/usr/bin/env python3
"""Installs the build into a folder of its own, builds main.cpp there with nothing but pkg-config, and runs it.

usage: run.py MESON BUILD_FOLDER COMPILER [FLAG...]
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def run(command, **options):
    print("+", shlex.join(map(str, command)), flush=True)
    return subprocess.run(command, check=True, **options)


def main():
    meson, build, *compiler = sys.argv[1:]
    pkg_config = shutil.which("pkg-config")
    if pkg_config is None:
        print("skipped: no pkg-config")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        run([meson, "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", folder])
        metadata = [p for p in Path(folder).rglob("cofork.pc") if "meson-uninstalled" not in str(p)]
        assert len(metadata) == 1, metadata
        # First in the path, in front of a cofork that the machine may have.
        path = os.pathsep.join([str(metadata[0].parent), os.environ.get("PKG_CONFIG_PATH", "")])
        query = run(
            [pkg_config, "--cflags", "--libs", "cofork"],
            env={**os.environ, "PKG_CONFIG_PATH": path}, capture_output=True, text=True,
        )
        flags = shlex.split(query.stdout)
        # The stranger is outside of our tree, and so is what he builds.
        shutil.copy(Path(__file__).with_name("main.cpp"), folder)
        run([*compiler, "main.cpp", *flags, "-o", "program"], cwd=folder)
        libraries = {str(p.parent) for p in Path(folder).rglob("libcofork.so*")}
        run([Path(folder, "program")], timeout=60,
            env={**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")])})
    return 0


if __name__ == "__main__":
    sys.exit(main())
