"""What a process of an engine has for all its streams: networks, links, the board, the watch, its trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from liveavatar.components import Components
from liveavatar.pipeline import Pipeline
from liveavatar.streaming.intake import Intake
from liveavatar.streaming.rollout import LatentBlock, Rollout
from liveavatar.streaming.showing import Showing
from liveavatar.tpp.acknowledgements import Acknowledgements
from liveavatar.tpp.board import Board
from liveavatar.tpp.layout import Role
from liveavatar.tpp.links import Inbox, Outbox, receiver, sender, sharer
from liveavatar.tpp.membership import Membership
from liveavatar.tpp.message import MessageForm
from liveavatar.tpp.order import SharedRows
from liveavatar.tpp.parts import block_shape
from liveavatar.tpp.sequence import TokenShare, share_tokens, shared_rollout
from liveavatar.tpp.trace import Trace, clock, clock_shift
from liveavatar.tpp.watch import Limits, Watch

Build = Callable[[frozenset[str]], Components]


@dataclass(frozen=True)
class EngineOptions:
    """How stages hand on blocks, and when something counts as a fault.

    depth: blocks that may wait between two stages. host_links: messages pass through the processor's memory even where
    devices could speak directly. warms_up: networks work on nothing before the first stream, so that its first block finds
    everything compiled and allocated. rollout_type: how streams are held and run, as `Pipeline` takes it.
    """

    depth: int = 2
    host_links: bool = False
    warms_up: bool = False
    limits: Limits = field(default_factory=Limits)
    rollout_type: type[Rollout] = Rollout

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth={self.depth}: at least 1 block must be able to wait between two stages")


class Workplace:
    """See the file's first line. fan: to those who share this stage."""

    pipeline: Pipeline

    def __init__(self, membership: Membership, device: torch.device, options: EngineOptions) -> None:
        self.membership, self.role, self.layout = membership, membership.role, membership.layout
        self.device, self.options = device, options
        self.board: Board = membership.boards()
        names = [role.name for role in self.layout.roles]
        self.watch = Watch(self.role, names, options.limits, membership.keeper, membership.starter)
        self.trace = Trace(self.role.rank, self.role.stage.name)
        self.rollout_type = options.rollout_type
        self.inbox: Inbox | None = None
        self.outbox: Outbox | None = None
        self.fan: Outbox | None = None
        self.rows: SharedRows | None = None
        self._acknowledgements: Acknowledgements | None = None

    @property
    def end_rank(self) -> int:
        """Where finished blocks leave."""
        return next(role.rank for role in self.layout.roles if role.is_end)

    @property
    def acknowledgements(self) -> Acknowledgements:
        """The end's words to the front on what was shown; made when first wanted."""
        self._acknowledgements = self._acknowledgements or Acknowledgements(self.end_rank, self.watch)
        return self._acknowledgements

    def furnish(self, build: Build) -> None:
        """Load the networks that the role uses, make its links, set its clock."""
        components = build(needed_parts(self.role))
        if not self.membership.is_alone:
            make = components.prompt_rows if self.role.is_front else None
            self.rows = SharedRows(self.membership.boards(), self.watch.check, make, self.device)
            components = replace(components, prompt_rows=self.rows)
        self.pipeline = Pipeline(components)
        if len(self.role.members) > 1:
            self._share_stage()
        if self.options.warms_up:
            self._warm_up()
        if not self.membership.is_alone:
            self._link()
            self.board.put(f"clock/{self.role.rank}", clock())
            self.board.wait(f"clock/{self.end_rank}", self.watch.check)
            self.trace.shift_s = clock_shift(clock(), self.board.get(f"clock/{self.end_rank}"))

    @torch.inference_mode()
    def _warm_up(self) -> None:
        """This role's work on a few blocks of nothing, which nobody sees."""
        pipeline, config, steps = self.pipeline, self.pipeline.config, self.role.stage.steps
        options = replace(config.rollout, steps=self.layout.steps, grid="shifted", aas=False, cache="timestep", guidance=1.0)
        picture = np.zeros((config.height, config.width, 3), dtype=np.uint8)
        coded, nothing = pipeline.code(picture, options), torch.zeros(block_shape(config), device=self.device)
        if self.role.is_front:
            sound = np.zeros(2 * config.block_frames * config.samples_per_frame, dtype=np.float32)
            list(Intake(pipeline.components.conditions(options), config, options).push(sound))
        if steps:
            text = pipeline.texts_of(options)("")
            given = (pipeline.transformer, options, text, coded.sink, config.block_latents, coded.motion)
            rollout = self.rollout_type(*given, own=steps)
            for _ in range(options.window_past + 2):
                rollout.denoise(nothing, rollout.silence())
        if self.role.is_end and self.role.stage.decodes:
            showing = Showing(pipeline.decoder(picture, options, coded), config, options)
            for block in range(2):
                list(showing.take(LatentBlock(nothing, block, 0.0, 0.0), config.block_frames))

    def forms(self) -> dict[str, MessageForm]:
        """Messages to a stage that denoises, and to one that only decodes."""
        config, encoder = self.pipeline.config, self.pipeline.transformer.casual_audio_encoder
        # A stage without transformer reads no voice, so that its type does not matter.
        kind = encoder.weights.dtype if self.role.stage.steps else torch.float32
        return {"voice": MessageForm(config, config.transformer, kind), "latents": MessageForm(config, None, torch.float32)}

    def close(self) -> None:
        """No more blocks will come or go."""
        for link in (self.inbox, self.outbox, self.fan):
            if link is not None:
                link.close()

    def _share_stage(self) -> None:
        config, role = self.pipeline.config, self.role
        if self.rollout_type is not Rollout:
            raise ValueError("devices that share tokens hold their own heads' past; leave out graphs and host_caches")
        share = TokenShare(role.part, len(role.members), self.membership.stage_groups[1])
        share.check(config.transformer, *config.latent_size)
        share_tokens(self.pipeline.transformer, share)
        self.rollout_type = shared_rollout(share)

    def _link(self) -> None:
        role, watch, depth = self.role, self.watch, self.options.depth
        device = torch.device("cpu") if self.options.host_links else self.device
        forms = self.forms()
        if len(role.members) > 1:
            leader = role.members[0]
            share = sharer(leader, self.membership.stage_groups[0], device)
            if not role.is_leader:
                self.inbox = Inbox(forms["voice"], share, leader, device, watch)
                return
            self.fan = Outbox(forms["voice"], share, role.members[1], device, watch, depth)
        if role.source is not None:
            form = forms["voice" if role.stage.steps else "latents"]
            self.inbox = Inbox(form, receiver(role.source, device), role.source, device, watch)
        if role.target is not None:
            form = forms["voice" if self.layout.stages[role.number + 1].steps else "latents"]
            self.outbox = Outbox(form, sender(role.target, device), role.target, device, watch, depth)


def needed_parts(role: Role) -> frozenset[str]:
    """Networks that a role uses; all code the picture."""
    denoise = {"transformer"} if role.stage.steps else set()
    return frozenset({"codec"} | denoise | ({"voice", "text"} if role.is_front else set()))
