"""Blocks that wait in host memory: the same latents, never more than two of them on the device, resident ones spread."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from liveavatar.model.fp8 import quantise_linears
from liveavatar.model.offload import SLOTS, offload_blocks
from liveavatar.model.transformer import S2VTransformer
from liveavatar.streaming.host_cache import HostCache, HostCachedRollout
from liveavatar.streaming.rollout import Rollout
from tests.liveavatar.plain_cases import CASES, Case, case

CPU = torch.device("cpu")


@torch.no_grad()
def latents(c: Case, model: S2VTransformer) -> torch.Tensor:
    """Three blocks of a stream whose sink switches, so that prefill and text run on offloaded blocks too."""
    stream = c.rollout(model, aas_after_blocks=1).denoise
    return torch.cat([stream(c.noise(block), c.voice(block)) for block in range(3)])


@pytest.mark.parametrize("resident", [0, 1, 2, -1], ids=lambda n: "all" if n < 0 else str(n))
@pytest.mark.parametrize("name", CASES)
def test_offloaded_stream_is_the_same(name: str, resident: int) -> None:
    c = case(name)
    count = len(c.model.blocks)
    model = offload_blocks(deepcopy(c.model), CPU, resident if resident >= 0 else count)
    torch.testing.assert_close(latents(c, model), latents(c, c.model), atol=0, rtol=0)


def test_quantised_blocks_can_wait_in_host_memory() -> None:
    c = case("nano")
    whole, waiting = deepcopy(c.model), deepcopy(c.model)
    for model in (whole, waiting):
        quantise_linears(model)
    torch.testing.assert_close(latents(c, offload_blocks(waiting, CPU, 3)), latents(c, whole), atol=0, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_stream_with_caches_in_host_memory_is_the_same(name: str) -> None:
    c = case(name)
    streams = [c.rollout(c.model, kind, aas_after_blocks=1) for kind in (HostCachedRollout, Rollout)]
    for block in range(6):  # the ring fills and wraps, the sink switches and rolls
        lent, held = (stream.denoise(c.noise(block), c.voice(block)) for stream in streams)
        torch.testing.assert_close(lent, held, atol=1e-6, rtol=0)
    assert isinstance(streams[0].caches[0], HostCache)


@torch.no_grad()
def test_two_blocks_are_on_the_device_and_the_next_is_on_its_way() -> None:
    c = case("nano")
    model = offload_blocks(deepcopy(c.model), CPU)
    conveyor = model.blocks[0].forward.func.__self__
    assert len(conveyor.places) == SLOTS
    brought: list[int] = []
    copy = conveyor._copy
    conveyor._copy = lambda turn, place: (brought.append(turn), copy(turn, place))
    c.rollout(model, aas=False)
    # The text visits all blocks, then the sink does; each is copied once per visit, and one ahead of its use.
    assert brought == [*range(8), *range(8), 0]


def test_resident_blocks_are_spread_among_the_streamed_ones() -> None:
    c = case("nano")
    model = offload_blocks(deepcopy(c.model), CPU, 4)
    streamed = [index for index, block in enumerate(model.blocks) if "forward" in vars(block)]
    assert streamed == [0, 2, 4, 6]


def test_more_resident_blocks_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="resident=9: the model has 8 blocks"):
        offload_blocks(deepcopy(case("nano").model), CPU, 9)
