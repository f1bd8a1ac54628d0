"""Systems published since the paper whose options are known: a few lines each."""

from __future__ import annotations

import json
import math
import shlex

from evalkit.methods.official.lists import edited_yaml
from evalkit.methods.official.system import (
    EITHER,
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
    Words,
    Written,
    whole_frames,
)  # fmt: skip

CHUNK_DONE = r"Generate video chunk-0 done"

FLASHTALK = System(
    name="soulx_flashtalk",
    title="SoulX-FlashTalk",
    repository="Soul-AILab/SoulX-FlashTalk",
    commit="688982effe0e77eb21796e3e6848b3792b391c3e",
    licence="Apache-2.0",
    entries={
        "stream": Entry(
            "generate_video.py",
            (
                "--ckpt_dir", "{weights}/SoulX-FlashTalk-14B", "--wav2vec_dir", "{weights}/chinese-wav2vec2-base",
                "--input_prompt", "{prompt}", "--cond_image", "{image}", "--audio_path", "{audio}",
                "--audio_encode_mode", "stream", "--base_seed", "{seed}", "--save_file", "{out_file}",
            ),
            launcher=EITHER,
        ),
    },
    # Whole chunks of 28 new frames: what does not fill one is left out, so a second of silence makes up for it.
    output=Output("{out_file}", 25, whole_frames(25), 33, size="448x768 (its configuration)"),
    needs=Needs(
        hubs=(
            "Soul-AILab/SoulX-FlashTalk-14B -> SoulX-FlashTalk-14B",
            "TencentGameMate/chinese-wav2vec2-base -> chinese-wav2vec2-base",
        ),
        files=("{weights}/SoulX-FlashTalk-14B", "{weights}/chinese-wav2vec2-base"),
        most_gpus=8,
        gpu_gb=80,
        remarks=("its authors state 32 frames per second on 8 H800",),
    ),
    options="soulx_flashtalk",
    hooks=(Hook("__main__:generate", GENERATE),),
    marks=Marks(start="Data preparation done", end="Saving generated video to"),
    voice_padding_s=1.2,
    limit_per_s=120.0,
)

FLASHHEAD = System(
    name="soulx_flashhead",
    title="SoulX-FlashHead",
    repository="Soul-AILab/SoulX-FlashHead",
    commit="12467cef31a9554cd9682a0521e6e87deaef9810",
    licence="Apache-2.0",
    entries={
        kind: Entry(
            "generate_video.py",
            (
                "--ckpt_dir", "{weights}/SoulX-FlashHead-1_3B", "--wav2vec_dir", "{weights}/wav2vec2-base-960h",
                "--model_type", kind, "--cond_image", "{image}", "--audio_path", "{audio}",
                "--audio_encode_mode", "stream", "--base_seed", "{seed}", "--save_file", "{out_file}",
            ),
            launcher=EITHER,
        )
        for kind in ("lite", "pro")
    },
    output=Output("{out_file}", 25, whole_frames(25), 33, size="a square around the head"),
    needs=Needs(
        hubs=(
            "Soul-AILab/SoulX-FlashHead-1_3B -> SoulX-FlashHead-1_3B",
            "facebook/wav2vec2-base-960h -> wav2vec2-base-960h",
        ),
        files=("{weights}/SoulX-FlashHead-1_3B", "{weights}/wav2vec2-base-960h"),
        most_gpus=2,
        gpu_gb=24,
        remarks=("head only",),
    ),
    options="soulx_flashhead",
    hooks=(Hook("__main__:generate", GENERATE),),
    marks=Marks(start="Data preparation done", end="Saving generated video to"),
    voice_padding_s=1.2,
    limit_per_s=120.0,
)


def _liveact_samples(tasks: list[Task], _place: Place) -> str:
    held = [
        {"prompt": task.words["prompt"], "cond_image": task.words["image"], "cond_audio": task.words["audio"]}
        for task in tasks
    ]
    return json.dumps(held, indent=1, ensure_ascii=False)


