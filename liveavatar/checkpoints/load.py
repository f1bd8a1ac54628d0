"""Published tensors into a module, strictly: every tensor of the module and every tensor of the file, or an error.

The module may stand on the meta device: its tensors are replaced, not filled, so nothing is allocated twice. What can
be told from headers (missing, unknown, misshapen tensors) is told before the first tensor is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from liveavatar.checkpoints.files import TensorSource, listed
from liveavatar.checkpoints.store import WeightsError, file_digest

KeyMap = Callable[[str], str | None]  # published name -> name in the module; None: known, and of no use here


@dataclass(frozen=True)
class LoadReport:
    """What `load_into` read."""

    files: tuple[str, ...]
    tensors: int
    parameters: int
    bytes: int
    left_out: tuple[str, ...] = field(default=())


def load_into(
    module: nn.Module,
    source: TensorSource,
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    key_map: KeyMap | None = None,
    digests: Mapping[str, str] | None = None,
) -> LoadReport:
    """Put every tensor of `source` into `module`, on `device`, one file in memory at a time.

    dtype: for floating-point tensors; None keeps the file's. key_map: published names to the module's; left_out in the
    report are those that it maps to None. digests: sha256 by file name, checked for the files that it lists.
    Raises WeightsError naming missing, unknown, doubled and misshapen tensors, and files with a wrong digest.
    """
    owners = _owners(module)
    target_of = _match(owners, module, source, key_map or (lambda name: name))
    check_digests(source.files, digests or {})
    device = torch.device(device)
    for name, value in source.read(device, set(target_of)):
        if dtype is not None and value.is_floating_point():
            value = value.to(dtype)
        for owner in owners[target_of[name]]:
            replace_tensor(module, owner, value)
    _check_nothing_is_unset(module)
    infos = [source.tensors[name] for name in target_of]
    left_out = tuple(name for name in source.tensors if name not in target_of)
    parameters, size = sum(info.parameters for info in infos), sum(info.bytes for info in infos)
    return LoadReport(tuple(path.name for path in source.files), len(infos), parameters, size, left_out)


def check_digests(files: tuple[Path, ...], digests: Mapping[str, str]) -> None:
    """Raise WeightsError naming the first file whose sha256 is not the recorded one; unlisted files are not read."""
    for path in files:
        recorded = digests.get(path.name)
        if recorded is not None and file_digest(path) != recorded:
            raise WeightsError(f"{path} does not match its recorded sha256 {recorded[:16]}...; fetch it again")


def replace_tensor(module: nn.Module, name: str, value: Tensor) -> None:
    """Put `value` in the place of the parameter or buffer `name`."""
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    old = owner._parameters.get(leaf)
    if old is not None:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=old.requires_grad)
    else:
        owner._buffers[leaf] = value


def _owners(module: nn.Module) -> dict[str, list[str]]:
    """Each tensor of the state under its first name, with every name that it has (tied tensors have several)."""
    first: dict[int, str] = {}
    owners: dict[str, list[str]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        owners.setdefault(first.setdefault(id(value), name), []).append(name)
    return owners


def _match(owners: dict[str, list[str]], module: nn.Module, source: TensorSource, key_map: KeyMap) -> dict[str, str]:
    """Published name -> the module's first name for it; complains of everything at once."""
    first_of = {name: first for first, names in owners.items() for name in names}
    shapes = {name: tuple(value.shape) for name, value in module.state_dict(keep_vars=True).items()}
    target_of: dict[str, str] = {}
    taken: set[str] = set()
    unknown, doubled, misshapen = [], [], []
    for published, info in source.tensors.items():
        name = key_map(published)
        if name is None:
            continue
        if name not in first_of:
            unknown.append(published)
            continue
        if first_of[name] in taken:
            doubled.append(published)
        if info.shape != shapes[name]:
            misshapen.append(f"{published} is {list(info.shape)}, not {list(shapes[name])}")
        target_of[published] = first_of[name]
        taken.add(first_of[name])
    missing = sorted(owners.keys() - taken)
    problems = [
        f"{len(names)} {kind}: {listed(names)}"
        for kind, names in (
            ("missing", missing),
            ("unknown", unknown),
            ("of a wrong shape", misshapen),
            ("there twice", doubled),
        )
        if names
    ]
    if problems:
        where = source.files[0] if len(source.files) == 1 else source.files[0].parent
        raise WeightsError(f"{where} does not fit {type(module).__name__}: {'; '.join(problems)}")
    return target_of


def _check_nothing_is_unset(module: nn.Module) -> None:
    """Tensors outside the state (non-persistent buffers) must not be left on the meta device."""
    unset = [name for name, value in (*module.named_parameters(), *module.named_buffers()) if value.is_meta]
    if unset:
        raise WeightsError(f"{type(module).__name__} has tensors that no file can hold and nothing set: {listed(unset)}")
