"""Checkpoint files into networks: only plain tensors are read, and every key and shape must be the layout's.

Accepted containers: `torch.save` of a mapping (read with weights_only=True, old format or zip), safetensors, and a
folder with a safetensors index. A wrapper such as {"state_dict": ...} is opened when it is named.
"""

from __future__ import annotations

import json
import pickle  # for the error that weights_only=True raises
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from evalkit.metrics.weights import WeightsError

Network = TypeVar("Network", bound=nn.Module)

COUNTERS = "num_batches_tracked"
"""Counters of batch norms: no function depends on them, and some published files leave them out."""
INDEX = "model.safetensors.index.json"
MAX_NAMED = 4


def read_checkpoint(path: Path, wrappers: Iterable[str] = ()) -> dict[str, Tensor]:
    """Tensors by name of a local file or folder; `wrappers` are keys under which publishers nest the mapping.

    Raises WeightsError for a missing, truncated, foreign or code-carrying file.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; see: evalkit weights list")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{path.name} is no plain file of tensors ({type(error).__name__}: {reason}); it may be truncated or carry "
            "code, which is never run. Get it again: evalkit weights get"
        ) from error
    for wrapper in wrappers:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{path.name} is not one flat mapping from names to tensors; it is another kind of file")
    return dict(content)


def load_strict(network: Network, state: Mapping[str, Tensor], what: str) -> Network:
    """`network` with exactly these tensors, float32, in evaluation mode.

    Raises WeightsError naming the keys that are missing, unexpected or of another shape; only the counters of batch
    norms may be absent.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith(COUNTERS)]
    unexpected = [name for name in state if name not in wanted]
    misshapen = [
        f"{name} is {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{text} {_some(names)}"
        for text, names in (("missing:", missing), ("unexpected:", unexpected), ("wrong shape:", misshapen))
        if names
    ]
    if problems:
        raise WeightsError(f"these are not the weights of {what}: {'; '.join(problems)}")
    given = {name: _plain(state[name]) if name in state else tensor for name, tensor in wanted.items()}
    network.load_state_dict(given, assign=True)
    return network.eval().requires_grad_(False)


def empty(make: type[Network], *arguments: object) -> Network:
    """A network without memory for its parameters yet, to be filled by `load_strict`."""
    with torch.device("meta"):
        network = make(*arguments)
    # Counters that a file leaves out must exist all the same.
    for name, buffer in list(network.named_buffers()):
        if name.endswith(COUNTERS):
            owner, _, own = name.rpartition(".")
            network.get_submodule(owner)._buffers[own] = torch.zeros_like(buffer, device="cpu")
    return network


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous() if tensor.is_floating_point() else tensor.detach().clone()


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}); get it again: evalkit weights get") from error


def _read_folder(folder: Path) -> dict[str, Tensor]:
    single = folder / "model.safetensors"
    if single.is_file():
        return _read_safetensors(single)
    index = folder / INDEX
    if not index.is_file():
        raise WeightsError(f"{folder} holds neither {single.name} nor {INDEX}; see: evalkit weights list")
    parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    lost = [part for part in parts if not (folder / part).is_file()]
    if lost:
        raise WeightsError(f"{folder} lacks {len(lost)} of {len(parts)} shards, first {lost[0]}; get them again")
    return {name: tensor for part in parts for name, tensor in _read_safetensors(folder / part).items()}


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
