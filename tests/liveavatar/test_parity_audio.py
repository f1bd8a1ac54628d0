"""Speech features to video frames, and the audio encoder, against the reference implementations."""

from __future__ import annotations

import pytest
import torch

from liveavatar.model.audio import CausalAudioEncoder
from liveavatar.streaming.audio_bucket import bucket, clip_count, frame_rows, to_grid_rate
from tests.liveavatar import golden


def bucket_cases() -> list[dict]:
    return golden.facts("audio_bucket")["cases"] if golden.FOLDER.is_dir() else [{"case": 0}]


@pytest.mark.parametrize("case", bucket_cases(), ids=lambda case: f"case{case['case']}")
def test_rows_of_video_frames_are_the_reference(case: dict) -> None:
    given = {
        k.split(".", 1)[1]: v for k, v in golden.tensors("audio_bucket").items() if k.startswith(f"case{case['case']}.")
    }
    golden.assert_same(to_grid_rate(given["feat50"]), given["feat30"], 1e-6)
    rows = frame_rows(given["feat30"], case["frames"], case["fps"], case["m"])
    golden.assert_same(rows, given["bucket"], 1e-6)
    model_input, clips = bucket(given["feat50"], case["infer_frames"], case["fps"], case["m"])
    assert clips == case["num_clips"]
    golden.assert_same(model_input, given["model_input"], 1e-6)
    assert ((model_input == 0) == (given["model_input"] == 0)).all()


def test_a_voice_that_ends_with_a_clip_gets_one_silent_clip_more() -> None:
    two_clips = torch.ones(1, 192, 1)  # 3.84 s: 115 rows at 30 Hz, 96 frames at 25 fps
    rows, clips = bucket(two_clips[:, :160], clip_frames=80, fps=25)
    assert clips == clip_count(96, 80, 25) == 2
    assert rows[..., :80].eq(1).all()
    assert rows[..., 80:].eq(0).all()


def test_halves_go_to_the_even_row() -> None:
    grid = torch.arange(40.0).view(1, 40, 1)
    assert frame_rows(grid, 6, fps=60).flatten().tolist() == [0, 0, 1, 2, 2, 2]


def test_features_that_are_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="2 states or more"):
        bucket(torch.zeros(25, 1, 8), 48, 25)


def encoder() -> tuple[CausalAudioEncoder, dict[str, torch.Tensor]]:
    given, facts = golden.tensors("audio_encoder"), golden.facts("audio_encoder")
    made = CausalAudioEncoder(facts["layers"], facts["audio_dim"], facts["dim"], facts["num_audio_token"])
    prefix = "sd.casual_audio_encoder."
    made.load_state_dict({k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)})
    return made.eval(), given


@torch.no_grad()
def test_encoder_of_a_whole_clip_is_the_reference() -> None:
    made, given = encoder()
    local, pooled = made(given["in.audio"])
    golden.assert_same(local, given["out.clip_local"])
    golden.assert_same(pooled, given["out.clip_global"].squeeze(2))


@torch.no_grad()
def test_encoder_of_each_block_alone_is_the_reference() -> None:
    made, given = encoder()
    audio = given["in.audio"]
    for block in range(audio.shape[-1] // 12):
        local, pooled = made(audio[..., 12 * block : 12 * block + 12])
        golden.assert_same(local, given[f"out.block{block}_local"])
        golden.assert_same(pooled, given[f"out.block{block}_global"].squeeze(2))


@torch.no_grad()
def test_five_rows_of_history_stand_for_the_official_73() -> None:
    """The receptive field ends there: the official prefix of 73 rows, 19 outputs dropped, gives the same."""
    made, given = encoder()
    audio = given["in.audio"][..., :12]
    local, pooled = made(audio)
    rows = torch.cat([audio[..., :1].expand(*audio.shape[:-1], 73), audio], dim=-1)
    weights = torch.nn.functional.silu(made.weights)
    official_local, official_pooled = made.encoder((rows * weights).sum(1) / weights.sum(1))
    golden.assert_same(official_local[:, 19:], local, 1e-6)
    golden.assert_same(official_pooled[:, 19:], pooled, 1e-6)
