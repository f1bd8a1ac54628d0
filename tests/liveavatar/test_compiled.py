"""Compiled streams: no graph breaks, nothing compiled again in steady state, the same latents. Graphs run as traced."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from liveavatar.model.compiled import compile_blocks
from liveavatar.model.rope import grid_table, rotate, rotate_real
from tests.liveavatar.plain_cases import CASES, case

REGIONS = 4  # two halves of a block, the voice's injection and the rotation


class CountingBackend:
    """Runs graphs as they were traced and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        self.graphs += 1
        return graph.forward


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_a_stream_compiles_each_region_once_for_all_layers_and_blocks(name: str) -> None:
    torch._dynamo.reset()
    c, backend = case(name), CountingBackend()
    compiled = c.rollout(compile_blocks(deepcopy(c.prepared), backend), aas=False)
    eager = c.rollout(c.prepared, aas=False)
    prefill = backend.graphs
    first = compiled.denoise(c.noise(0), c.voice(0))
    after_one = backend.graphs
    latents = [first]
    with torch._dynamo.config.patch(error_on_recompile=True):
        latents += [compiled.denoise(c.noise(block), c.voice(block)) for block in range(1, 7)]
    assert backend.graphs == after_one  # while the window fills, wraps round and the sink rolls
    assert after_one - prefill <= REGIONS
    expected = torch.cat([eager.denoise(c.noise(block), c.voice(block)) for block in range(7)])
    torch.testing.assert_close(torch.cat(latents), expected, atol=1e-4, rtol=0)


def test_real_rotation_is_the_complex_one() -> None:
    x = torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    table = grid_table(torch.tensor([40_000.0, 2.0]), torch.arange(3), torch.arange(2), 16)
    torch.testing.assert_close(rotate_real(x, torch.view_as_real(table)), rotate(x, table), atol=1e-6, rtol=0)
