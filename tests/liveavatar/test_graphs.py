"""Replayed streams: the same latents, one recording per cache and slot. A stand-in records, as no device here can.

The stand-in replays at fixed addresses as a device does: whatever was not copied there is what it was when recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from liveavatar.streaming.graphs import DeviceRecorder, GraphedRollout, Recording, Work, can_record, tensors_in, with_tensors
from liveavatar.streaming.rollout import Rollout
from tests.liveavatar.plain_cases import CASES, case, random

BLOCKS = 10
SWITCH = 7  # the sink changes while recordings are in use


class StandIn:
    """Keeps the work and does it again, into the same result."""

    def __init__(self, device: torch.device) -> None:
        self.made = 0

    def __call__(self, work: Work) -> Recording:
        self.made += 1
        result = work()
        return Recording(result, lambda: result.copy_(work()))


class Replayed(GraphedRollout):
    recorder_type = StandIn


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_replayed_stream_is_the_same(name: str) -> None:
    c = case(name)
    replayed, plain = (c.rollout(c.prepared, kind, aas_after_blocks=SWITCH) for kind in (Replayed, Rollout))
    slots = c.options.window_past + 1
    for block in range(BLOCKS):
        given = (c.noise(block), c.voice(block))
        torch.testing.assert_close(replayed.denoise(*given), plain.denoise(*given), atol=0, rtol=0)
        turned = max(0, block - slots + 1)  # blocks since the ring has turned over
        assert replayed._recorder.made == len(replayed.caches) * min(turned, slots)


@torch.no_grad()
def test_another_prompt_is_recorded_anew_and_heard() -> None:
    c = case("nano")
    other = c.prepared.encode_text(random(1, c.model.config.text_len, c.model.config.text_dim, seed=9))
    replayed, plain = (c.rollout(c.prepared, kind, aas=False) for kind in (Replayed, Rollout))
    slots = c.options.window_past + 1
    for block in range(2 * slots + 2):
        given = (c.noise(block), c.voice(block), None, other if block == 2 * slots else None)
        torch.testing.assert_close(replayed.denoise(*given), plain.denoise(*given), atol=0, rtol=0)
    assert replayed._recorder.made == len(replayed.caches) * (slots + 2)


@torch.no_grad()
@pytest.mark.parametrize("left_out", ["x", "voice", "table", "levels", "constants"])
def test_the_comparison_would_notice_what_is_not_copied(left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    c = case("nano")
    fed = tuple(name for name in ("x", "voice", "table", "cond", "levels", "constants") if name != left_out)
    replayed, plain = (c.rollout(c.prepared, kind, aas_after_blocks=SWITCH) for kind in (Replayed, Rollout))
    for block in range(BLOCKS):
        if block == c.options.window_past + 2:
            monkeypatch.setattr("liveavatar.streaming.graphs.FED", fed)
        given = (c.noise(block), c.voice(block))
        if not torch.equal(replayed.denoise(*given), plain.denoise(*given)):
            return
    pytest.fail(f"{left_out} stayed what it was when recorded, and the stream is the same")


def test_tensors_are_found_and_changed_wherever_they_stand() -> None:
    @dataclass(frozen=True)
    class Nested:
        one: torch.Tensor
        rest: tuple[object, ...]
        name: str = "kept"

    value = Nested(torch.tensor(1), ([torch.tensor(2)], {"a": torch.tensor(3), "b": None}, 4.5))
    assert [int(tensor) for tensor in tensors_in(value)] == [1, 2, 3]
    doubled = with_tensors(value, lambda tensor: 2 * tensor)
    assert [int(tensor) for tensor in tensors_in(doubled)] == [2, 4, 6]
    assert doubled.name == "kept"
    assert doubled.rest[1]["b"] is None
    assert doubled.rest[2] == 4.5


def test_a_device_without_recordings_is_refused() -> None:
    cpu = torch.device("cpu")
    assert not can_record(cpu)
    with pytest.raises(ValueError, match="'cpu' cannot record graphs"):
        DeviceRecorder(cpu)
