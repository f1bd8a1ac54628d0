"""The command line: what it writes, what it says and how it ends. The pipeline is a ten-line fake here."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
import types
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from liveavatar import cli
from liveavatar.config import profile
from liveavatar.inputs import InputError, read_picture, read_voice
from liveavatar.output import OutputError, VideoWriter
from liveavatar.prompt_file import read_prompts

ROOT = Path(__file__).parents[2]


@dataclass
class FakeChunk:
    frames: np.ndarray
    block: int
    spans: list = field(default_factory=list)


@dataclass
class FakeResult:
    frames: int
    fps: float = 25
    width: int = 96
    height: int = 128
    wall_s: float = 0.5
    generation_fps: float = 96.0


class FakeSession:
    """Grey frames, 12 for every 7,680 samples; remembers what it heard."""

    def __init__(self) -> None:
        self.heard = np.zeros(0, np.float32)
        self.blocks = 0

    def push(self, samples: np.ndarray) -> Iterator[FakeChunk]:
        self.heard = np.concatenate([self.heard, samples])
        while (self.blocks + 1) * 7680 <= len(self.heard):
            yield self._chunk(12)

    def flush(self) -> Iterator[FakeChunk]:
        rest = -(-len(self.heard) // 640) - 12 * self.blocks
        if rest > 0:
            yield self._chunk(rest)

    def _chunk(self, n: int) -> FakeChunk:
        self.blocks += 1
        return FakeChunk(np.full((n, 128, 96, 3), 100, np.uint8), self.blocks - 1)


class FakePipeline:
    """Records how it was asked; `fail` is raised after one block."""

    def __init__(self) -> None:
        self.config = profile("nano")
        self.session = FakeSession()
        self.asked: dict = {}
        self.load_asked: dict = {}
        self.fail: BaseException | None = None

    def loaded_as(self, asked: dict) -> "FakePipeline":
        self.load_asked = asked
        return self

    def open(self, reference: np.ndarray, **asked: object) -> FakeSession:
        assert reference.shape == (128, 96, 3)
        assert reference.dtype == np.uint8
        self.asked = asked
        return self.session

    def generate(self, reference: Path, audio: Path, out: Path, **asked: object) -> FakeResult:
        self.asked = asked
        read_picture(reference, 128, 96)
        voice = read_voice(audio)
        with VideoWriter(out, 96, 128, 25, audio=voice) as video:
            for chunk in self.session.push(voice):
                video.write(chunk.frames)
                if self.fail is not None:
                    raise self.fail
        return FakeResult(video.frames_written)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    module = types.ModuleType("liveavatar.pipeline")
    module.load = lambda profile="nano", **asked: fake.loaded_as(asked)  # type: ignore[attr-defined]
    store = types.ModuleType("liveavatar.checkpoints.store")
    store.WeightsError = type("WeightsError", (RuntimeError,), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liveavatar.pipeline", module)
    monkeypatch.setitem(sys.modules, "liveavatar.checkpoints.store", store)
    return fake


@pytest.fixture
def files(tmp_path: Path) -> Path:
    Image.fromarray(np.full((256, 192, 3), 90, np.uint8)).save(tmp_path / "face.png")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(pcm(1.92))
    return tmp_path


def pcm(seconds: float) -> bytes:
    return np.random.default_rng(0).integers(-9000, 9000, round(seconds * 16_000)).astype("<i2").tobytes()


def generate(files: Path, *more: str, reference: str = "face.png", audio: str = "voice.wav", out: str = "o.mp4") -> int:
    paths = ["--reference", str(files / reference), "--audio", str(files / audio), "--out", str(files / out)]
    return cli.main(["generate", *paths, *more])


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# ----------------------------------------------------------------------------------------------------------- generate


def test_generate_writes_and_tells(files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture) -> None:
    assert generate(files, "--prompt", "a woman", "--seed", "7") == 0
    assert frame_count(files / "o.mp4") == 48
    captured = capsys.readouterr()
    assert "1.92 s of 96x128 px" in captured.out
    assert "generation FPS" in captured.out
    assert captured.err == ""
    assert pipeline.asked["prompt"] == "a woman"
    assert pipeline.asked["seed"] == 7
    assert pipeline.asked["options"] == profile("nano").rollout
    assert pipeline.asked["progress"] is None


def test_generate_switches_and_json(files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture) -> None:
    switches = ["--steps", "2", "--cache", "clean", "--no-aas", "--no-rolling-rope"]
    assert generate(files, *switches, "--json", "--timeline", str(files / "t.jsonl")) == 0
    assert pipeline.asked["options"] == replace(
        profile("nano").rollout, steps=2, cache="clean", aas=False, rolling_rope=False
    )
    assert pipeline.asked["timeline"] == files / "t.jsonl"
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 48
    assert result["out"].endswith("o.mp4")
    assert result["generation_fps"] == 96.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "none.png"}, "does not exist"),
        ({"audio": "none.wav"}, "does not exist"),
        ({"reference": "voice.wav"}, "is not a PNG, JPEG or WebP image"),
        ({"audio": "face.png"}, "is not audio"),
        ({"audio": "empty.wav"}, "is empty"),
        ({"out": "o.avi"}, "does not end in .mp4"),
        ({"out": "no/o.mp4"}, "does not exist; make it first"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture, change: dict, message: str
) -> None:
    (files / "empty.wav").touch()
    assert generate(files, **change) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("liveavatar: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        (["--steps", "0"], "at least 1 step"),
        (["--profile", "nanoo"], "available: nano"),
        (["--threads", "0"], "give 1 or more"),
        (["--timeline", "/nowhere/t.jsonl"], "timeline folder /nowhere does not exist"),
        (["--size", "96"], "--size 96: give width x height in pixels"),
        (["--size", "96x100"], "--size 96x100: height=100: give a multiple of 16"),
        (["--prompts", "/nowhere/p.jsonl"], "prompts /nowhere/p.jsonl does not exist"),
    ],
)
def test_bad_switches(
    files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture, switches: list[str], message: str
) -> None:
    assert generate(files, *switches) == 2
    assert message in capsys.readouterr().err


def test_load_options_and_prompts_reach_the_pipeline(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveavatar.threads.share_threads", lambda device: device == "cpu")
    (files / "p.jsonl").write_text('{"time": 0.96, "prompt": "a smile"}\n\n{"time": 0, "prompt": "a man"}\n')
    switches = ["--prompts", str(files / "p.jsonl"), "--weights", str(files), "--dtype", "bfloat16", "--fp8", "--offload"]
    switches += ["--host-caches", "--compile"]
    assert generate(files, "--size", "96x128", "--device", "cpu", *switches) == 0
    assert pipeline.asked["prompts"] == [(0.0, "a man"), (0.96, "a smile")]
    assert pipeline.load_asked == {
        "device": "cpu", "weights": files, "dtype": "bfloat16", "fp8": True, "offload": True, "size": (96, 128),
        "host_caches": True, "graphs": False, "compiled": True, "variant": None, "overlaps": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        '{"time": -1, "prompt": "a"}',
        '{"prompt": "a"}',
        "a smile",
        '{"time": NaN, "prompt": "a"}',
        '{"time": 1, "prompt": 2}',
    ],
)
def test_a_wrong_line_of_prompts_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"time": 0, "prompt": "a"}\n' + line + "\n")
    with pytest.raises(InputError, match=r"line 2 is .* each line is"):
        read_prompts(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text('{"time": 1, "prompt": "a"}\n{"time": 1.0, "prompt": "b"}\n')
    with pytest.raises(InputError, match="line 2: 1 s has a prompt already"):
        read_prompts(tmp_path / "p.jsonl")


def test_silence_is_a_warning(files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture) -> None:
    with wave.open(str(files / "voice.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    assert generate(files) == 0
    assert "liveavatar: warning: voice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OutputError("o.mp4: the disk is full"), 1, "the disk is full"),
        (RuntimeError("lost"), 1, "RuntimeError: lost"),
    ],
)
def test_failures_end_with_their_code_and_keep_the_part(
    files: Path, pipeline: FakePipeline, capsys: pytest.CaptureFixture, error: BaseException, code: int, message: str
) -> None:
    pipeline.fail = error
    (files / "o.mp4").write_bytes(b"older")
    assert generate(files) == code
    assert message in capsys.readouterr().err
    assert frame_count(files / "o.partial.mp4") == 12
    assert (files / "o.mp4").read_bytes() == b"older"


def test_progress_tells_rate_and_time_left(capsys: pytest.CaptureFixture) -> None:
    moments = iter([0.0, 0.2, 0.4])
    with cli.ProgressLine(lambda: next(moments)) as progress:
        for frames in (12, 24, 36):
            progress(frames, 7236)
    lines = capsys.readouterr().err.split("\r\x1b[K")
    assert lines[1] == "12/7236 frames"
    assert lines[3] == "36/7236 frames, 60.0 generation FPS, 2:00 left"
    assert lines[-1] == ""


# ------------------------------------------------------------------------------------------------------------- stream


class Dribble(io.RawIOBase):
    """Gives its bytes in pieces of the given sizes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.turn = data, sizes, 0

    def read1(self, _: int) -> bytes:
        size = self.sizes[self.turn % len(self.sizes)]
        self.turn += 1
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("sizes", [[1], [1, 2, 3], [7], [333, 1, 4096], [10**9]])
def test_pcm_pieces_of_any_size(sizes: list[int]) -> None:
    data = pcm(0.1)
    samples = np.concatenate(list(cli.pcm_pieces(Dribble(data, sizes))))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, np.frombuffer(data, "<i2") / np.float32(32768))


