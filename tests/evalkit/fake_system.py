"""A stand-in for official checkouts: scripts that take the documented options and leave the documented files.

Where files go, how they are called, how many frames they have and at which rate is written here once more, from the
systems' documentation, so that the adapters are held to it. FAKE_BEHAVIOUR names what goes wrong.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import time
import wave
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """A sample as the script got it."""

    prompt: str
    image: Path
    audio: Path

    @property
    def seconds(self) -> float:
        with wave.open(str(self.audio), "rb") as file:
            return file.getnframes() / file.getframerate()


def write_video(path: Path, frames: int, fps: float, size: tuple[int, int] = (32, 32), voice: bool = True) -> None:
    """Frame k is grey level 2 k modulo 240, so that a test can tell which frames were kept."""
    from liveavatar.output import VideoWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.zeros(round(16_000 * frames / fps), np.float32) if voice else None
    with VideoWriter(path, *size, fps, sound, audio_rate=16_000) as writer:
        for level in range(frames):
            writer.write(np.full((1, size[1], size[0], 3), 2 * level % 240, np.uint8))


def ditto(o: Namespace) -> None:
    from core.atomic_components.writer import VideoWriterByImageIO
    from stream_pipeline_offline import StreamSDK

    case = Case("", Path(o.source_path), Path(o.audio_path))
    pipeline = StreamSDK(o.cfg_pkl, o.data_root)
    pipeline.setup(case.image)
    for _ in range(2):
        VideoWriterByImageIO()("frame")
    out = Path(o.output_path)
    out.with_name(out.name + ".tmp.mp4").write_bytes(b"silent leftover")
    write_video(out, misbehaving(math.ceil(25 * case.seconds - 1e-9)), 25, (48, 32))
    pipeline.close()


def echomimic_v2(o: Namespace) -> None:
    config = json.loads(Path(o.config).read_text())
    assert "/" in o.refimg_name, "the reference name must contain a folder"
    image, audio = Path(o.ref_images_dir) / o.refimg_name, Path(o.audio_dir) / o.audio_name
    assert image.is_file()
    poses = len(list((Path(o.pose_dir) / o.pose_name).glob("*.npy")))
    case = Case("", image, audio)
    motion = Path(config["motion_module_path"])
    folder = Path("outputs") / f"{motion.parent.name}-iter{motion.stem}-seed{o.seed}"
    folder = folder / o.refimg_name.replace("/", ".") / o.pose_name
    name = f"{image.stem}-a-{o.audio_name}-i0_sig.mp4"
    write_video(folder / name, misbehaving(min(o.L, int(case.seconds * o.fps), poses)), o.fps, (64, 64))


def hallo3(o: Namespace) -> None:
    assert os.environ["WORLD_SIZE"] == "1"
    for number, case in enumerate(list_cases(o.input_file)):
        print(f"[{number + 1}/9] clip", flush=True)
        folder = Path(o.output_dir) / f"{case.image.stem}-{case.audio.stem}-seed_{o.seed}"
        write_video(folder / "000000_with_audio.mp4", misbehaving(math.ceil(25 * case.seconds - 1e-9)), 25)
        print(f"saving in: {folder}", flush=True)
        after_sample(number)


def stableavatar(o: Namespace) -> None:
    assert o.ulysses_degree * o.ring_degree == int(os.environ.get("WORLD_SIZE", "1"))
    assert Path(o.transformer_path).is_file()
    out = Path(o.output_dir)
    (out / "animated_images").mkdir(parents=True)
    seconds = Case("", Path(o.validation_reference_path), Path(o.validation_driven_audio_path)).seconds
    frames = int(seconds * 16_000 / 640)
    latents = (frames - 1) // 4
    write_video(out / "video_without_audio.mp4", misbehaving(1 + 4 * latents), 25, (48, 32), voice=False)


def wan_s2v(o: Namespace) -> None:
    case = Case(o.prompt, Path(o.image), Path(o.audio))
    print("Creating WanS2V pipeline.\nGenerating video ...", flush=True)
    clips = math.floor(case.seconds * 16 / 80) + 1
    time.sleep(0.1)
    write_video(Path(o.save_file), misbehaving(min(80 * clips - 3, math.ceil(16 * case.seconds - 1e-9))), 16)
    print(f"Saving generated video to {o.save_file}", flush=True)


def omniavatar(o: Namespace) -> None:
    values = dict(pair.split("=") for pair in o.hparams.split(","))
    assert values["silence_duration_s"] == "0"
    assert "OmniAvatar-14B" in Path(o.config).read_text()
    folder = Path("demo_out") / "OmniAvatar-14B"
    folder = folder / f"res_{Path(o.input_file).stem}_seed{values['seed']}_step50_cfg4.5_ovlp13_30000_25_2025-08-06-12:00:01"
    for number, case in enumerate(list_cases(o.input_file)):
        print(f"[{number + 1}/9] clip", flush=True)
        frames = math.ceil(25 * case.seconds - 1e-9) + 1
        write_video(folder / f"result_{number:03d}_000.mp4", frames, 25, voice=False)
        write_video(folder / f"result_{number:03d}_000_wav.mp4", misbehaving(frames), 25)
        print("save res video to : x", flush=True)
        after_sample(number)


def infinitetalk(o: Namespace) -> None:
    assert o.mode == "streaming", "the default is a single clip"
    content = json.loads(Path(o.input_json).read_text())
    case = Case(content["prompt"], Path(content["cond_video"]), Path(content["cond_audio"]["person1"]))
    assert not Path(o.save_file + "-cropaudio.wav").exists(), "ffmpeg would ask and hang"
    frames = min(math.ceil(25 * case.seconds - 1e-9), o.max_frame_num)
    assert frames > 81, "voices shorter than 82 feature frames are refused"
    write_video(Path(o.save_file + ".mp4"), misbehaving(frames), 25)


def multitalk(o: Namespace) -> None:
    content = json.loads(Path(o.input_json).read_text())
    case = Case(content["prompt"], Path(content["cond_image"]), Path(content["cond_audio"]["person1"]))
    write_video(Path(o.save_file + ".mp4"), misbehaving(math.ceil(25 * case.seconds - 1e-9)), 25)


def live_avatar_official(o: Namespace) -> None:
    assert o.sample_guide_scale == 0
    if "sample_list" in o:
        assert o.save_dir.endswith("/"), "joined without a separator"
        for number, case in enumerate(json.loads(Path(o.sample_list).read_text()).values(), 1):
            assert set(case) == {"prompt", "image", "audio", "num_clip"}
            seconds = Case(case["prompt"], Path(case["image"]), Path(case["audio"])).seconds
            name = f"sample_{number:04d}_20260726_4step_{case['prompt'][:50]}.mp4"
            write_video(Path(o.save_dir + name), misbehaving(released_frames(seconds)), 25)
            after_sample(number - 1)
        return
    world = int(os.environ["WORLD_SIZE"])
    assert (world, o.num_gpus_dit, bool(o.single_gpu)) in ((5, 4, False), (1, 1, True))
    assert o.single_gpu or o.enable_vae_parallel
    seconds = Case(o.prompt, Path(o.image), Path(o.audio)).seconds
    write_video(Path(o.save_file), misbehaving(released_frames(seconds)), 25)


def released_frames(seconds: float) -> int:
    """48 frames a clip, the first three dropped, the rest cut to the voice."""
    wanted = math.ceil(25 * seconds - 1e-9)
    return min(48 * math.ceil(wanted / 48) - 3, wanted)


def soulx_flashtalk(o: Namespace) -> None:
    seconds = Case("", Path(o.cond_image), Path(o.audio_path)).seconds
    print("Data preparation done. Start to generate video...", flush=True)
    write_video(Path(o.save_file), misbehaving(int(seconds * 25) // 28 * 28), 25)
    print(f"Saving generated video to {o.save_file}.mp4", flush=True)


def soulx_liveact(o: Namespace) -> None:
    for number, one in enumerate(json.loads(Path(o.input_json).read_text())):
        case = Case(one["prompt"], Path(one["cond_image"]), Path(one["cond_audio"]))
        count = 6 * 4 - 3 + 8 * 4 * int(case.seconds / (8 * 4 / 20))
        write_video(Path(f"{case.image.stem}_{case.audio.stem}.mp4"), misbehaving(min(count, int(20 * case.seconds))), 20)
        after_sample(number)


def longcat_avatar(o: Namespace) -> None:
    content = json.loads(Path(o.input_json).read_text())
    assert Path(content["cond_audio"]["person1"]).is_file()
    write_video(Path(o.output_dir) / "ai2v_demo_1.mp4", 93, 25)
    for segment in range(2, o.num_segments + 1):
        write_video(Path(o.output_dir) / f"video_continue_{segment}.mp4", misbehaving(93 + 80 * (segment - 1)), 25)


def livetalk(o: Namespace) -> None:
    values = dict(line.split(": ", 1) for line in Path(o.config).read_text().splitlines() if ": " in line)
    held = {name: json.loads(value) for name, value in values.items() if value.startswith(('"', "[")) or value.isdigit()}
    assert os.environ["PYTHONPATH"] == os.getcwd()
    assert held["video_duration"] % 3 == 2
    seconds = min(held["video_duration"], Case("", Path(held["image_path"]), Path(held["audio_path"])).seconds)
    write_video(Path(held["output_path"]), misbehaving(int(16 * seconds)), 16, (64, 64))


def avatarforcing(o: Namespace) -> None:
    assert o.i2v
    assert (o.num_output_frames - 1) % 4 == 0
    (line,) = Path(o.data_path).read_text().splitlines()
    image, audio, prompt = shlex.split(line)
    seconds = Case(prompt, Path(image), Path(audio)).seconds
    if math.ceil(25 * seconds) < 4 * o.num_output_frames + 80:
        return  # skipped without a word
    write_video(Path(o.output_folder) / "0-0_regular.mp4", misbehaving(4 * (o.num_output_frames - 1) + 1), 25)


def list_cases(path: str) -> list[Case]:
    lines = [line.split("@@") for line in Path(path).read_text().splitlines()]
    assert all(len(parts) == 3 for parts in lines)
    return [Case(prompt, Path(image), Path(audio)) for prompt, image, audio in lines]


def misbehaving(frames: int) -> int:
    """The number of frames to write, unless this run is to end before."""
    behaviour = os.environ.get("FAKE_BEHAVIOUR", "")
    if behaviour == "hang":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        time.sleep(600)
    if behaviour == "no_gpu":
        raise RuntimeError("Found no NVIDIA driver on your system.")
    if behaviour == "flood":
        for _ in range(128):
            os.write(1, b"progress " * (1 << 17))
    if behaviour == "silent_loss":
        raise SystemExit(0)
    return frames // 4 if behaviour == "wrong_length" else frames


def after_sample(number: int) -> None:
    """What goes wrong between the samples of a list."""
    time.sleep(0.02)  # so that files differ in age
    if os.environ.get("FAKE_BEHAVIOUR") == "crash_after_two" and number == 1:
        raise RuntimeError("CUDA out of memory")


def main(name: str, options: str, script: str) -> None:
    """What the fake script of a checkout calls."""
    from evalkit.methods.official.option_list import parser_of

    namespace = parser_of(options, script).parse_args(sys.argv[1:])
    run: Callable[[Namespace], None] = globals()[name]
    run(namespace)
    behaviour = os.environ.get("FAKE_BEHAVIOUR", "")
    if behaviour in ("half", "torn"):
        path = Path(namespace.save_file)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        raise SystemExit(1 if behaviour == "half" else 0)