LIVEACT = System(
    name="soulx_liveact",
    title="SoulX-LiveAct",
    repository="Soul-AILab/SoulX-LiveAct",
    commit="ac8579b907756f228e975922a5159765c93c6a34",
    licence="no licence file",
    entries={
        "stream": Entry(
            "generate.py",
            (
                "--size", "416*720", "--ckpt_dir", "{weights}/LiveAct",
                "--wav2vec_dir", "{weights}/chinese-wav2vec2-base", "--fps", "20", "--dura_print",
                "--seed", "{seed}", "--input_json", "{input_json}", "--steam_audio",
            ),
            launcher=EITHER,
            written=(Written("input_json", "input.json", _liveact_samples),),
            batch=16,
        ),
    },
    # Named after picture and voice, in the working folder.
    output=Output("{repo}/{image_stem}_{audio_stem}.mp4", 20, whole_frames(20), 32, size="416x720 (option)"),
    needs=Needs(
        hubs=("Soul-AILab/LiveAct -> LiveAct", "TencentGameMate/chinese-wav2vec2-base -> chinese-wav2vec2-base"),
        files=("{weights}/LiveAct/Wan2.1_VAE.pth", "{weights}/chinese-wav2vec2-base"),
        most_gpus=2,
        gpu_gb=80,
        remarks=("SageAttention, vllm and LightX2V's VAE are installed by hand", "sox"),
    ),
    options="soulx_liveact",
    marks=Marks(start="iter_total_num", end=r"Done Block 0:"),
    limit_per_s=120.0,
)


def _longcat_input(tasks: list[Task], _place: Place) -> str:
    words = tasks[0].words
    held = {"prompt": words["prompt"], "cond_image": words["image"], "cond_audio": {"person1": words["audio"]}}
    return json.dumps(held, indent=1, ensure_ascii=False)


def _longcat_segments(task: Task, _place: Place) -> Words:
    """93 frames, then 80 new ones per segment."""
    count = 1 + max(0, math.ceil((25 * task.seconds - 93) / 80))
    return {"segments": str(count), "last": f"video_continue_{count}" if count > 1 else "ai2v_demo_1"}


LONGCAT = System(
    name="longcat_avatar",
    title="LongCat-Video-Avatar 1.5",
    repository="meituan-longcat/LongCat-Video",
    commit="6b3f4b8582a8bc3f20f795735f5383716c4ba794",
    licence="MIT",
    entries={
        "distilled": Entry(
            "run_demo_avatar_single_audio_to_video.py",
            (
                "--input_json", "{input_json}", "--output_dir", "{out_dir}", "--resolution", "480p",
                "--num_segments", "{segments}", "--stage_1", "ai2v", "--context_parallel_size", "{gpus}",
                "--checkpoint_dir", "{weights}/LongCat-Video-Avatar-1.5", "--model_type", "avatar-v1.5",
                "--use_distill",
            ),
            launcher=TORCHRUN,
            written=(Written("input_json", "input.json", _longcat_input),),
        ),
    },
    # Every segment writes the whole video so far; the last is the one.
    output=Output(
        "{out_dir}/{last}.mp4", 25, lambda seconds: 93 + 80 * max(0, math.ceil((25 * seconds - 93) / 80)), 80,
        size="area of 480x832, shape of the picture",
    ),
    needs=Needs(
        hubs=(
            "meituan-longcat/LongCat-Video -> LongCat-Video",
            "meituan-longcat/LongCat-Video-Avatar-1.5 -> LongCat-Video-Avatar-1.5",
        ),
        files=("{weights}/LongCat-Video-Avatar-1.5", "{weights}/LongCat-Video"),
        least_gpus=1,
        most_gpus=8,
        gpu_gb=80,
        remarks=("its seed is fixed to 42 in the code", "audio-separator"),
    ),
    options="longcat_avatar",
    marks=Marks(start="Generating segment 1/"),
    derived=_longcat_segments,
)


