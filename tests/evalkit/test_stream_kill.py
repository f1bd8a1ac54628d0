"""The shipped generator's own stream, killed with signal 9: it goes on from its last part with the very same pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from evalkit.long_stream import PROGRESS, LongStream
from evalkit.store import read_json
from liveavatar import pipeline
from tests.evalkit import real_stream
from tests.evalkit.evalkit_bench import LIMIT_S, ROOT


def pictures(work: LongStream) -> np.ndarray:
    """All frames of a stream's parts [n, H, W, 3]."""
    frames = []
    for part in work.parts():
        with av.open(str(part)) as file:
            frames += [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return np.stack(frames)


def killed_after_its_first_part(folder: Path) -> int:
    """Start the stream as a process of its own and kill it; gives the frames that were safe by then."""
    # As many threads as here: with another number sums round differently.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    threads = {**dict.fromkeys(names, str(torch.get_num_threads())), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.evalkit.real_stream", str(folder)], cwd=ROOT, env={**os.environ, **threads}
    )
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        progress = read_json(folder / PROGRESS)
        if isinstance(progress, dict) and progress["frames"]:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was to be killed on its way"
    progress = read_json(folder / PROGRESS)
    assert isinstance(progress, dict)
    return int(progress["frames"])


@pytest.mark.skipif(sys.platform == "win32", reason="signal 9 is another thing there")
def test_a_killed_stream_of_the_real_generator_goes_on_to_the_bit(tmp_path: Path) -> None:
    safe = killed_after_its_first_part(tmp_path / "killed")
    assert 0 < safe < real_stream.LENGTH_S * 25
    loaded = pipeline.load("nano")
    resumed = real_stream.make(loaded, tmp_path / "killed")
    whole = real_stream.make(loaded, tmp_path / "whole")
    assert (resumed.progress.starts, whole.progress.starts) == (2, 1)
    assert np.array_equal(pictures(resumed), pictures(whole))
    assert len(pictures(whole)) == real_stream.LENGTH_S * 25
    assert [part.name for part in resumed.parts()] == [part.name for part in whole.parts()]
