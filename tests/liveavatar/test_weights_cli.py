"""The verb `weights` on a sample folder: what it prints, what it writes and how it ends."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import pytest

from liveavatar import cli
from liveavatar.checkpoints.official import BASE_FOLDER, BASE_HUB, LORA_FOLDER, LORA_HUB

PARTS = ["transformer", "lora", "text", "voice", "codec"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights") / "ckpt"
    assert cli.main(["weights", "sample", "--out", str(root)]) == 0
    return root


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "ckpt"))


def test_list_names_hubs_sizes_and_licences(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "list"]) == 0
    said = capsys.readouterr().out
    for words in ("32.6 GB", BASE_HUB, LORA_HUB, "Apache-2.0", "github.com/Wan-Video/Wan2.2", "hf download", "47.1 GB"):
        assert words in said
    assert "NOT READY" not in said
    assert cli.main(["weights", "list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in entries] == PARTS
    assert "is_there" not in entries[0]
    # What was not looked up is said to be so.
    unchecked = [entry["name"] for entry in entries if "not checked" in entry["licence_source"]]
    assert unchecked == ["lora", "text", "voice"]


def test_list_tells_what_a_folder_holds(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / LORA_FOLDER / "liveavatar.safetensors").unlink()
    assert cli.main(["weights", "list", "--weights", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.count("there: ") == 4
    assert said.count("NOT READY") == 1
    assert "liveavatar.safetensors is missing" in said
    assert cli.main(["weights", "list", "--json", "--weights", str(tmp_path / "none")]) == 0
    assert not any(entry["is_there"] for entry in json.loads(capsys.readouterr().out))


def test_verify_ends_with_1_only_when_something_is_wrong(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "verify", "--weights", str(folder)]) == 0
    assert capsys.readouterr().out.count("digests agree") == 5
    shard = folder / BASE_FOLDER / "diffusion_pytorch_model-00002-of-00004.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    assert cli.main(["weights", "verify", "--fast", "--weights", str(folder)]) == 0  # headers are as they were
    capsys.readouterr()
    assert cli.main(["weights", "verify", "--json", "--weights", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"liveavatar: 1 of 5 parts of {folder} are not ready: transformer\n"
    reports = {report["name"]: report["problem"] for report in json.loads(captured.out)}
    assert "00002-of-00004.safetensors does not match" in reports["transformer"]
    assert not any(problem for name, problem in reports.items() if name != "transformer")


def test_convert_writes_once(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "convert", "--weights", str(folder)]) == 0
    assert capsys.readouterr().out.count(": written") == 2
    assert (folder / BASE_FOLDER / "Wan2.1_VAE.safetensors").is_file()
    assert cli.main(["weights", "convert", "--weights", str(folder)]) == 0
    assert capsys.readouterr().out.count("was there already") == 2


def test_a_sample_replaces_nothing(written: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["weights", "sample", "--out", str(written)]) == 1
    assert "is not empty; give a new folder" in capsys.readouterr().err


def test_get_asks_both_hubs_for_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked: dict[str, tuple[Path, list[str]]] = {}
    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = lambda name, local_dir, allow_patterns: asked.update({name: (local_dir, allow_patterns)})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**12))
    assert cli.main(["weights", "get", "--weights", str(tmp_path / "ckpt")]) == 0
    assert {name: where for name, (where, _) in asked.items()} == {
        BASE_HUB: tmp_path / "ckpt" / BASE_FOLDER,
        LORA_HUB: tmp_path / "ckpt" / LORA_FOLDER,
    }
    assert asked[LORA_HUB][1] == ["liveavatar.safetensors"]
    assert {"config.json", "Wan2.1_VAE.pth", "google/umt5-xxl/tokenizer.json"} <= set(asked[BASE_HUB][1])
    asked.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10**9))
    assert cli.main(["weights", "get", "--weights", str(tmp_path / "ckpt")]) == 1
    assert "has 1.0 GB free; about 47.1 GB more are needed" in capsys.readouterr().err
    assert not asked
