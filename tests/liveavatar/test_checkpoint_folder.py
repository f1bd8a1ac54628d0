"""A whole checkpoint folder: written as a sample, verified, converted, loaded part by part, and damaged on purpose."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from liveavatar.checkpoints.convert import convert_folder
from liveavatar.checkpoints.encoders import load_prompt_encoder, load_wav2vec
from liveavatar.checkpoints.files import open_files, read_header
from liveavatar.checkpoints.layout import Layout, s2v_layout
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.lora import merge_lora
from liveavatar.checkpoints.official import OfficialFolder, download_commands, parts
from liveavatar.checkpoints.sample import TINY_S2V, TINY_WAV2VEC, write_sample
from liveavatar.checkpoints.store import WeightsError
from liveavatar.checkpoints.vae import load_codec
from liveavatar.checkpoints.verify import CHECKSUMS, recorded_digests, verify
from liveavatar.model.codec import VaeStreamDecoder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "ckpt"
    write_sample(root)
    return root


@pytest.fixture
def sample(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "ckpt"))


def module_of(layout: Layout) -> nn.Module:
    """A tree of parameters with these names on the meta device; two-dimensional weights are linear layers."""
    root = nn.Module()
    for name, shape in layout.items():
        *path, leaf = name.split(".")
        owner = root
        for depth, part in enumerate(path):
            if part not in owner._modules:
                is_layer = depth == len(path) - 1 and leaf == "weight" and len(shape) == 2
                owner.add_module(part, nn.Linear(shape[1], shape[0], device="meta") if is_layer else nn.Module())
            owner = owner.get_submodule(part)
        if leaf not in owner._parameters:
            owner.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False))
    for module in root.modules():
        if isinstance(module, nn.Linear) and f"{name_of(root, module)}.bias" not in layout:
            module.bias = None
    return root


def name_of(root: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in root.named_modules() if module is wanted)


# ------------------------------------------------------------------------------------------------------------- sample


def test_the_sample_is_whole_by_its_own_checksums(written: Path) -> None:
    reports = verify(written)
    assert [(report.name, report.problem) for report in reports] == [
        (name, "") for name in ("transformer", "lora", "text", "voice", "codec")
    ]
    assert [report.digests for report in reports] == [report.files for report in reports] == [4, 1, 1, 1, 1]
    assert reports[0].tensors == len(s2v_layout(TINY_S2V))


def test_the_same_seed_writes_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again")
    write_sample(tmp_path / "other", seed=1)
    first = recorded_digests(written)
    again, other = recorded_digests(tmp_path / "again"), recorded_digests(tmp_path / "other")
    assert list(first.values()) == list(again.values())
    assert list(first.values()) != list(other.values())


def test_a_sample_never_replaces_anything(written: Path) -> None:
    with pytest.raises(WeightsError, match="is not empty"):
        write_sample(written)


def test_the_transformer_and_its_lora_load_from_the_folder(written: Path) -> None:
    folder = OfficialFolder(written)
    assert folder.config()["dim"] == TINY_S2V["dim"]
    model = module_of(s2v_layout(folder.config()))
    report = load_into(model, open_files(folder.transformer), "cpu")
    assert (report.tensors, len(report.files)) == (len(s2v_layout(TINY_S2V)), 4)
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}
    before = model.get_parameter("blocks.1.ffn.0.weight").clone()
    merged = merge_lora(model, open_files(folder.lora))
    assert len(merged.modules) == 3 * 10 + 2 * 4
    changed = (model.get_parameter("blocks.1.ffn.0.weight") - before).float().norm() / before.float().norm()
    assert 0.01 < changed < 1


@torch.no_grad()
@pytest.mark.parametrize("converted", [False, True])
def test_the_codec_loads_from_the_folder(sample: Path, converted: bool) -> None:
    if converted:
        convert_folder(sample)
    folder = OfficialFolder(sample)
    assert folder.codec.suffix == (".safetensors" if converted else ".pth")
    codec = load_codec(open_files(folder.codec), "cpu")
    latents = codec.encode(torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert latents.shape == (1, 16, 2, 2, 2)
    torch.testing.assert_close(VaeStreamDecoder(codec).decode(latents), codec.decode(latents), atol=2e-5, rtol=0)


def test_the_text_encoder_loads_from_the_folder(written: Path) -> None:
    folder = OfficialFolder(written)
    encoder = load_prompt_encoder(open_files(folder.text), folder.tokenizer, "cpu", torch.float32, text_len=24)
    assert encoder.tokenise("a fox") == [3, 4, 3, 9, 18, 27, 1]
    assert encoder.tokenise("x" * 100)[-1] == 1
    assert len(encoder.tokenise("x" * 100)) == 24
    rows = encoder(["a &amp;  fox", "talk"])
    assert rows.shape == (2, 24, TINY_S2V["text_dim"])
    assert not rows[1, 6:].any()
    assert torch.isfinite(rows).all()


def test_the_voice_encoder_loads_from_the_folder(written: Path) -> None:
    encoder = load_wav2vec(OfficialFolder(written).voice, "cpu")
    states = encoder(torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)))
    assert states.shape == (25, 24, TINY_WAV2VEC["hidden_size"])
    torch.testing.assert_close(states[-1].mean(-1), states[-1].new_zeros(24), atol=0.2, rtol=0)  # behind a LayerNorm
    assert torch.isfinite(states).all()


# ------------------------------------------------------------------------------------------------------------- damage


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def shard(root: Path, number: int) -> Path:
    return root / "Wan2.2-S2V-14B" / f"diffusion_pytorch_model-0000{number}-of-00004.safetensors"


def without_shard(root: Path) -> None:
    shard(root, 3).unlink()


def cut_shard(root: Path) -> None:
    shard(root, 2).write_bytes(shard(root, 2).read_bytes()[:-10])


def altered_shard(root: Path) -> None:
    data = bytearray(shard(root, 1).read_bytes())
    data[-1] ^= 1
    shard(root, 1).write_bytes(bytes(data))


def other_size(root: Path) -> None:
    index = root / "Wan2.2-S2V-14B" / "diffusion_pytorch_model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["metadata"]["total_size"] += 2
    index.write_text(json.dumps(content))


def other_width(root: Path) -> None:
    config = root / "Wan2.2-S2V-14B" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"freq_dim": 64}))


def without_width(root: Path) -> None:
    config = root / "Wan2.2-S2V-14B" / "config.json"
    content = json.loads(config.read_text())
    del content["dim"]
    config.write_text(json.dumps(content))


def shorter_lora(root: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for side in "AB":
            del tensors[f"blocks.0.ffn.2.lora_{side}.default.weight"]

    change(root / "LiveAvatar" / "liveavatar.safetensors", edit)


def other_lora(root: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for side in "AB":
            tensors[f"blocks.9.ffn.2.lora_{side}.default.weight"] = tensors.pop(f"blocks.0.ffn.2.lora_{side}.default.weight")

    change(root / "LiveAvatar" / "liveavatar.safetensors", edit)


def voice_with_more(root: Path) -> None:
    file = root / "Wan2.2-S2V-14B" / "wav2vec2-large-xlsr-53-english" / "model.safetensors"
    change(file, lambda tensors: tensors.update({"wav2vec2.more": torch.zeros(1)}))


def without_tokenizer(root: Path) -> None:
    (root / "Wan2.2-S2V-14B" / "google" / "umt5-xxl" / "tokenizer.json").unlink()


def codec_in_half(root: Path) -> None:
    file = root / "Wan2.2-S2V-14B" / "Wan2.1_VAE.pth"
    tensors = torch.load(file, weights_only=True)
    torch.save({name: value for name, value in tensors.items() if name.startswith("encoder.")}, file)


@pytest.mark.parametrize(
    ("damage", "part", "message"),
    [
        (without_shard, "transformer", r"lacks 1 of 4 shards: diffusion_pytorch_model-00003-of-00004"),
        (cut_shard, "transformer", r"00002-of-00004\.safetensors is cut short"),
        (altered_shard, "transformer", r"00001-of-00004\.safetensors does not match its recorded sha256"),
        (other_size, "transformer", r"promises [\d,]+ bytes of tensors; the shards hold"),
        (other_width, "transformer", r"1 of a wrong shape: time_embedding\.0\.weight is \[64, 32\], not \[64, 64\]"),
        (without_width, "transformer", r"config\.json has no 'dim'"),
        (shorter_lora, "lora", r"adapts 37 of 38 layers; without: blocks\.0\.ffn\.2"),
        (other_lora, "lora", r"1 that the model does not have: blocks\.9\.ffn\.2"),
        (voice_with_more, "voice", r"1 unknown: wav2vec2\.more"),
        (without_tokenizer, "text", r"tokenizer\.json is missing"),
        (codec_in_half, "codec", r"\d+ missing: conv1\.bias"),
    ],
)
def test_damage_is_named_and_does_not_hide_the_other_parts(sample: Path, damage, part: str, message: str) -> None:
    damage(sample)
    reports = {report.name: report for report in verify(sample)}
    with pytest.raises(WeightsError, match=message):
        raise WeightsError(reports[part].problem)
    # The LoRA is checked against config.json too; nothing else depends on the transformer.
    others = {name for name, report in reports.items() if not report.is_fine} - {part}
    assert others <= ({"lora"} if damage is without_width else set())


def test_without_digests_only_headers_are_read(sample: Path) -> None:
    altered_shard(sample)
    reports = verify(sample, with_digests=False)
    assert all(report.is_fine for report in reports)
    assert {report.digests for report in reports} == {0}


def test_digests_recorded_by_the_hub_tool_are_used(sample: Path) -> None:
    (sample / CHECKSUMS).unlink()
    base = sample / "Wan2.2-S2V-14B"
    records = base / ".cache" / "huggingface" / "download"
    (records / "google" / "umt5-xxl").mkdir(parents=True)
    digest = hashlib.sha256(shard(sample, 1).read_bytes()).hexdigest()
    (records / f"{shard(sample, 1).name}.metadata").write_text(f"{'0' * 40}\n{digest}\n1700000000.0\n")
    (records / "google" / "umt5-xxl" / "tokenizer.json.metadata").write_text(f"{'0' * 40}\n{'1' * 40}\n1700000000.0\n")
    assert recorded_digests(sample) == {shard(sample, 1).resolve(): digest}
    assert [report.digests for report in verify(sample)] == [1, 0, 0, 0, 0]
    altered_shard(sample)
    assert "recorded sha256" in verify(sample)[0].problem


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no folder; see python -m liveavatar weights list"):
        verify(tmp_path / "none")
    problems = [report.problem for report in verify(tmp_path)]
    assert all(problems)
    assert "config.json cannot be read" in problems[0]


# --------------------------------------------------------------------------------------------------------- conversion


def test_conversion_keeps_names_values_and_dtypes_and_is_done_once(sample: Path) -> None:
    done = convert_folder(sample)
    assert [(step.target.name, step.is_new) for step in done] == [
        ("Wan2.1_VAE.safetensors", True),
        ("models_t5_umt5-xxl-enc-bf16.safetensors", True),
    ]
    for step in done:
        published, converted = torch.load(step.source, weights_only=True), load_file(step.target)
        assert published.keys() == converted.keys()
        assert all(torch.equal(published[name], converted[name]) for name in published)
        assert all(published[name].dtype == converted[name].dtype for name in published)
    assert [step.is_new for step in convert_folder(sample)] == [False, False]
    assert all(report.is_fine for report in verify(sample))
    # A conversion that does not match its source is made again.
    save_file({"a": torch.zeros(1)}, done[0].target)
    assert [step.is_new for step in convert_folder(sample)] == [True, False]
    assert len(read_header(done[0].target)) == 194


def test_nothing_to_convert_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nothing to convert"):
        convert_folder(tmp_path)


def test_a_pickled_program_is_not_converted(sample: Path) -> None:
    torch.save({"run": print}, sample / "Wan2.2-S2V-14B" / "Wan2.1_VAE.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        convert_folder(sample)
    assert not list(sample.rglob("*.partial"))


# ---------------------------------------------------------------------------------------------------------- catalogue


def test_the_catalogue_names_hubs_and_published_sizes() -> None:
    sizes = {part.name: round(part.bytes / 1e9, 1) for part in parts()}
    assert sizes == {"transformer": 32.6, "lora": 1.4, "text": 11.4, "voice": 1.3, "codec": 0.5}
    assert download_commands(Path("ckpt")) == [
        "hf download Wan-AI/Wan2.2-S2V-14B --local-dir ckpt/Wan2.2-S2V-14B",
        "hf download Quark-Vision/Live-Avatar --local-dir ckpt/LiveAvatar",
    ]
