"""StableAvatar: one joint latent for the whole video, windows fused at every step, a silent file."""

from __future__ import annotations

from evalkit.methods.official.system import (
    EITHER,
    GENERATE,
    Entry,
    Hook,
    Needs,
    Output,
    Place,
    System,
    Task,
    Words,
    whole_frames,
)

HEADS = 12


def _derived(task: Task, place: Place) -> Words:
    """The transformer for the picture's shape, and degrees of which the first divides the heads: 8 devices are 4 x 2."""
    shape = "square" if task.words["width"] == task.words["height"] else "rec-vec"
    ulysses = max(degree for degree in range(1, place.gpus + 1) if HEADS % degree == 0 and place.gpus % degree == 0)
    return {
        "transformer": f"{place.weights}/StableAvatar-1.3B/transformer3d-{shape}.pt",
        "ulysses": str(ulysses),
        "ring": str(place.gpus // ulysses),
    }


SYSTEM = System(
    name="stableavatar",
    title="StableAvatar",
    repository="Francis-Rings/StableAvatar",
    commit="46c04929cbc86cb2e0f50265d276fcf619737312",
    licence="MIT",
    entries={
        "full": Entry(
            "inference.py",
            (
                "--config_path", "{repo}/deepspeed_config/wan2.1/wan_civitai.yaml",
                "--pretrained_model_name_or_path", "{weights}/Wan2.1-Fun-V1.1-1.3B-InP",
                "--transformer_path", "{transformer}",
                "--pretrained_wav2vec_path", "{weights}/wav2vec2-base-960h",
                "--validation_reference_path", "{image}", "--validation_driven_audio_path", "{audio}",
                "--output_dir", "{out_dir}", "--validation_prompts", "{prompt}", "--seed", "{seed}",
                "--ulysses_degree", "{ulysses}", "--ring_degree", "{ring}", "--motion_frame", "25",
                "--sample_steps", "50", "--width", "{width}", "--height", "{height}",
                "--overlap_window_length", "10", "--clip_sample_n_frames", "81",
                "--GPU_memory_mode", "model_full_load",
                "--sample_text_guide_scale", "3.0", "--sample_audio_guide_scale", "5.0",
            ),
            launcher=EITHER,
            many_gpus=("--fsdp_dit",),
        ),
    },
    output=Output(
        "{out_dir}/video_without_audio.mp4",
        25,
        whole_frames(25),
        4,
        voice="none",
        size="multiples of 16; trained for 512x512, 480x832 and 832x480",
        note="an empty animated_images folder lies beside it",
    ),
    needs=Needs(
        hubs=("FrancisRing/StableAvatar",),
        files=("{weights}/Wan2.1-Fun-V1.1-1.3B-InP", "{weights}/StableAvatar-1.3B", "{weights}/wav2vec2-base-960h"),
        disk_gb=30,
        most_gpus=8,
        remarks=(
            "xfuser for more than one GPU is missing from its requirements",
            "its rendezvous port is fixed to 29500: one job per host",
        ),
    ),
    options="stableavatar",
    hooks=(
        Hook("wan.pipeline.wan_inference_long_pipeline:WanI2VTalkingInferenceLongPipeline.__call__", GENERATE),
    ),
    derived=_derived,
)
