"""The official checkout of Live Avatar: five processes (four steps and a decoder), one, or a list that loads once."""

from __future__ import annotations

import json

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
    whole_frames,
)

CLIP_FRAMES, NEVER_ENDS = 48, "10000"

COMMON = (
    "--ulysses_size", "1", "--task", "s2v-14B", "--base_seed", "{seed}",
    "--training_config", "{repo}/liveavatar/configs/s2v_causal_sft.yaml", "--convert_model_dtype",
    "--infer_frames", str(CLIP_FRAMES), "--load_lora", "--lora_path_dmd", "{lora}",
    "--sample_steps", "4", "--sample_guide_scale", "0", "--sample_solver", "euler",
    "--ckpt_dir", "{weights}/Wan2.2-S2V-14B",
)  # fmt: skip
PIPELINED = ("--size", "720*400", "--offload_model", "False", "--num_gpus_dit", "4", "--enable_vae_parallel")
ALONE = ("--size", "704*384", "--offload_model", "True", "--num_gpus_dit", "1", "--single_gpu")
SAMPLE = ("--prompt", "{prompt}", "--image", "{image}", "--audio", "{audio}", "--save_file", "{out_file}")


def _samples(tasks: list[Task], _place: Place) -> str:
    held = {
        task.words["number4"]: {
            "prompt": task.words["prompt"],
            "image": task.words["image"],
            "audio": task.words["audio"],
            "num_clip": int(NEVER_ENDS),
        }
        for task in tasks
    }
    return json.dumps(held, indent=1, ensure_ascii=False)


COMPILE_OFF = {"ENABLE_COMPILE": "false"}  # compiling takes minutes; right for few samples

SYSTEM = System(
    name="live_avatar_official",
    title="Live Avatar (official code)",
    repository="Alibaba-Quark/LiveAvatar",
    commit="9c2c38de1715e553127b42c82cb959f756b02595",
    licence="Apache-2.0",
    entries={
        "pipelined": Entry(
            "minimal_inference/s2v_streaming_interact.py",
            (*COMMON, *PIPELINED, *SAMPLE, "--num_clip", NEVER_ENDS),
            launcher=TORCHRUN,
            environment=COMPILE_OFF,
        ),
        "one_gpu": Entry(
            "minimal_inference/s2v_streaming_interact.py",
            # Without online decoding the sink is never switched on one device.
            (*COMMON, *ALONE, *SAMPLE, "--num_clip", NEVER_ENDS, "--enable_online_decode"),
            launcher=TORCHRUN,
            environment=COMPILE_OFF,
        ),
        "batch": Entry(
            "minimal_inference/batch_eval.py",
            # Joined to file names without a separator.
            (*COMMON, *PIPELINED, "--sample_list", "{list_file}", "--save_dir", "{out_dir}/"),
            launcher=TORCHRUN,
            environment=COMPILE_OFF,
            written=(Written("list_file", "samples.json", _samples),),
            batch=16,
            pattern="{out_dir}/sample_{number4}_*.mp4",
        ),
    },
    output=Output(
        "{out_file}",
        25,
        whole_frames(25),
        CLIP_FRAMES,
        size="704x384, 384x704 or 512x512 for 720*400",
        note="its first three frames are dropped without moving the voice: lips may be up to 0.12 s early",
    ),
    needs=Needs(
        hubs=("Wan-AI/Wan2.2-S2V-14B -> Wan2.2-S2V-14B", "Quark-Vision/Live-Avatar -> LiveAvatar"),
        files=("{weights}/Wan2.2-S2V-14B/Wan2.1_VAE.pth", "{weights}/LiveAvatar/liveavatar.safetensors"),
        disk_gb=49,
        least_gpus=1,
        most_gpus=5,
        gpu_gb=80,
        remarks=("five GPUs for the entries `pipelined` and `batch`, one for `one_gpu`; two to four are refused",),
    ),
    options="live_avatar",
    hooks=(
        Hook("liveavatar.models.wan.causal_s2v_pipeline_tpp:WanS2V.generate", GENERATE),
        # The first call only primes the decoder.
        Hook("liveavatar.models.wan.wan_2_2.modules.vae2_1:Wan2_1_VAE.stream_decode", FRAMES, skip=1),
    ),
    marks=Marks(start="complete prepare conditional inputs", end="Saving generated video to"),
    forbidden={"/": " "},
    settings={"lora": "{weights}/LiveAvatar/liveavatar.safetensors"},
    limit_per_s=120.0,
)
