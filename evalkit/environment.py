"""The environment block: static facts about where a record was made, kept once and named by its own hash."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import evalkit
from evalkit.fingerprint import digest
from evalkit.records import dumps
from evalkit.store import write_text

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTHONHASHSEED")
MAIN_PACKAGES = ("torch", "numpy", "av", "safetensors", "diffusers", "espeakng-loader", "rich", "jinja2", "matplotlib")
ID_CHARS = 12


class EnvironmentBlock:
    """The block of this process, written when first asked for."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._id = ""
        self._code: dict[str, Any] = {}

    def id(self) -> str:
        """The name of env/ENV_ID.json; the file is there when this returns."""
        if not self._id:
            block = describe()
            self._id = digest(block)[:ID_CHARS]
            path = self.run / "env" / f"{self._id}.json"
            if not path.is_file():
                write_text(path, dumps(block))
        return self._id

    def code(self) -> dict[str, Any]:
        """Version and commit of the code at work."""
        if not self._code:
            self._code = {"evalkit": evalkit.__version__, "git": git_state(Path(evalkit.__file__).resolve().parent)}
        return self._code


def describe() -> dict[str, Any]:
    """Everything static that may matter to a number; no clock, no temperature, no host name."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "packages": all_packages(),
        "git": git_state(Path(evalkit.__file__).resolve().parent),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "ram_bytes": ram_bytes(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "torch_threads": torch_threads(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def all_packages() -> dict[str, str]:
    """Every installed distribution and its version."""
    found = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions() if dist.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def main_packages() -> dict[str, str]:
    """Versions of the packages that numbers depend on most."""
    found = {"python": platform.python_version(), "evalkit": evalkit.__version__}
    for name in MAIN_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the repository that holds `folder`, and whether its files differ from it."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None, "reason": "not a git checkout with a commit"}
    patch = _git(folder, "diff", "HEAD") or ""
    status = _git(folder, "status", "--porcelain", "--untracked-files=no") or ""
    patch_digest = hashlib.sha256(patch.encode()).hexdigest()[:16] if patch else None
    return {"commit": commit, "dirty": bool(status), "patch": patch_digest}


def cpu_name() -> str:
    """The processor's model, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def ram_bytes() -> int | None:
    """Installed memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def torch_threads() -> int | None:
    """Threads torch uses in this process, if this process uses torch at all."""
    torch, shared = sys.modules.get("torch"), sys.modules.get("liveavatar.threads")
    if torch is None:
        return None
    return shared.threads_of_process() if shared is not None else torch.get_num_threads()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