def test_pcm_with_a_byte_too_many_and_hardly_any(caplog: pytest.LogCaptureFixture) -> None:
    assert sum(map(len, cli.pcm_pieces(Dribble(bytes(2001), [17])))) == 1000
    assert "the last byte is dropped" in caplog.text
    assert sum(map(len, cli.pcm_pieces(Dribble(bytes(3), [1])))) == 1
    assert list(cli.pcm_pieces(Dribble(b"", [1]))) == []


def test_a_sound_file_on_standard_input_is_recognised(files: Path) -> None:
    with pytest.raises(InputError, match="holds a sound file, not raw sound"):
        list(cli.pcm_pieces(Dribble((files / "voice.wav").read_bytes(), [3])))


def stream(files: Path, monkeypatch: pytest.MonkeyPatch, source: object, out: str) -> int:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=source, isatty=lambda: False))
    return cli.main(["stream", "--reference", str(files / "face.png"), "--out", out, "--seed", "3"])


def test_stream_to_a_file(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert stream(files, monkeypatch, Dribble(pcm(1.0), [1001, 3]), str(files / "s.mp4")) == 0
    assert frame_count(files / "s.mp4") == 25
    assert pipeline.asked["seed"] == 3
    np.testing.assert_array_equal(pipeline.session.heard, np.frombuffer(pcm(1.0), "<i2") / np.float32(32768))
    said = capsys.readouterr().err
    assert said.count("frames, latency") == 3
    assert "25 frames in 3 blocks, latency median" in said
    with av.open(str(files / "s.mp4")) as container:
        assert container.streams.audio
        assert container.duration == 1_000_000


def test_stream_to_standard_output(files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=pipe, isatty=lambda: False))
    assert stream(files, monkeypatch, Dribble(pcm(1.0), [1001, 3]), "-") == 0
    (files / "s.mp4").write_bytes(pipe.getvalue())
    assert frame_count(files / "s.mp4") == 25


