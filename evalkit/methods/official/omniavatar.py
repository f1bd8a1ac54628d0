"""OmniAvatar-14B: clip extension with a clamped prefix; a list shares a process that loads once."""

from __future__ import annotations

import math

from evalkit.methods.official.lists import edited_yaml, prompt_image_audio
from evalkit.methods.official.system import (
    FRAMES,
    GENERATE,
    TORCHRUN,
    Entry,
    Hook,
    Marks,
    Needs,
    Output,
    Place,
    System,
    Task,
    Written,
)

SHARDS = 6


def _config(_tasks: list[Task], place: Place) -> str:
    """The checkout's own configuration with this place's weight paths."""
    base, weights = place.weights / "Wan2.1-T2V-14B", place.weights
    shards = [f"{base}/diffusion_pytorch_model-{i:05d}-of-{SHARDS:05d}.safetensors" for i in range(1, SHARDS + 1)]
    return edited_yaml(
        place.checkout / "configs/inference.yaml",
        {
            "dit_path": ",".join(shards),
            "text_encoder_path": f"{base}/models_t5_umt5-xxl-enc-bf16.pth",
            "vae_path": f"{base}/Wan2.1_VAE.pth",
            "wav2vec_path": f"{weights}/wav2vec2-base-960h",
            "exp_path": f"{weights}/OmniAvatar-14B",
        },
    )


SYSTEM = System(
    name="omniavatar",
    title="OmniAvatar",
    repository="Omni-Avatar/OmniAvatar",
    commit="1536bf31abaec74364fb7d5883470d5b23ffa7f8",
    licence="Apache-2.0",
    entries={
        "list": Entry(
            "scripts/inference.py",
            (
                "--config", "{config_yaml}", "--input_file", "{list_file}",
                "--hp=sp_size={gpus},max_tokens=30000,guidance_scale=4.5,overlap_frame=13,num_steps=50,"
                "silence_duration_s=0,seed={seed}",
            ),
            launcher=TORCHRUN,
            written=(
                Written("config_yaml", "inference.yaml", _config),
                Written("list_file", "list-{mark}.txt", prompt_image_audio),
            ),
            batch=16,
        ),
    },
    # The folder carries a date, so it is found by the list's name, which is ours alone.
    output=Output(
        "{repo}/demo_out/*/res_{list_file_stem}_*/result_{index3}_000_wav.mp4",
        25,
        lambda seconds: math.ceil(25 * seconds - 1e-9) + 1,
        92,
        leading_frames=1,
        size="720x400, 400x720 or 720x720",
        note="frame 0 is the picture: with silence_duration_s=0 the voice begins one frame later",
    ),
    needs=Needs(
        hubs=(
            "Wan-AI/Wan2.1-T2V-14B -> Wan2.1-T2V-14B",
            "OmniAvatar/OmniAvatar-14B -> OmniAvatar-14B",
            "facebook/wav2vec2-base-960h -> wav2vec2-base-960h",
        ),
        files=(
            "{weights}/Wan2.1-T2V-14B/Wan2.1_VAE.pth",
            "{weights}/OmniAvatar-14B/pytorch_model.pt",
            "{repo}/configs/inference.yaml",
        ),
        disk_gb=70,
        most_gpus=8,
        gpu_gb=80,
        remarks=("ffmpeg at /usr/bin/ffmpeg, a path fixed in its code", "the number of GPUs divides 40"),
    ),
    options="omniavatar",
    hooks=(
        Hook("__main__:WanInferencePipeline.forward", GENERATE),
        Hook("OmniAvatar.wan_video:WanVideoPipeline.log_video", FRAMES),
    ),
    marks=Marks(start=r"^\[1/\d+\]", end="save res video to"),
    forbidden={"@@": "@"},
)
