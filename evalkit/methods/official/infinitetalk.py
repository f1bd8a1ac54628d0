"""InfiniteTalk, and MultiTalk before it: clips around a keyframe, momentum of some frames, colours matched per clip."""

from __future__ import annotations

import json

from evalkit.methods.official.system import (
    EITHER,
    GENERATE,
    Entry,
    Hook,
    Marks,
    Needs,
    Output,
    Place,
    System,
    Task,
    Words,
    Written,
    whole_frames,
)

CLIP_FRAMES = 81


def _input(picture_key: str) -> Written:
    def content(tasks: list[Task], _place: Place) -> str:
        words = tasks[0].words
        held = {"prompt": words["prompt"], picture_key: words["image"], "cond_audio": {"person1": words["audio"]}}
        return json.dumps(held, indent=1, ensure_ascii=False)

    return Written("input_json", "input.json", content)


def _derived(task: Task, _place: Place) -> Words:
    """The default limit of 1000 frames would cut a video at 40 s."""
    return {"frames": str(whole_frames(25)(task.seconds) + CLIP_FRAMES)}


MULTI = ("--dit_fsdp", "--t5_fsdp", "--ulysses_size", "{gpus}")
ENDING = ("--base_seed", "{seed}", "--audio_save_dir", "{work}", "--save_file", "{out_stem}")
OUTPUT = Output(
    "{out_stem}.mp4", 25, whole_frames(25), CLIP_FRAMES, voice="altered", size="896x448, 448x832 or 640x640",
    note="its voice track is loudness-normalised",
)  # fmt: skip
MARKS = Marks(start=r"Generating video \.\.\.", end="Saving generated video to")

SYSTEM = System(
    name="infinitetalk",
    title="InfiniteTalk",
    repository="MeiGen-AI/InfiniteTalk",
    commit="0107cd96421b3b1bef7728bde14447dbff7b2db2",
    licence="Apache-2.0",
    entries={
        "full": Entry(
            "generate_infinitetalk.py",
            (
                "--ckpt_dir", "{weights}/Wan2.1-I2V-14B-480P", "--wav2vec_dir", "{weights}/chinese-wav2vec2-base",
                "--infinitetalk_dir", "{weights}/InfiniteTalk/single/infinitetalk.safetensors",
                "--input_json", "{input_json}", "--size", "infinitetalk-480", "--sample_steps", "40",
                # Its default is a single clip.
                "--mode", "streaming", "--motion_frame", "9", "--max_frame_num", "{frames}", *ENDING,
            ),
            launcher=EITHER,
            many_gpus=MULTI,
            written=(_input("cond_video"),),
        ),
    },
    output=OUTPUT,
    needs=Needs(
        hubs=(
            "Wan-AI/Wan2.1-I2V-14B-480P -> Wan2.1-I2V-14B-480P",
            "TencentGameMate/chinese-wav2vec2-base -> chinese-wav2vec2-base",
            "MeiGen-AI/InfiniteTalk -> InfiniteTalk",
        ),
        files=(
            "{weights}/Wan2.1-I2V-14B-480P",
            "{weights}/InfiniteTalk/single/infinitetalk.safetensors",
            "{weights}/chinese-wav2vec2-base/model.safetensors",
        ),
        disk_gb=90,
        most_gpus=8,
        gpu_gb=80,
        remarks=(
            "model.safetensors of the voice encoder is in its revision refs/pr/1",
            "about 9.6 MB of host memory per frame",
            "voices shorter than 3.28 s are refused",
        ),
    ),
    options="infinitetalk",
    hooks=(Hook("wan.multitalk:InfiniteTalkPipeline.generate_infinitetalk", GENERATE),),
    marks=MARKS,
    derived=_derived,
)

MULTITALK = System(
    name="multitalk",
    title="MultiTalk",
    repository="MeiGen-AI/MultiTalk",
    commit="c1ad84009b99ed36c97ab18e4517ca5f98692438",
    licence="Apache-2.0",
    entries={
        "full": Entry(
            "generate_multitalk.py",
            (
                "--ckpt_dir", "{weights}/Wan2.1-I2V-14B-480P", "--wav2vec_dir", "{weights}/chinese-wav2vec2-base",
                "--input_json", "{input_json}", "--size", "multitalk-480", "--sample_steps", "40",
                "--mode", "streaming", *ENDING,
            ),
            launcher=EITHER,
            many_gpus=MULTI,
            written=(_input("cond_image"),),
        ),
    },
    output=OUTPUT,
    needs=Needs(
        hubs=(
            "Wan-AI/Wan2.1-I2V-14B-480P -> Wan2.1-I2V-14B-480P",
            "TencentGameMate/chinese-wav2vec2-base -> chinese-wav2vec2-base",
            "MeiGen-AI/MeiGen-MultiTalk -> MeiGen-MultiTalk",
        ),
        files=("{weights}/Wan2.1-I2V-14B-480P/multitalk.safetensors", "{weights}/chinese-wav2vec2-base"),
        disk_gb=90,
        most_gpus=8,
        gpu_gb=80,
        remarks=(
            "its weights and their index are copied or linked into the base model's folder, as its README says",
            "its authors speak of videos up to 15 s",
        ),
    ),
    options="multitalk",
    marks=MARKS,
)
