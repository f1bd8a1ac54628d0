"""Wan2.2-S2V-14B: clip extension behind packed motion context, 16 frames per second."""

from __future__ import annotations

from evalkit.methods.official.system import EITHER, GENERATE, LOAD, Entry, Hook, Marks, Needs, Output, System, whole_frames

FPS = 16

SYSTEM = System(
    name="wan_s2v",
    title="WanS2V",
    repository="Wan-Video/Wan2.2",
    commit="42bf4cfaa384bc21833865abc2f9e6c0e67233dc",
    licence="Apache-2.0",
    entries={
        "full": Entry(
            "generate.py",
            (
                "--task", "s2v-14B", "--size", "832*480", "--ckpt_dir", "{weights}", "--prompt", "{prompt}",
                # A missing prompt, picture or voice would be replaced by an example without a word.
                "--image", "{image}", "--audio", "{audio}", "--save_file", "{out_file}",
                "--base_seed", "{seed}", "--convert_model_dtype",
            ),
            launcher=EITHER,
            one_gpu=("--offload_model", "True"),
            # Refused without torchrun.
            many_gpus=("--dit_fsdp", "--t5_fsdp", "--ulysses_size", "{gpus}", "--offload_model", "False"),
        ),
    },
    output=Output(
        "{out_file}",
        FPS,
        whole_frames(FPS),
        80,
        size="an area; shape of the picture in multiples of 64 (768x448 for 720x400)",
        note="its first clip loses three frames that the voice does not: lips may be up to 0.19 s early",
    ),
    needs=Needs(
        hubs=("Wan-AI/Wan2.2-S2V-14B",),
        files=("{weights}/Wan2.1_VAE.pth", "{weights}/models_t5_umt5-xxl-enc-bf16.pth"),
        disk_gb=47,
        most_gpus=8,
        gpu_gb=80,
        remarks=("the number of GPUs divides 40", "flash_attn is installed last"),
    ),
    options="wan_s2v",
    hooks=(Hook("wan.speech2video:WanS2V.__init__", LOAD), Hook("wan.speech2video:WanS2V.generate", GENERATE)),
    marks=Marks(start=r"Generating video \.\.\.", end="Saving generated video to"),
)
