"""Tensor files as others publish them: safetensors in one or many shards, or a pickled .pth, read one file at a time.

Headers come first: names, dtypes, shapes and whether a file is whole are known before a tensor is read. A pickled file
is opened with `weights_only`, so it can bring tensors and nothing else.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from liveavatar.checkpoints.store import WeightsError

INDEX_SUFFIX = ".safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
_BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F16": 16, "BF16": 16, "I16": 16, "U16": 16}
_BITS |= {"F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64}


@dataclass(frozen=True)
class TensorInfo:
    """What a header tells of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


class TensorSource(Protocol):
    """Named tensors in one or several files."""

    tensors: dict[str, TensorInfo]
    files: tuple[Path, ...]

    def read(self, device: torch.device, names: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Each named tensor (all of them when None) on `device`, file by file; a file is closed before the next opens."""


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Names, dtypes and shapes of a safetensors file, in the order of its data; no tensor is read.

    Raises WeightsError for a file that is missing, cut short or no safetensors file.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if len(prefix) < 8 or (length <= _LARGEST_HEADER and 8 + length > size):
            raise WeightsError(f"{path} is cut short: {size} bytes do not even hold its header; fetch it again")
        if length > _LARGEST_HEADER:
            raise WeightsError(f"{path} is no safetensors file; its header would be {length} bytes long")
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            spans = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
            infos = {name: _info(entries[name], end - begin) for begin, end, name in spans}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path} is damaged: its header cannot be read ({error}); fetch it again") from error
    whole = 8 + length + max((end for _, end, _ in spans), default=0)
    if size < whole:
        raise WeightsError(f"{path} is cut short: {size:,} of {whole:,} bytes are there; fetch it again")
    if size > whole:
        raise WeightsError(f"{path} is damaged: {size - whole:,} bytes follow its last tensor; fetch it again")
    return infos


def _info(entry: dict[str, object], size: int) -> TensorInfo:
    info = TensorInfo(str(entry["dtype"]), tuple(int(side) for side in entry["shape"]), size)  # type: ignore[attr-defined]
    if size * 8 != info.parameters * _BITS.get(info.dtype, size * 8 / max(info.parameters, 1)):
        raise ValueError(f"{info.dtype} {list(info.shape)} does not fill {size} bytes")
    return info


class SafetensorsFiles:
    """One safetensors file, or the shards that an index file names."""

    def __init__(self, files: tuple[Path, ...], headers: list[dict[str, TensorInfo]]) -> None:
        self.files = files
        self._headers = headers
        self.tensors = {name: info for header in headers for name, info in header.items()}

    def read(self, device: torch.device, names: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """See `TensorSource`. Tensors own their memory: nothing stays mapped to a file."""
        for path, header in zip(self.files, self._headers, strict=True):
            wanted = [name for name in header if names is None or name in names]
            if not wanted:
                continue
            try:
                with safe_open(path, framework="pt", device="cpu") as file:
                    for name in wanted:
                        yield name, file.get_tensor(name).to(device, copy=True)
            except SafetensorError as error:
                raise WeightsError(f"{path} cannot be read ({error}); fetch it again") from error


class PickledFile:
    """A `.pth` file holding one flat dictionary of tensors, mapped into memory rather than read whole."""

    def __init__(self, path: Path) -> None:
        self.files = (path,)
        self._tensors = _unpickle(path)
        self.tensors = {
            name: TensorInfo(_dtype_name(value.dtype), tuple(value.shape), value.numel() * value.element_size())
            for name, value in self._tensors.items()
        }

    def read(self, device: torch.device, names: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """See `TensorSource`."""
        for name, value in self._tensors.items():
            if names is None or name in names:
                yield name, value.to(device, copy=True)


def _unpickle(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"{path} is missing")
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} holds more than tensors or is damaged; it is not opened ({_first(error)})") from error
    except (RuntimeError, EOFError, OSError) as error:
        raise WeightsError(f"{path} is cut short or damaged ({_first(error)}); fetch it again") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path} is not a flat dictionary of tensors, as the official file is")
    return content


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _dtype_name(dtype: torch.dtype) -> str:
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64", torch.float64: "F64"}
    return names.get(dtype, str(dtype).removeprefix("torch."))


def open_files(path: Path) -> TensorSource:
    """The tensors of a .safetensors or .pth file, of an index file's shards, or of a folder with either one.

    Raises WeightsError naming a missing shard, a file that is cut short, a tensor that the index promises and no shard
    holds, or one that a shard holds and the index does not know.
    """
    if path.is_dir():
        return _open_folder(path)
    if path.suffix in (".pth", ".pt", ".bin"):
        return PickledFile(path)  # type: ignore[return-value]
    if path.name.endswith(INDEX_SUFFIX):
        return _open_index(path)
    return SafetensorsFiles((path,), [read_header(path)])


def _open_folder(folder: Path) -> SafetensorsFiles:
    indexes = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indexes) == 1:
        return _open_index(indexes[0])
    if len(indexes) > 1:
        raise WeightsError(f"{folder} holds {len(indexes)} index files ({_names(indexes)}); name one of the folders' files")
    single = sorted(folder.glob("*.safetensors"))
    if len(single) != 1:
        found = f"{len(single)} .safetensors files" if single else "no .safetensors file"
        raise WeightsError(
            f"{folder} holds {found} and no *{INDEX_SUFFIX}; the index file says which shards belong together"
        )
    return SafetensorsFiles((single[0],), [read_header(single[0])])


def _open_index(index: Path) -> SafetensorsFiles:
    promised = read_index(index)
    names = sorted(set(promised.values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise WeightsError(f"{index.parent} lacks {len(missing)} of {len(names)} shards: {', '.join(missing)}")
    files = tuple(index.parent / name for name in names)
    headers = [read_header(file) for file in files]
    held = {name: file.name for file, header in zip(files, headers, strict=True) for name in header}
    lost = sorted(name for name, file in promised.items() if held.get(name) != file)
    if lost:
        raise WeightsError(f"{index.name} promises {listed(lost)}, which the shards do not hold there")
    extra = sorted(held.keys() - promised.keys())
    if extra:
        raise WeightsError(f"the shards beside {index.name} hold {listed(extra)}, which the index does not know")
    return SafetensorsFiles(files, headers)


def read_index(index: Path) -> dict[str, str]:
    """Tensor name -> name of the shard beside the index; raises WeightsError for a damaged index."""
    try:
        mapped = json.loads(index.read_text())["weight_map"]
        names = {str(name): str(file) for name, file in mapped.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise WeightsError(f"{index} cannot be read as an index of shards ({error}); fetch it again") from error
    outside = sorted({file for file in names.values() if Path(file).name != file})
    if outside:
        raise WeightsError(f"{index} names files outside its folder: {listed(outside)}")
    return names


def listed(names: list[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