def _livetalk_config(tasks: list[Task], place: Place) -> str:
    task, base = tasks[0], place.weights / "Wan2.1-T2V-1.3B"
    return edited_yaml(
        place.checkout / "configs/causal_inference.yaml",
        {
            "text_encoder_path": f"{base}/models_t5_umt5-xxl-enc-bf16.pth",
            "vae_path": f"{base}/Wan2.1_VAE.pth",
            "dit_path": f"{place.weights}/LiveTalk-1.3B-V0.1/model.safetensors",
            "wav2vec_path": f"{place.weights}/wav2vec2",
            "image_path": task.words["image"],
            "audio_path": task.words["audio"],
            "prompt": task.words["prompt"],
            "output_path": task.words["out_file"],
            # Durations are 3 n + 2.
            "video_duration": 3 * max(0, math.ceil((task.seconds - 2) / 3)) + 2,
        },
    )


LIVETALK = System(
    name="livetalk",
    title="LiveTalk",
    repository="GAIR-NLP/LiveTalk",
    commit="53b2c22a0581b27b2efdb1ec4b2e39c95189409a",
    licence="README says Apache-2.0, LICENSE.md CC BY-NC-SA 4.0",
    entries={
        "example": Entry(
            "scripts/inference_example.py",
            ("--config", "{config_yaml}"),
            environment={"PYTHONPATH": "{repo}"},
            written=(Written("config_yaml", "inference.yaml", _livetalk_config),),
        ),
    },
    output=Output("{out_file}", 16, whole_frames(16), 48, size="512x512"),
    needs=Needs(
        hubs=(
            "Wan-AI/Wan2.1-T2V-1.3B -> Wan2.1-T2V-1.3B",
            "GAIR/LiveTalk-1.3B-V0.1 -> LiveTalk-1.3B-V0.1",
            "facebook/wav2vec2-base-960h -> wav2vec2",
        ),
        files=("{weights}/LiveTalk-1.3B-V0.1/model.safetensors", "{repo}/configs/causal_inference.yaml"),
        gpu_gb=24,
        remarks=("the released script does not stream", "it writes tmp.mp4 into its folder: one job per checkout"),
    ),
    options="livetalk",
    hooks=(Hook("__main__:CausalInferencePipeline.forward", GENERATE),),
    marks=Marks(start="Starting causal inference", end="Generated video shape"),
    square=True,
    limit_per_s=120.0,
)


def _avatarforcing_list(tasks: list[Task], _place: Place) -> str:
    lines = (shlex.join([task.words["image"], task.words["audio"], task.words["prompt"]]) for task in tasks)
    return "\n".join(lines) + "\n"


def _avatarforcing_frames(task: Task, _place: Place) -> Words:
    """Latent frames, 4 n + 1 of them; each is 4 frames of video."""
    latents = math.ceil(25 * task.seconds / 4) + 1
    return {"latents": str(4 * math.ceil((latents - 1) / 4) + 1)}


AVATARFORCING = System(
    name="avatarforcing",
    title="AvatarForcing (one-step)",
    repository="cuiliyuan121/AvatarForcing",
    commit="63b73e6c0f7bb42180ca6d7e1bf11c1de1a80b39",
    licence="README says Apache-2.0, LICENSE.txt carries another notice",
    entries={
        "full": Entry(
            "inference.py",
            (
                "--config_path", "{repo}/configs/avatarforcing.yaml", "--checkpoint_path", "{weights}/model.pt",
                "--data_path", "{list_file}", "--output_folder", "{out_dir}", "--num_output_frames", "{latents}",
                "--seed", "{seed}", "--i2v", "--save_with_index",
            ),
            written=(Written("list_file", "list.txt", _avatarforcing_list),),
        ),
    },
    output=Output("{out_dir}/0-0_*.mp4", 25, whole_frames(25), 24, size="at most the area of 832x480, shape of the picture"),
    needs=Needs(
        hubs=("lycui/AvatarForcing",),
        files=("{weights}/model.pt", "{repo}/wan_models"),
        gpu_gb=24,
        remarks=(
            "base model and voice encoder lie under wan_models/ of the checkout, as its README says",
            "a voice shorter than the video and 80 frames is skipped without a word: silence is laid behind it",
        ),
    ),
    options="avatarforcing",
    derived=_avatarforcing_frames,
    voice_padding_s=6.0,
    limit_per_s=240.0,
)

NEWER = (FLASHTALK, FLASHHEAD, LIVEACT, LONGCAT, LIVETALK, AVATARFORCING)
