"""How a process becomes part of an engine: the others' meeting point, a process group, and the board.

What torchrun tells a process, or what stands in its place, is a `Rendezvous`; a process that is alone needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from liveavatar.tpp.board import Board, local_board
from liveavatar.tpp.launch import STARTER
from liveavatar.tpp.layout import Layout, Role

MEET_TIMEOUT = timedelta(minutes=10)  # until the last process has started
FOR_EVER = timedelta(days=365)  # a viewer may pause a stream for any time; faults are found by the watch


@dataclass(frozen=True)
class Rendezvous:
    """Where this process stands among all, and where they meet.

    has_host: the meeting point is kept by whoever started the processes, not by rank 0. starter: its process, where it is
    known.
    """

    rank: int
    world: int
    local_rank: int
    address: str
    port: int
    has_host: bool = False
    starter: int | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Rendezvous | None:
        """What torchrun has set; None: this process was not started by it. Raises ValueError for a half-set environment."""
        if "RANK" not in environment or "WORLD_SIZE" not in environment:
            return None
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
        if missing:
            raise ValueError(f"RANK is set but {' and '.join(missing)} not; start the processes with torchrun")
        return cls(
            rank=int(environment["RANK"]),
            world=int(environment["WORLD_SIZE"]),
            local_rank=int(environment.get("LOCAL_RANK", environment["RANK"])),
            address=environment["MASTER_ADDR"],
            port=int(environment["MASTER_PORT"]),
            has_host=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            starter=int(environment[STARTER]) if STARTER in environment else None,
        )


@dataclass(frozen=True)
class Membership:
    """This process among the others.

    boards: makes connections to the board, one per thread that waits. keeper: the rank that keeps the board; None: whoever
    started the processes does. starter: the process that did, where it is known.
    """

    role: Role
    layout: Layout
    boards: Callable[[], Board]
    groups: Mapping[int, tuple[dist.ProcessGroup, dist.ProcessGroup]]
    is_alone: bool
    keeper: int | None = 0
    starter: int | None = None

    @property
    def stage_groups(self) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
        """Of those who share this process's stage: one group for blocks, one for their tokens."""
        return self.groups[self.role.number]


def alone(layout: Layout) -> Membership:
    """A layout of one device: no process group, no store."""
    (role,) = layout.roles
    board = local_board()
    return Membership(role, layout, lambda: board, {}, is_alone=True)


def join(layout: Layout, rendezvous: Rendezvous, device: torch.device) -> Membership:
    """Meet the others. Raises ValueError where their number is not the layout's."""
    if rendezvous.world != layout.devices:
        raise ValueError(
            f"layout {layout.spec} is for {layout.devices} processes, {rendezvous.world} were started; "
            f"start {layout.devices}, or give --layout {rendezvous.world}"
        )
    keeps_store = rendezvous.rank == 0 and not rendezvous.has_host

    def store(is_master: bool = False) -> dist.TCPStore:
        return dist.TCPStore(
            rendezvous.address, rendezvous.port, None, is_master, timeout=MEET_TIMEOUT, wait_for_workers=False
        )

    kept = store(keeps_store)
    dist.init_process_group(
        _backend(device),
        store=dist.PrefixStore("group", kept),
        rank=rendezvous.rank,
        world_size=rendezvous.world,
        timeout=FOR_EVER,
    )
    return Membership(
        role=layout.roles[rendezvous.rank],
        layout=layout,
        boards=lambda: Board(dist.PrefixStore("board", store())),
        groups=_stage_groups(layout, device),
        is_alone=False,
        keeper=None if rendezvous.has_host else 0,
        starter=rendezvous.starter,
    )


def leave(membership: Membership, board: Board, timeout_s: float = 5.0) -> None:
    """Go when all are ready to: whoever keeps the meeting point goes last."""
    if membership.is_alone:
        return
    board.put(f"done/{membership.role.rank}", True)
    if membership.role.rank == 0:
        for rank in range(membership.layout.devices):
            board.wait(f"done/{rank}", lambda: None, poll_s=0.01, timeout_s=timeout_s)


def _backend(device: torch.device) -> str:
    """gloo for what is on processors, and the device's own where there is one."""
    if device.type == "cpu":
        return "gloo"
    return f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device.type)}"


def _stage_groups(
    layout: Layout, device: torch.device
) -> dict[int, tuple[dist.ProcessGroup, dist.ProcessGroup]]:
    """Groups of stages that several devices share. Every process makes all of them, in the same order."""
    groups: dict[int, tuple[dist.ProcessGroup, dist.ProcessGroup]] = {}
    for number, stage in enumerate(layout.stages):
        if stage.devices > 1:
            members = [role.rank for role in layout.roles if role.number == number]
            made = [dist.new_group(members, timeout=FOR_EVER, backend=_backend(device)) for _ in range(2)]
            # This process is a member of the first kind only where it is in the stage; others hold a placeholder.
            groups[number] = (made[0], made[1])  # type: ignore[assignment]
    return groups
