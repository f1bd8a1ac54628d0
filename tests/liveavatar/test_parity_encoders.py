"""The official text and voice encoders against their references, by the loading code that the real files take."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from liveavatar.checkpoints.encoders import load_umt5, load_wav2vec, umt5_key_map, umt5_sizes, wav2vec_key_map
from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.store import WeightsError
from liveavatar.model.umt5 import PromptEncoder, clean_prompt, cut_padding
from liveavatar.model.wav2vec import normalise_waveform, rows_of
from liveavatar.optional import MissingPackageError
from tests.liveavatar.golden import golden, with_prefix


def umt5_file(folder: Path) -> Path:
    tensors, _ = golden("text_encoder")
    torch.save(with_prefix(tensors, "sd."), folder / "umt5.pth")
    return folder / "umt5.pth"


def test_text_rows_are_the_reference(tmp_path: Path) -> None:
    tensors, config = golden("text_encoder")
    encoder = load_umt5(open_files(umt5_file(tmp_path)), "cpu")
    with torch.no_grad():
        rows = encoder(tensors["in.ids"], tensors["in.mask"])
    for row, expected, length in zip(rows, tensors["out.hidden"], config["valid_lengths"], strict=True):
        torch.testing.assert_close(row[:length], expected[:length], atol=2e-5, rtol=0)


def test_prompts_of_different_lengths_do_not_change_each_other(tmp_path: Path) -> None:
    encoder = load_umt5(open_files(umt5_file(tmp_path)), "cpu")
    prompts = PromptEncoder(encoder, lambda prompt: [3 + ord(c) % 50 for c in prompt] + [1], text_len=30)
    together = prompts(["a fox talks", "a fox"])
    assert together.shape == (2, 30, encoder.sizes.dim)
    assert not together[1, 6:].any()
    assert together[1, 5].any()
    torch.testing.assert_close(together[1:], prompts(["a fox"]), atol=2e-5, rtol=0)
    with pytest.raises(ValueError, match="31 tokens, more than 30"):
        prompts(["x" * 30])


def test_sizes_of_the_text_encoder_come_from_its_file(tmp_path: Path) -> None:
    _, config = golden("text_encoder")
    sizes = umt5_sizes(open_files(umt5_file(tmp_path)).tensors)
    assert (sizes.vocabulary, sizes.dim, sizes.attention_dim) == (config["vocab"], config["dim"], config["dim_attn"])
    assert (sizes.ffn_dim, sizes.heads, sizes.layers) == (config["dim_ffn"], config["heads"], config["layers"])
    assert (sizes.buckets, sizes.max_distance) == (config["num_buckets"], config["max_distance"])


def test_every_official_text_name_has_one_place() -> None:
    tensors, _ = golden("text_encoder")
    names = list(with_prefix(tensors, "sd."))
    mapped = {umt5_key_map(name) for name in names}
    assert len(mapped) == len(names)
    assert all(name.startswith("network.") for name in mapped)
    assert umt5_key_map("blocks.0.attn.x.weight") == "blocks.0.attn.x.weight"


def test_padding_becomes_zero_rows() -> None:
    rows = cut_padding(torch.ones(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]]), 5)
    assert rows.shape == (2, 5, 4)
    assert rows.sum(-1).tolist() == [[4, 4, 0, 0, 0], [4, 4, 4, 0, 0]]


def test_prompts_are_cleaned_as_the_official_tokenizer_does() -> None:
    assert clean_prompt("  a \t fox\n\n talks ") == "a fox talks"
    assert clean_prompt("salt &amp;amp; pepper") == "salt & pepper"
    assert clean_prompt("schÃ¶n") == "schön"


# -------------------------------------------------------------------------------------------------------------- voice


def wav2vec_folder(folder: Path, *, as_published: bool = False) -> Path:
    """The reference's weights; as_published: with the recogniser's prefix, head and older names of the weight norm."""
    tensors, config = golden("wav2vec_states")
    weights = with_prefix(tensors, "sd.")
    if as_published:
        old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, published in old.items():
            weights = {name.replace(new, published): value for name, value in weights.items()}
        weights = {f"wav2vec2.{name}": value for name, value in weights.items()}
        weights |= {"lm_head.weight": torch.zeros(8, 32), "lm_head.bias": torch.zeros(8)}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**config["config"], "model_type": "wav2vec2"}))
    return folder


@pytest.mark.parametrize("as_published", [False, True])
def test_voice_states_are_the_reference(tmp_path: Path, as_published: bool) -> None:
    tensors, _ = golden("wav2vec_states")
    states = load_wav2vec(wav2vec_folder(tmp_path, as_published=as_published), "cpu")(tensors["in.waveform"])
    assert states.shape == tensors["out.states"].shape
    torch.testing.assert_close(states, tensors["out.states"], atol=1e-5, rtol=0)


def test_sound_without_a_row_is_refused(tmp_path: Path) -> None:
    encoder = load_wav2vec(wav2vec_folder(tmp_path), "cpu")
    with pytest.raises(ValueError, match="399 samples give no row"):
        encoder(torch.zeros(1, 399))


def test_rows_and_levels_of_the_voice() -> None:
    assert [rows_of(samples) for samples in (399, 400, 719, 720, 160_000)] == [0, 1, 1, 2, 499]
    loud = normalise_waveform(torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.03 + 0.2)
    assert loud.mean().abs() < 1e-5
    assert abs(float(loud.square().mean()) - 1) < 1e-3
    assert not normalise_waveform(torch.zeros(1, 400)).any()


def test_what_only_recognition_and_training_need_is_left_out() -> None:
    assert wav2vec_key_map("lm_head.weight") is None
    assert wav2vec_key_map("wav2vec2.masked_spec_embed") is None
    assert wav2vec_key_map("quantizer.codevectors") == "network.quantizer.codevectors"  # unknown, so refused by name


def test_an_incomplete_voice_folder_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        load_wav2vec(tmp_path, "cpu")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"model\.safetensors is missing"):
        load_wav2vec(tmp_path, "cpu")


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"UMT5 text encoder needs the package transformers: pip install 'live-av"):
        load_umt5(open_files(umt5_file(tmp_path)), "cpu")