def test_stream_whose_reader_goes(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=pipe, isatty=lambda: False, fileno=lambda: -1))
        assert stream(files, monkeypatch, Dribble(pcm(3.0), [4096]), "-") == 1
    assert "the reader of standard output has gone" in capsys.readouterr().err


def test_stream_into_a_full_disk(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", types.SimpleNamespace(buffer=full, isatty=lambda: False))
        assert stream(files, monkeypatch, Dribble(pcm(3.0), [4096]), "-") == 1
    assert "liveavatar: standard output: No space left on device" in capsys.readouterr().err


def test_missing_weights_are_one_line(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def load(profile: str, **_: object) -> None:
        raise sys.modules["liveavatar.checkpoints.store"].WeightsError("weights are missing; reinstall the package")

    monkeypatch.setattr(sys.modules["liveavatar.pipeline"], "load", load)
    assert generate(files) == 1
    assert capsys.readouterr().err == "liveavatar: weights are missing; reinstall the package\n"


def test_stream_without_sound(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert stream(files, monkeypatch, Dribble(b"", [1]), str(files / "s.mp4")) == 2
    assert "standard input ended without sound" in capsys.readouterr().err
    assert not list(files.glob("s.*"))


def test_stream_interrupted_keeps_the_part(
    files: Path, pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Interrupted(Dribble):
        def read1(self, n: int) -> bytes:
            if self.turn == 3:
                raise KeyboardInterrupt
            return super().read1(n)

    assert stream(files, monkeypatch, Interrupted(pcm(3.0), [15_360]), str(files / "s.mp4")) == 130
    assert frame_count(files / "s.partial.mp4") == 36
    assert "interrupted" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------- help, info


WEIGHTS_VERBS = ("list", "verify", "convert", "sample", "get")
VERBS = (["generate"], ["stream"], ["info"], ["weights"], *(["weights", verb] for verb in WEIGHTS_VERBS))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_shows_an_example_that_parses(verb: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args([*verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out.replace("\\\n", " ")
    start = " ".join(["python -m liveavatar", *verb])
    examples = re.findall(rf"^.*?({re.escape(start)}\b[^|\n]*)", shown, re.MULTILINE)
    examples = [one for one in examples if "[-h]" not in one]  # the usage line is no example
    assert examples
    for example in examples:
        assert callable(cli._parser().parse_args(shlex.split(example)[3:]).command)


@pytest.mark.parametrize("verb", [[], ["generate"], ["stream"]])
def test_help_is_quick_and_has_examples(verb: list[str]) -> None:
    command = [sys.executable, "-m", "liveavatar", *verb, "--help"]
    walls_s: list[float] = []
    while not walls_s or (min(walls_s) >= 1.0 and len(walls_s) < 3):  # a busy machine may be slow once, not thrice
        begin = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        walls_s.append(time.monotonic() - begin)
    assert min(walls_s) < 1.0
    assert "examples:" in done.stdout
    assert "--reference face.png" in done.stdout


def test_no_command_and_unknown_command(capsys: pytest.CaptureFixture) -> None:
    assert cli.main([]) == 2
    assert "examples:" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.main(["generat"])
    assert caught.value.code == 2


def test_info_counts_parameters_and_tells_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "nano").mkdir()
    header = json.dumps({"a": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [0, 30]}, "__metadata__": {}}).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(30)
    (tmp_path / "nano" / "generator.safetensors").write_bytes(data)
    monkeypatch.setattr(cli, "WEIGHTS", tmp_path)
    assert cli.main(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["weights"][0]["parameters"] == 15
    assert info["weights"][0]["name"] == "generator.safetensors"
    assert len(info["weights"][0]["sha256"]) == 64
    assert cli.main(["info"]) == 0
    assert "generator.safetensors: 15 parameters" in capsys.readouterr().out
    assert cli.main(["info", "--profile", "none"]) == 2


@pytest.mark.parametrize("page", ["README.md", "docs/streaming.md"])
def test_examples_of_the_python_door_name_what_exists(page: str) -> None:
    """Every example parses, and each argument it passes to `Avatar` is one that `Avatar` takes."""
    import ast
    import inspect

    from liveavatar import Avatar

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Attribute) and hasattr(Avatar, call.func.attr)]
    assert {call.func.attr for call in named} >= {"load", "stream"}  # type: ignore[attr-defined]
    for call in named:
        taken = inspect.signature(getattr(Avatar, call.func.attr)).parameters  # type: ignore[attr-defined]
        assert {keyword.arg for keyword in call.keywords} <= set(taken)
