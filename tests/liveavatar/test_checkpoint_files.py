"""Loading published files: into a model without memory, whole or not at all, and what is said when something is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from liveavatar.checkpoints.files import open_files, read_header
from liveavatar.checkpoints.load import load_into
from liveavatar.checkpoints.store import WeightsError, file_digest
from liveavatar.model.transformer import S2VTransformer
from tests.liveavatar.tiny import tiny_model, tiny_profile


class Small(nn.Module):
    """Three tensors, one of them a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6, bias=False)
        self.second = nn.Linear(6, 2, bias=False)
        self.register_buffer("mean", torch.zeros(4))


def small_on_meta() -> Small:
    with torch.device("meta"):
        return Small()


TENSORS = {"first.weight": torch.arange(24.0).view(6, 4), "second.weight": torch.ones(2, 6), "mean": torch.full((4,), 2.0)}


def write_shards(folder: Path, tensors: dict[str, Tensor], shards: int = 2) -> Path:
    """Tensors spread over shards, with their index."""
    folder.mkdir(exist_ok=True)
    names = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    weight_map = {key: names[i % shards] for i, key in enumerate(tensors)}
    for name in names:
        save_file({key: tensors[key] for key, file in weight_map.items() if file == name}, folder / name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_fill_a_module_that_has_no_memory(tmp_path: Path) -> None:
    module = small_on_meta()
    report = load_into(module, open_files(write_shards(tmp_path, TENSORS)), "cpu")
    assert (report.tensors, report.parameters, report.bytes, len(report.files)) == (3, 40, 160, 2)
    for name, value in module.state_dict().items():
        assert torch.equal(value, TENSORS[name]), name


def test_a_whole_transformer_computes_the_same_after_the_round_trip(tmp_path: Path) -> None:
    profile = tiny_profile()
    model = tiny_model(profile)
    folder = write_shards(tmp_path, {k: v.contiguous() for k, v in model.state_dict().items()}, shards=3)
    with torch.device("meta"):
        loaded = S2VTransformer(profile.transformer)
    load_into(loaded, open_files(folder), "cpu")
    features = torch.randn(1, 1, profile.transformer.audio_dim, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.encode_audio(features).local, model.encode_audio(features).local)


def test_dtype_is_kept_or_converted(tmp_path: Path) -> None:
    save_file({**TENSORS, "mean": torch.zeros(4, dtype=torch.bfloat16)}, tmp_path / "m.safetensors")
    kept, converted = small_on_meta(), small_on_meta()
    load_into(kept, open_files(tmp_path), "cpu")
    load_into(converted, open_files(tmp_path), "cpu", dtype=torch.bfloat16)
    assert (kept.mean.dtype, kept.first.weight.dtype) == (torch.bfloat16, torch.float32)
    assert {value.dtype for value in converted.state_dict().values()} == {torch.bfloat16}


def test_loaded_tensors_do_not_hang_on_the_file(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file(TENSORS, file)
    module = small_on_meta()
    load_into(module, open_files(file), "cpu")
    with file.open("r+b") as opened:
        opened.seek(-96, os.SEEK_END)
        opened.write(bytes(96))
    assert torch.equal(module.mean, TENSORS["mean"])
    assert torch.equal(module.second.weight, TENSORS["second.weight"])


def test_one_shard_is_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from liveavatar.checkpoints import files

    still_open: list[int] = []
    most = []
    original = files.safe_open

    class Counted:
        def __init__(self, *args: object, **kwargs: object) -> None:
            self._inner = original(*args, **kwargs)

        def __enter__(self) -> object:
            still_open.append(1)
            most.append(len(still_open))
            return self._inner.__enter__()

        def __exit__(self, *exception: object) -> None:
            still_open.pop()
            self._inner.__exit__(*exception)

    monkeypatch.setattr(files, "safe_open", Counted)
    load_into(small_on_meta(), open_files(write_shards(tmp_path, TENSORS, shards=3)), "cpu")
    assert most == [1, 1, 1]


def test_key_map_renames_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    renamed = {f"net.{name}": value for name, value in TENSORS.items()} | {"lm_head.weight": torch.zeros(3)}
    save_file(renamed, tmp_path / "m.safetensors")
    report = load_into(
        small_on_meta(),
        open_files(tmp_path),
        "cpu",
        key_map=lambda name: None if name.startswith("lm_head.") else name.removeprefix("net."),
    )
    assert report.left_out == ("lm_head.weight",)
    assert report.tensors == 3


def test_tied_tensors_stay_tied(tmp_path: Path) -> None:
    save_file({"first.weight": TENSORS["first.weight"], "mean": TENSORS["mean"]}, tmp_path / "m.safetensors")
    module = small_on_meta()
    module.second = nn.Linear(4, 6, bias=False)
    module.second.weight = module.first.weight
    load_into(module, open_files(tmp_path), "cpu")
    assert torch.equal(module.second.weight, TENSORS["first.weight"])


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second.weight": None}, r"1 missing: second\.weight"),
        ({"third.weight": torch.zeros(1)}, r"1 unknown: third\.weight"),
        ({"mean": torch.zeros(5)}, r"1 of a wrong shape: mean is \[5\], not \[4\]"),
        ({"mean": None, "maen": torch.zeros(4)}, r"1 missing: mean; 1 unknown: maen"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, change: dict, message: str) -> None:
    tensors = {name: value for name, value in {**TENSORS, **change}.items() if value is not None}
    module = small_on_meta()
    with pytest.raises(WeightsError, match=message):
        load_into(module, open_files(write_shards(tmp_path, tensors)), "cpu")
    assert all(value.is_meta for value in module.state_dict().values()), "nothing was loaded"


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    save_file({**TENSORS, "net.mean": torch.zeros(4)}, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"1 there twice: (net\.)?mean"):
        load_into(small_on_meta(), open_files(tmp_path), "cpu", key_map=lambda name: name.removeprefix("net."))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, TENSORS, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks 1 of 3 shards: model-00002-of-00003\.safetensors"):
        open_files(tmp_path)


def test_an_index_and_its_shards_must_agree(tmp_path: Path) -> None:
    index = write_shards(tmp_path, TENSORS) / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": weight_map | {"fourth.weight": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(WeightsError, match=r"promises fourth\.weight"):
        open_files(tmp_path)
    del weight_map["mean"]
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match="hold mean, which the index does not know"):
        open_files(tmp_path)
    index.write_text(json.dumps({"weight_map": {"mean": "../elsewhere.safetensors"}}))
    with pytest.raises(WeightsError, match="outside its folder"):
        open_files(tmp_path)
    index.write_text("{")
    with pytest.raises(WeightsError, match="cannot be read as an index"):
        open_files(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_file_that_is_cut_short_is_refused_before_anything_is_read(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "m.safetensors"
    save_file(TENSORS, file)
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    with pytest.raises(WeightsError, match=r"m\.safetensors is cut short"):
        open_files(file)


def test_damaged_headers_and_trailing_bytes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file(TENSORS, file)
    data = file.read_bytes()
    for damaged in (data + b"x", data[:8] + b"?" + data[9:]):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match="is damaged"):
            read_header(file)
    file.write_bytes(b"PK\x03\x04" + b"\xff" * 100)
    with pytest.raises(WeightsError, match="no safetensors file"):
        read_header(file)
    entry = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}
    header = json.dumps(entry).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(WeightsError, match="does not fill"):
        read_header(file)


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    save_file(TENSORS, file)
    digests = {file.name: file_digest(file)}
    load_into(small_on_meta(), open_files(file), "cpu", digests=digests)
    save_file({**TENSORS, "mean": torch.zeros(4)}, file)
    with pytest.raises(WeightsError, match=r"m\.safetensors does not match its recorded sha256"):
        load_into(small_on_meta(), open_files(file), "cpu", digests=digests)


def test_a_folder_without_or_with_several_candidates_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no \.safetensors file"):
        open_files(tmp_path)
    for name in ("a", "b"):
        save_file(TENSORS, tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"2 \.safetensors files"):
        open_files(tmp_path)
    with pytest.raises(WeightsError, match=r"c\.safetensors is missing"):
        open_files(tmp_path / "c.safetensors")


def test_pickled_tensors_load_and_pickled_code_does_not(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "m.pth")
    module = small_on_meta()
    load_into(module, open_files(tmp_path / "m.pth"), "cpu", dtype=torch.bfloat16)
    assert torch.equal(module.first.weight, TENSORS["first.weight"].bfloat16())
    torch.save({"a": print}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        open_files(tmp_path / "code.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="not a flat dictionary"):
        open_files(tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "m.pth").read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"cut\.pth"):
        open_files(tmp_path / "cut.pth")


def test_tensors_that_nothing_set_are_an_error(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors")
    module = small_on_meta()
    module.register_buffer("table", torch.zeros(3, device="meta"), persistent=False)
    with pytest.raises(WeightsError, match="nothing set: table"):
        load_into(module, open_files(tmp_path), "cpu")
