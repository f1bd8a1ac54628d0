"""Hallo3: clip extension with pixel context; many samples of one list share a process that loads once."""

from __future__ import annotations

from evalkit.methods.official.lists import prompt_image_audio
from evalkit.methods.official.system import (
    END,
    FRAMES,
    START,
    Entry,
    Hook,
    Marks,
    Needs,
    Output,
    System,
    Written,
    whole_frames,
)

SYSTEM = System(
    name="hallo3",
    title="Hallo3",
    repository="fudan-generative-vision/hallo3",
    commit="e342dcec7ec17cdf26da6c97679c0414c9738a3c",
    licence="MIT; its weights follow CogVideoX's terms",
    entries={
        "list": Entry(
            "hallo3/sample_video.py",
            (
                "--base", "{repo}/configs/cogvideox_5b_i2v_s2.yaml", "{repo}/configs/inference.yaml",
                "--seed", "{seed}", "--input-file", "{list_file}", "--output-dir", "{out_dir}",
            ),
            # Without torchrun; its own wrapper would draw a random seed.
            environment={"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
            written=(Written("list_file", "list.txt", prompt_image_audio),),
            batch=16,
        ),
    },
    output=Output(
        "{out_dir}/{image_stem}-{audio_stem}-seed_{seed}/000000_with_audio.mp4",
        25,
        whole_frames(25),
        47,
        size="480 rows by 720 columns inside; 480x480 for a square picture",
    ),
    needs=Needs(
        hubs=("fudan-generative-ai/hallo3",),
        files=("{repo}/pretrained_models/hallo3/latest", "{repo}/configs/inference.yaml"),
        remarks=(
            "its configuration names ./pretrained_models: ln -s WEIGHTS CHECKOUT/pretrained_models",
            "about 4.1 MB of host memory per frame",
            "tried by its authors on H100 and CUDA 12.1 only",
        ),
    ),
    options="hallo3",
    hooks=(
        Hook("sgm.utils.audio_processor:AudioProcessor.preprocess", START),
        Hook("diffusion_video:SATVideoDiffusionEngine.sample", FRAMES),
        Hook("__main__:save_video_as_grid_and_mp4_with_audio", END),
    ),
    marks=Marks(start=r"^\[1/\d+\]", end="saving in"),
    forbidden={"@@": "@"},
    limit_per_s=600.0,
)
