"""Builds whose words are paid for: killed anywhere they end alike, and no answer is paid for twice."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from genbench.build import build_set
from genbench.errors import ProviderError
from genbench.own_specs import own_set
from genbench.production import Production
from genbench.spec import NANO, SetSize
from tests.genbench.gemini_server import GeminiServer, failing, gemini_server, limited, refused
from tests.genbench.material import own_folder

KEY = "a-secret-of-the-test"
SIZE = SetSize(4, (1.5, 1.5))
# Imports once and forks a build for every line, so that twenty kills do not cost twenty starts of Python.
BUILDER = """
import os, sys, traceback
from pathlib import Path
import av, PIL.Image, PIL.PngImagePlugin
from tests.genbench.test_paid_build import build
for line in sys.stdin:
    own, out, url = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        try:
            build(Path(own), Path(out), url)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.fixture
def server(monkeypatch):
    for name in ("GOOGLE_API_KEY", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with gemini_server(delay_s=0.03) as state:
        yield state


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    return own_folder(tmp_path_factory.mktemp("own"), 4, seconds=1.5)


def production(own: Path, url: str) -> Production:
    options = {"transport": "rest", "base_url": url, "first_wait_s": 0.001, "most_wait_s": 0.05, "attempts": 3}
    folder = {"folder": str(own)}
    return Production(
        text="gemini",
        image="files",
        speech="files",
        options={"text": options, "image": folder, "speech": folder},
        at_once=2,
        licence="CC0-1.0",
        consent="drawn for a test",
    )


def build(own: Path, out: Path, url: str):
    # Own pictures and recordings, so that a process starts in a fraction of a second and has no need of torch.
    return build_set(own_set("short", "quick", 0, own, own, NANO, SIZE), out, production=production(own, url))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def paid_once(server: GeminiServer) -> bool:
    return set(server.asked.values()) == {1} and len(server.asked) == 4


def test_every_raw_answer_is_kept_beside_its_sample_and_counted(server, own, tmp_path):
    manifest = build(own, tmp_path, server.url)
    assert paid_once(server)
    for sample in manifest.samples:
        (entry,) = sample.raw
        kept = json.loads((tmp_path / entry.path).read_text())
        assert kept["answer"]["responseId"] == "r1"
        assert sample.id in kept["request"]["prompt"]
    assert manifest.usage["requests"] == 4
    assert manifest.usage["output_tokens"] == 4 * 50
    assert not [name for name, data in contents(tmp_path).items() if KEY.encode() in data]


def test_a_second_build_and_a_repair_pay_nothing(server, own, tmp_path):
    build(own, tmp_path, server.url)
    whole = contents(tmp_path)
    (tmp_path / "samples" / "person1" / "reference.png").unlink()
    (tmp_path / "samples" / "person2" / "speech.wav").write_bytes(b"")
    build(own, tmp_path, server.url)
    assert contents(tmp_path) == whole
    assert paid_once(server)


def test_a_refused_answer_is_listed_and_not_asked_again(server, own, tmp_path):
    server.next_replies = [refused]
    manifest = build(own, tmp_path, server.url)
    (left,) = manifest.left_out
    assert "blocked" in left["reasons"][0]
    assert len(manifest.samples) == 3
    (tmp_path / "samples" / manifest.samples[0].id / "reference.png").unlink()
    again = build(own, tmp_path, server.url)
    assert again.digest == manifest.digest
    assert sum(server.asked.values()) == 4


def test_a_quota_that_ends_stops_the_build_and_keeps_what_was_answered(server, own, tmp_path):
    used_up = limited(quota="RequestsPerDay")
    server.next_replies = [lambda body, text: (200, _good(text)), used_up, used_up]
    with pytest.raises(ProviderError, match="tomorrow"):
        build(own, tmp_path, server.url)
    assert sum(server.asked.values()) == 1
    server.next_replies = []
    assert len(build(own, tmp_path, server.url).samples) == 4
    assert paid_once(server)


def test_a_broken_service_is_named(server, own, tmp_path):
    server.next_replies = [failing(400)] * 8
    with pytest.raises(ProviderError, match="status 400"):
        build(own, tmp_path, server.url)


def test_killed_twenty_times_the_set_is_the_same_and_nothing_is_paid_twice(server, own, tmp_path):
    with builder() as tell:
        started_s = time.monotonic()
        assert run(tell, own, tmp_path / "expected", server.url, limit_s=60) == 0
        whole_s, whole = time.monotonic() - started_s, contents(tmp_path / "expected")
        assert paid_once(server)
        chance, kills, rounds = random.Random(7), 0, 0
        while kills < 20:
            rounds += 1
            out = tmp_path / f"round{rounds}"
            server.asked.clear()
            while kills < 20:
                status = run(tell, own, out, server.url, limit_s=chance.uniform(0.02, 1.0) * whole_s)
                assert status in (0, signal.SIGKILL)
                kills += status == signal.SIGKILL
                if status == 0:
                    break
            build(own, out, server.url)
            assert contents(out) == whole
            assert paid_once(server), server.asked


@contextmanager
def builder():
    """A process that forks builds; gives its pipes."""
    root = Path(__file__).parents[2]
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", BUILDER],
        cwd=root,
        env=os.environ | quiet,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.stdin.close()


def run(process: subprocess.Popen[str], own: Path, out: Path, url: str, limit_s: float) -> int:
    """One build in a process of its own, killed (-9) when its time is up; gives its wait status."""
    process.stdin.write(f"{own}\t{out}\t{url}\n")
    process.stdin.flush()
    pid = int(process.stdout.readline())
    if not select.select([process.stdout], [], [], limit_s)[0]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return int(process.stdout.readline())


def _good(text: str):
    from tests.genbench.gemini_server import envelope

    return envelope(text)
