"""EchoMimic-V2: a pose for every frame, 768x768, at most as long as the pose template."""

from __future__ import annotations

import json
from pathlib import Path

from evalkit.methods.official.system import GENERATE, Entry, Hook, Marks, Needs, Output, Place, System, Task, Words, Written

FPS = 24
TEMPLATE_FRAMES = {"01": 336, "02": 241, "03": 241, "04": 241, "fight": 132, "good": 102, "salute": 97, "ultraman": 121}
PATHS = {
    "pretrained_base_model_path": "sd-image-variations-diffusers",
    "pretrained_vae_path": "sd-vae-ft-mse",
    "denoising_unet_path": "denoising_unet.pth",
    "reference_unet_path": "reference_unet.pth",
    "pose_encoder_path": "pose_encoder.pth",
    "motion_module_path": "motion_module.pth",
    "audio_model_path": "audio_processor/tiny.pt",
}
FIXED = ("-W", "768", "-H", "768", "-L", "{frames}", "--seed", "{seed}")
TUNED = ("--fps", str(FPS))


def _config(_tasks: list[Task], place: Place, **replaced: str) -> str:
    """Weight paths; JSON is YAML."""
    paths = {name: str(place.weights / path) for name, path in {**PATHS, **replaced}.items()}
    rest = {"inference_config": str(place.checkout / "configs/inference/inference_v2.yaml"), "weight_dtype": "fp16"}
    return json.dumps({**paths, **rest}, indent=1)


def _accelerated(tasks: list[Task], place: Place) -> str:
    """The accelerated script takes its cases from here, and shrinks its length limit to the shortest: one case."""
    held = json.loads(
        _config(tasks, place, denoising_unet_path="denoising_unet_acc.pth", motion_module_path="motion_module_acc.pth")
    )
    words = tasks[0].words
    held["test_cases"] = {words["image"]: [words["audio"], f"{words['pose_root']}/{words['pose_name']}"]}
    return json.dumps(held, indent=1)


def _derived(task: Task, place: Place) -> Words:
    root = Path(place.own["pose_dir"].replace("{repo}", str(place.checkout)))
    name = place.own["pose_name"]
    held = len(list((root / name).glob("*.npy"))) or TEMPLATE_FRAMES.get(name, 0)
    frames = min(int(task.seconds * FPS), held) if held else int(task.seconds * FPS)
    return {"pose_root": str(root), "pose_name": name, "frames": str(frames)}


SYSTEM = System(
    name="echomimic_v2",
    title="Echomimic-V2",
    repository="antgroup/echomimic_v2",
    commit="a312dec05ec7f9b3e0e2c2802e4a1a5d3788cfb3",
    licence="Apache-2.0",
    entries={
        "full": Entry(
            "infer.py",
            (
                "--config", "{config_yaml}", *FIXED, "--steps", "30", "--cfg", "2.5", *TUNED,
                # The name must hold a folder: the script builds its output folder from both parts.
                "--ref_images_dir", "{image_root}", "--refimg_name", "{image_parent}/{image_name}",
                "--audio_dir", "{audio_root}", "--audio_name", "{audio_name}",
                "--pose_dir", "{pose_root}", "--pose_name", "{pose_name}",
            ),
            written=(Written("config_yaml", "infer.yaml", _config),),
        ),
        "accelerated": Entry(
            "infer_acc.py",
            ("--config", "{config_yaml}", *FIXED, "--steps", "6", "--cfg", "1.0", *TUNED),
            written=(Written("config_yaml", "infer_acc.yaml", _accelerated),),
            pattern="{repo}/outputs/*-seed{seed}/**/{image_stem}-a-{audio_stem}*.mp4",
        ),
    },
    output=Output(
        "{repo}/outputs/{weights_parent}-iter{motion_stem}-seed{seed}/{image_parent}.{image_name}/{pose_name}/"
        "{image_stem}-a-{audio_name}-i0_sig.mp4",
        FPS,
        lambda seconds: int(seconds * FPS),
        12,
        size="768x768 with the shipped templates",
    ),
    needs=Needs(
        hubs=(
            "BadToBest/EchoMimicV2",
            "stabilityai/sd-vae-ft-mse -> sd-vae-ft-mse",
            "lambdalabs/sd-image-variations-diffusers -> sd-image-variations-diffusers",
        ),
        files=tuple(f"{{weights}}/{path}" for path in PATHS.values()),
        disk_gb=12,
        remarks=("ffmpeg through FFMPEG_PATH", "Whisper's tiny.pt goes to audio_processor/ of the weights folder"),
    ),
    options="echomimic_v2",
    hooks=(Hook("src.pipelines.pipeline_echomimicv2:EchoMimicV2Pipeline.__call__", GENERATE),),
    marks=Marks(start="^Pose:"),
    derived=_derived,
    square=True,
    longest_s=TEMPLATE_FRAMES["01"] / FPS,
    longest_reason="every frame needs a pose, and the longest shipped template has 336 of them (14 s)",
    settings={"pose_dir": "{repo}/assets/halfbody_demo/pose", "pose_name": "01"},
    note="the picture is laid on a square and the video cut back to its shape",
)
