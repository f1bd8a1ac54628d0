"""Makes a folder that looks like the official checkout of a system, with weights and an interpreter of its own."""

from __future__ import annotations

import os
import stat
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evalkit.generator import GeneratorSetup
from evalkit.methods.base import Inputs
from evalkit.methods.official import get_system
from evalkit.methods.official.system import System
from tests.evalkit.evalkit_bench import ROOT

RATE_HZ = 16_000

SCRIPT = """import sys
sys.path.insert(0, {root!r})
{body}
if __name__ == "__main__":
    from tests.evalkit.fake_system import main
    main({name!r}, {options!r}, {script!r})
"""

DITTO = {
    "stream_pipeline_offline.py": (
        "import time\n"
        "class StreamSDK:\n"
        "    def __init__(self, *words): time.sleep(0.3)\n"
        "    def setup(self, source): pass\n"
        "    def close(self): time.sleep(0.1)\n"
    ),
    "core/__init__.py": "",
    "core/atomic_components/__init__.py": "",
    "core/atomic_components/writer.py": (
        "import time\nclass VideoWriterByImageIO:\n    def __call__(self, frame): time.sleep(0.05)\n"
    ),
}


@dataclass(frozen=True)
class Fake:
    """A made-up installation of a system."""

    system: System
    home: Path

    @property
    def checkout(self) -> Path:
        return self.home / "checkout"

    @property
    def weights(self) -> Path:
        return self.home / "weights" / self.system.name

    def setup(self, *more: str) -> GeneratorSetup:
        """As evalkit.toml and --set would give it; `more` are assignments without their beginning."""
        place = f"systems.{self.system.name}"
        given = [f"checkout={self.checkout}", f"weights={self.weights}", f"python={self.home / 'python'}", *more]
        return GeneratorSetup(assigned=tuple(f"{place}.{one}" for one in given))


def make_fake(name: str, home: Path) -> Fake:
    """An installation of the system in which nothing is real but the layout."""
    fake = Fake(get_system(name), home)
    for entry in fake.system.entries.values():
        script = fake.checkout / entry.script
        script.parent.mkdir(parents=True, exist_ok=True)
        options = fake.system.options
        script.write_text(SCRIPT.format(root=str(ROOT), body="", name=name, options=options, script=entry.script))
    for file in fake.system.needs.files:
        path = Path(file.format(weights=fake.weights, repo=fake.checkout))
        if path.suffix in (".pth", ".pt", ".yaml", ".safetensors"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("fps: 25\n")
        else:
            path.mkdir(parents=True, exist_ok=True)
    fake.weights.mkdir(parents=True, exist_ok=True)
    if name == "ditto":
        for file, text in DITTO.items():
            (fake.checkout / file).parent.mkdir(parents=True, exist_ok=True)
            (fake.checkout / file).write_text(text)
    if name == "stableavatar":
        for shape in ("square", "rec-vec"):
            (fake.weights / f"StableAvatar-1.3B/transformer3d-{shape}.pt").write_text("weights")
    if name == "echomimic_v2":
        poses = fake.checkout / "assets/halfbody_demo/pose/01"
        poses.mkdir(parents=True)
        for frame in range(336):
            (poses / f"{frame}.npy").touch()
    make_interpreter(home / "python")
    return fake


def make_interpreter(path: Path) -> None:
    """An interpreter that is this one, and a launcher of workers that starts the first of them only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$1 $2 $3" = "-m torch.distributed.run --standalone" ]; then\n'
        '  export WORLD_SIZE="${4#--nproc_per_node=}" RANK=0; shift 4\n'
        "fi\n"
        f'exec "{sys.executable}" "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def make_inputs(folder: Path, name: str = "s0", seconds: float = 4.0, size: tuple[int, int] = (96, 64)) -> Inputs:
    """A grey picture and a quiet voice."""
    folder.mkdir(parents=True, exist_ok=True)
    image, audio = folder / f"{name}.png", folder / f"{name}.wav"
    Image.new("RGB", size, (90, 90, 90)).save(image)
    with wave.open(str(audio), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        samples = (1000 * np.sin(np.arange(round(RATE_HZ * seconds)) / 20)).astype("<i2")
        file.writeframes(samples.tobytes())
    return Inputs(name, image, audio, f"A person\nspeaks @@ calmly / {name}", "genbench_short")


def behave(how: str) -> None:
    """What the fakes started from here on do wrong."""
    os.environ["FAKE_BEHAVIOUR"] = how
