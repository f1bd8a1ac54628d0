"""Operation counts: against torch's own counter on small models, and against the published sizes of the large one."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from liveavatar.config import s2v_14b
from liveavatar.cost import BlockSizes, cache_bytes, step_cost
from tests.liveavatar.plain_cases import BLOCK_LATENTS, CASES, case


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_step_cost_is_what_torch_counts(name: str, blocks: int) -> None:
    c = case(name)
    config, slots = c.model.config, c.options.window_past + 1
    sizes = BlockSizes(BLOCK_LATENTS, *c.sink.shape[-2:], slots)
    # With gradients on, text and voice are seen in their plain form, which is what is counted.
    rollout = c.rollout(c.model, aas=False)
    rollout.next_block = blocks - 1
    voice = c.model.audio_injector.prepare(c.voice(0))
    levels = c.model.levels(c.model.embed_times(torch.zeros(1, 1)), voice.pooled if config.voice_in_time else None)
    rollout._levels_at = lambda *given: levels  # type: ignore[method-assign]
    # The fused attention of a CPU is not in torch's table; its plain form is.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        rollout.velocity(c.noise(0), 0, voice)
    assert counter.get_total_flops() == step_cost(config, sizes, min(blocks, slots)).total


def test_official_sizes_cost_what_was_worked_out_for_them() -> None:
    """TFLOP per evaluation at 704x384 and at 720x400: linear, voice, attention, all; GB of one cache."""
    config = s2v_14b().transformer
    for (height, width), linear, audio, attention, total, ring in (
        ((48, 88), 75.7, 4.0, 39.7 + 1.3, 122.9 - 2.1, 10.38), ((50, 90), 80.7, 4.2, 45.0 + 1.4, 133.5 - 2.1, 11.06),
    ):  # fmt: skip
        sizes = BlockSizes(3, height, width, 4)
        cost = step_cost(config, sizes)
        assert cost.linear / 1e12 == pytest.approx(linear, abs=0.1)
        assert cost.audio_linear / 1e12 == pytest.approx(audio, abs=0.1)
        assert cost.attention / 1e12 == pytest.approx(attention, abs=0.1)
        assert cost.total / 1e12 == pytest.approx(total, abs=0.2)
        assert cost.text / 1e12 == pytest.approx(2.1, abs=0.1)
        beside = 2 * 2 * config.num_layers * config.dim * sizes.beside(config)
        assert (cache_bytes(config, sizes, 1, 2) - 2 * beside) / 1e9 == pytest.approx(ring, abs=0.01)


def test_a_filling_window_costs_less() -> None:
    sizes = BlockSizes(3, 50, 90, 4)
    totals = [step_cost(s2v_14b().transformer, sizes, filled).total / 1e12 + 2.1 for filled in (1, 2, 3)]
    assert totals == pytest.approx([105.5, 114.8, 124.2], abs=0.2)
