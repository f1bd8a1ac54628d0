"""The `bench` verb: it measures every form at tiny sizes, says what does not fit, and its record can be recomputed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from liveavatar import bench
from liveavatar.bench import (
    BenchOptions,
    NotEnoughMemoryError,
    check_memory,
    needed_bytes,
    random_transformer,
    roofline_seconds,
)
from liveavatar.bench_cli import table
from liveavatar.cli import BAD_INPUT, DONE, main
from liveavatar.config import ProfileConfig, s2v_14b
from liveavatar.cost import StepCost, step_cost
from liveavatar.model.compiled import compile_blocks
from liveavatar.model.fp8 import Fp8Linear
from tests.liveavatar.tiny import tiny_profile


def tiny_official() -> ProfileConfig:
    """The 14B profile's every switch at sizes that run in milliseconds."""
    profile = s2v_14b()
    transformer = replace(
        profile.transformer, dim=64, ffn_dim=128, num_layers=3, num_heads=2, freq_dim=32, text_dim=24, text_len=10,
        audio_dim=16, audio_inject_layers=(0, 2),
    )  # fmt: skip
    return replace(profile, transformer=transformer, codec=replace(profile.codec, base_dim=8), height=64, width=64)


PROFILES = {"nano": tiny_profile, "s2v-14b": tiny_official}
FORMS = {
    "plain": BenchOptions(blocks=1),
    "bf16": BenchOptions(blocks=1, dtype=torch.bfloat16, decode=False),
    "fp8": BenchOptions(blocks=1, fp8=True, decode=False),
    "offload": BenchOptions(blocks=1, offload=True, resident=1, host_caches=True, decode=False),
    "compiled": BenchOptions(blocks=1, compile="default", decode=False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PROFILES)
def test_every_form_is_measured(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Graphs run as traced: what the compiler makes of them is not tested here.
    monkeypatch.setattr(bench, "compile_blocks", lambda model, mode: compile_blocks(model, "eager"))
    profile, options = PROFILES[name](), FORMS[form]
    result = bench.run(profile, options)
    assert [row.step for row in result.steps] == list(range(profile.rollout.steps))
    operations = step_cost(profile.transformer, bench.sizes_of(profile)).total
    for row in result.steps:
        assert 0 < row.least_ms <= row.median_ms
        assert row.tflops_per_s * row.median_ms / 1000 == pytest.approx(operations / 1e12)
    assert sum(row.least_ms for row in result.steps) <= result.block_ms * 1.001
    assert (result.decode_ms is not None) == options.decode
    assert result.memory_bytes["host_peak"] > result.memory_bytes["device_counted"] > 0
    record = json.loads(json.dumps(asdict(result)))
    assert record["options"]["dtype"] in ("float32", "bfloat16")
    assert record["machine"]["torch"] == torch.__version__
    printed = table(result)
    assert all(f"{row.least_ms:.2f}" in printed for row in result.steps)


def test_random_weights_are_made_in_the_form_asked_for() -> None:
    model = random_transformer(tiny_official(), BenchOptions(fp8=True, dtype=torch.bfloat16))
    assert isinstance(model.blocks[0].ffn[0], Fp8Linear)
    assert model.head.head.weight.dtype == model.blocks[0].modulation.dtype == torch.float32
    assert model.trainable_cond_mask.weight.dtype == torch.bfloat16
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


def test_counted_weights_are_those_that_are_made() -> None:
    profile, options = tiny_official(), BenchOptions(dtype=torch.bfloat16)
    needed, model = needed_bytes(profile, options), random_transformer(profile, options)
    weights = sum(tensor.nbytes for tensor in model.parameters())
    assert needed["device"] - needed["caches"] == weights
    rollout = bench._steady_rollout(profile, model, torch.device("cpu"), options)
    caches = sum(cache.nbytes for cache in rollout.caches)
    beside = caches // len(rollout.caches) * bench.sizes_of(profile).beside(profile.transformer)
    tokens = bench.sizes_of(profile).beside(profile.transformer) + 4 * bench.sizes_of(profile).tokens(profile.transformer)
    assert needed["caches"] == caches + beside // tokens


def test_the_large_profile_is_refused_where_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "free_bytes", lambda device: 64 * 2**30)
    with pytest.raises(NotEnoughMemoryError, match=r"s2v-14b at 704x384 needs 8\d\.\d GiB on cpu .* 64.0 GiB free"):
        check_memory(s2v_14b(), BenchOptions(dtype=torch.bfloat16))
    monkeypatch.setattr(bench, "free_bytes", lambda device: 100 * 2**30)
    check_memory(s2v_14b(), BenchOptions(dtype=torch.bfloat16))


def test_8_bit_and_offloaded_weights_need_less_of_the_device() -> None:
    plain, fp8, waiting, resident = (
        needed_bytes(s2v_14b(), replace(BenchOptions(dtype=torch.bfloat16), **changed))  # type: ignore[arg-type]
        for changed in ({}, {"fp8": True}, {"offload": True}, {"offload": True, "resident": 20})
    )
    blocks = 28.1e9
    assert plain["device"] - fp8["device"] == pytest.approx(blocks / 2, rel=0.01)
    assert plain["device"] - waiting["device"] == pytest.approx(blocks * 38 / 40, rel=0.01)
    assert plain["device"] - resident["device"] == pytest.approx(blocks * 18 / 40, rel=0.01)
    assert waiting["host"] == pytest.approx(blocks, rel=0.01)
    smallest = BenchOptions(dtype=torch.bfloat16, fp8=True, offload=True, host_caches=True)
    assert needed_bytes(s2v_14b(), smallest)["device"] * bench.ROOM < 24e9


def test_roofline_takes_weights_at_the_8_bit_rate() -> None:
    cost = StepCost(linear=600, audio_linear=200, self_attention=300, cross_attention=100, text=0)
    assert roofline_seconds(cost, {"dense": 100.0}) == pytest.approx(12)
    assert roofline_seconds(cost, {"dense": 100.0, "fp8": 200.0}) == pytest.approx(8)


def test_command_prints_a_table_and_writes_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("liveavatar.config.nano", tiny_profile)
    out = tmp_path / "record.json"
    assert main(["bench", "--blocks", "1", "--json", str(out)]) == DONE
    record = json.loads(out.read_text())
    assert f"{record['block_ms']:.2f} ms" in capsys.readouterr().out
    assert len(record["steps"]) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "100x64"], "multiples of 16"),
        (["--blocks", "0"], "1 or more"),
        (["--device", "nowhere"], "'cpu' always can"),
        (["--offload", "--resident", "99"], "8 blocks"),
        (["--graphs"], "'cpu' cannot record graphs"),
        (["--graphs", "--host-caches"], "leave out graphs, or offload and host_caches"),
        (["--json", "/no/such/folder/x.json"], "does not exist"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--no-decode", *arguments]) == BAD_INPUT
    assert message in capsys.readouterr().err
