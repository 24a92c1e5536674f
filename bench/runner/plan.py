"""What a problem.py says: its cases, and the contenders of each."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Contender:
    name: str
    command: list
    env: dict = field(default_factory=dict)
    missing: str = ""  # why it cannot run here; empty = it can
    most_rounds: int = 1000  # for what hardly varies, or takes long


@dataclass
class Case:
    name: str
    contenders: list
    missing: str = ""  # why nobody can run it here


class Bench:
    """Where the programs are, and how thorough this run is."""

    def __init__(self, source, build, quick):
        self.source = Path(source)
        self.build = Path(build)
        self.quick = quick
        self.python_program = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else "python3"
        self._modules = {}

    def size(self, full, quick):
        return quick if self.quick else full

    def path(self, program):
        return str(self.build / "bench" / program)

    def program(self, name, program, *arguments, **more):
        path = self.path(program)
        missing = "" if Path(path).exists() else f"{program} was not built: a library that it needs is missing"
        return Contender(name, [path, *map(str, arguments)], missing=missing, **more)

    def cofork(self, program, *arguments, verb="", **more):
        """The same program on both transports."""
        return [
            self.program(f"cofork{verb} ({transport})", program, *arguments, env={"COFORK_TRANSPORT": transport}, **more)
            for transport in ("ring", "reactor")
        ]

    def python(self, name, file, *arguments, module="", needs="", **more):
        missing = ""
        if module and not self._has_module(module):
            missing = f"Python has no module {module}"
        if needs and not shutil.which(needs):
            missing = f"{needs} is not installed"
        return Contender(
            name, [self.python_program, str(self.source / "bench" / file), *map(str, arguments)], missing=missing, **more
        )

    def mpi(self, name, file, *arguments, **more):
        # Open MPI refuses to run as root, and more processes than processors, unless it is told so.
        env = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
        }
        return self.python(name, file, *arguments, module="mpi4py.futures", needs="mpirun", env=env, **more)

    def workerpool(self, name, file, *arguments, **more):
        modules = self.build / "node"
        missing = ""
        if not shutil.which("node"):
            missing = "node is not installed"
        elif not (modules / "node_modules" / "workerpool").exists():
            missing = f"workerpool is not there: npm install --prefix {modules.relative_to(self.source)} workerpool"
        command = ["node", str(self.source / "bench" / file), "--modules", str(modules), *map(str, arguments)]
        return Contender(name, command, missing=missing, **more)

    def _has_module(self, module):
        if module not in self._modules:
            command = [self.python_program, "-c", f"import {module.split('.')[0]}"]
            self._modules[module] = subprocess.run(command, capture_output=True).returncode == 0
        return self._modules[module]
