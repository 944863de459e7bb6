"""The optional compiled build: ``GEARTRAIN_COMPILE=1 pip install .`` compiles the inner rings with mypyc.

Without that variable, and for editable installs, it does nothing, and the wheel is pure Python. The sources are
compiled in a temporary folder: an extension module beside a source would shadow it from then on.
Which modules: `modules` of [tool.hatch.build.targets.wheel.hooks.custom] in pyproject.toml.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "GEARTRAIN_COMPILE"
SETUP = """
import json, sys
from mypyc.build import mypycify
from setuptools import setup

modules = json.loads(sys.argv.pop())
setup(name="geartrain", packages=[], ext_modules=mypycify(
    ["--strict", "--ignore-missing-imports", "--follow-imports=silent", *modules], opt_level="3", debug_level="0"
))
"""


def wanted() -> bool:
    return os.environ.get(SWITCH, "") not in ("", "0")


class CompileHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the extension modules beside their sources into the wheel."""

    folder: str | None = None

    def dependencies(self) -> list[str]:
        return ["mypy[mypyc]>=1.18", "setuptools>=77"] if wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or not wanted():
            return
        self.folder = tempfile.mkdtemp(prefix="geartrain-compile-")
        root = Path(self.root)
        work = Path(self.folder)
        shutil.copytree(root / "src", work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        modules = sorted(
            str(path.relative_to(root / "src"))
            for pattern in self.config["modules"]
            for path in (root / "src").glob(pattern)
            if path.name != "__init__.py"
        )
        self.compile(work, modules)
        for path in work.glob("*.so"):  # the code of all of them, which the others point to
            build_data["force_include"][str(path)] = path.name
        for path in work.glob("geartrain/**/*.so"):
            build_data["force_include"][str(path)] = str(path.relative_to(work))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def compile(self, work: Path, modules: list[str]) -> None:
        (work / "setup.py").write_text(SETUP)
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", json.dumps(modules)]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"mypyc does not compile geartrain:\n{result.stdout}\n{result.stderr}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
