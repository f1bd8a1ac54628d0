"""Ditto: motion-space diffusion and a warping renderer, one GPU, size of the source picture."""

from __future__ import annotations

from evalkit.methods.official.system import END, FRAMES, LOAD, START, Entry, Hook, Marks, Needs, Output, System, whole_frames


def _arguments(data: str, config: str) -> tuple[str, ...]:
    return (
        "--data_root", f"{{weights}}/{data}", "--cfg_pkl", f"{{weights}}/ditto_cfg/{config}",
        "--audio_path", "{audio}", "--source_path", "{image}", "--output_path", "{out_file}",
    )  # fmt: skip


SYSTEM = System(
    name="ditto",
    title="Ditto",
    repository="antgroup/ditto-talkinghead",
    commit="e9191cf6cf8cb41d296239889662c27bc592c9ee",
    licence="Apache-2.0",
    entries={
        "tensorrt": Entry("inference.py", _arguments("ditto_trt_Ampere_Plus", "v0.4_hubert_cfg_trt.pkl")),
        "pytorch": Entry("inference.py", _arguments("ditto_pytorch", "v0.4_hubert_cfg_pytorch.pkl")),
    },
    # The silent {out_file}.tmp.mp4 beside it stays behind.
    output=Output("{out_file}", 25, whole_frames(25), 80, size="of the picture, at most 1920, even sides"),
    needs=Needs(
        hubs=("digital-avatar/ditto-talkinghead",),
        files=("{weights}/ditto_cfg",),
        remarks=(
            "TensorRT 8.6.1 for the entry `tensorrt`, which knows no Blackwell; `pytorch` needs none",
            "there is no seed: two runs differ",
            "a picture without a face that it detects fails",
        ),
    ),
    options="ditto",
    # The command line imports the offline class; worker threads keep their errors, so the frame count is the only witness.
    hooks=(
        Hook("stream_pipeline_offline:StreamSDK.__init__", LOAD),
        Hook("stream_pipeline_offline:StreamSDK.setup", START),
        Hook("stream_pipeline_offline:StreamSDK.close", END),
        Hook("core.atomic_components.writer:VideoWriterByImageIO.__call__", FRAMES),
    ),
    marks=Marks(start="writer"),
    limit_per_s=120.0,
    note="only the head moves: hair, body and background are the picture's",
)
