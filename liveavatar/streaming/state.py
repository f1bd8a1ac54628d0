"""A stream's state as plain tensors and numbers: saved between two blocks, it goes on later, elsewhere, as if never stopped.

What the networks and the options decide is not in it: a session opened alike takes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveavatar.model.codec import VaeStreamDecoder
from liveavatar.model.light_decoder import LightStreamDecoder
from liveavatar.streaming.conditions import VoiceConditions
from liveavatar.streaming.intake import Intake
from liveavatar.streaming.rollout import Rollout
from liveavatar.streaming.session import Session
from liveavatar.streaming.sink import Prefilled
from liveavatar.streaming.speech import SpeechConditions

State = dict[str, Any]


def session_state(session: Session) -> State | None:
    """The state after the last whole block; None while it cannot be told in a few tensors.

    Its tensors are the stream's own: save them before the stream goes on. None is given while the sink is being replaced
    (the first blocks), while another prompt is waiting for its block, while a block's frames are still to be taken, before
    the first block, and with decode="end".
    Raises NotImplementedError for parts whose state is not known here.
    """
    if session.rollout.next_block == 0 or session.is_ahead or session.prompts._coming or session.showing._kept:
        return None
    if not all(map(_has_settled, session.rollouts)):
        return None
    return {
        "frames_out": session.showing.frames_out,
        "intake": _intake_state(session.intake),
        "rollouts": [_rollout_state(rollout) for rollout in session.rollouts],
        "conditions": _conditions_state(session.conditions),
        "decoder": _decoder_state(session.decoder),
    }


@torch.inference_mode()
def restore_session(session: Session, state: State) -> None:
    """Put a state into a session that was opened as the one it was taken from, and has made nothing yet."""
    if session.rollout.next_block:
        raise ValueError(f"the session has made {session.rollout.next_block} blocks already; open a new one to restore into")
    if len(state["rollouts"]) != len(session.rollouts):
        made = len(state["rollouts"]), len(session.rollouts)
        raise ValueError(f"the state is of {made[0]} rollouts, this stream has {made[1]}: load with the same overlaps")
    for rollout, one in zip(session.rollouts, state["rollouts"], strict=True):
        _restore_rollout(rollout, one)
    _restore_intake(session.intake, state["intake"])
    session.showing.frames_out = state["frames_out"]
    _restore_conditions(session.conditions, state["conditions"])
    _restore_decoder(session.decoder, state["decoder"])


def _intake_state(intake: Intake) -> State:
    counters = [intake.samples_in, intake.frames_made, intake._next_block]
    sound = torch.from_numpy(np.ascontiguousarray(intake._sound))
    return {"counters": counters, "sound": sound, "lead": len(intake._lead)}


def _restore_intake(intake: Intake, state: State) -> None:
    intake.samples_in, intake.frames_made, intake._next_block = state["counters"]
    intake._sound, intake._lead = state["sound"].numpy().copy(), intake._lead[: state["lead"]]


def _has_settled(rollout: Rollout) -> bool:
    """Whether one sink holds for all that is still to come."""
    return len(rollout.sink._versions) == 1 and rollout._new_sink is None


def _rollout_state(rollout: Rollout) -> State:
    sink = rollout.sink._versions[0]
    return {
        "next_block": rollout.next_block,
        "caches": [[cache.keys, cache.values, cache.origin, _placed(cache.placed)] for cache in rollout.caches],
        "sink": [sink.number, [_sink_state(made) for made in sink.per_step]],
        "away": None if rollout._away is None else _rollout_state(rollout._away[0]),
    }


def _restore_rollout(rollout: Rollout, state: State) -> None:
    if len(state["caches"]) != len(rollout.caches) or (state["away"] is None) != (rollout._away is None):
        raise ValueError(f"the state has {len(state['caches'])} caches, this stream {len(rollout.caches)}: other options")
    for cache, (keys, values, origin, placed) in zip(rollout.caches, state["caches"], strict=True):
        if keys.shape != cache.keys.shape:
            shapes = list(keys.shape), list(cache.keys.shape)
            raise ValueError(f"the state's cache is {shapes[0]}, this stream's {shapes[1]}: other options")
        cache.keys.copy_(keys)
        cache.values.copy_(values)
        cache.origin, cache.placed = origin, None if placed is None else tuple(placed)
    number, per_step = state["sink"]
    like = rollout.sink.keys
    made = [_sink_from(one, like) for one in per_step]
    # The number tells caches that what they hold is this very sink.
    rollout.sink._versions.clear()
    rollout.sink._set_count = number - 1
    rollout.sink.use(*made)
    rollout.next_block = state["next_block"]
    rollout._new_sink = None  # it is the sink by now: no state is told before
    if rollout._away is not None:
        _restore_rollout(rollout._away[0], state["away"])


def _placed(placed: tuple[float, ...] | None) -> list[float] | None:
    return None if placed is None else list(placed)


def _sink_state(made: Prefilled) -> list[Tensor | None]:
    return [made.latent, made.motion, made.keys, made.values]


def _sink_from(state: list[Tensor | None], like: Tensor) -> Prefilled:
    latent, motion, keys, values = (None if one is None else one.to(like.device) for one in state)
    assert latent is not None
    assert keys is not None
    assert values is not None
    return Prefilled(latent, motion, keys, values)


def _conditions_state(conditions: object) -> State:
    if isinstance(conditions, VoiceConditions):
        pending = torch.from_numpy(np.ascontiguousarray(conditions.pending))
        state = {"pending": pending, "next_block": conditions.next_block, "skip": conditions._skip}
        return {**state, "past": conditions.past.inputs, "history": conditions.history}
    if isinstance(conditions, SpeechConditions):
        held = torch.from_numpy(np.ascontiguousarray(conditions.held))
        state = {"held": held, "held_from": conditions.held_from, "next_block": conditions.next_block}
        return {**state, "before": conditions.before}
    raise NotImplementedError(f"the state of {type(conditions).__name__} cannot be saved")


def _restore_conditions(conditions: object, state: State) -> None:
    if isinstance(conditions, VoiceConditions) and "past" in state:
        conditions.pending = state["pending"].numpy().copy()
        conditions.next_block, conditions._skip = state["next_block"], state["skip"]
        device = conditions.speech.enter.weight.device
        conditions.past.inputs = [one.to(device) for one in state["past"]]
        conditions.history = None if state["history"] is None else state["history"].to(device)
    elif isinstance(conditions, SpeechConditions) and "held" in state:
        conditions.held = state["held"].numpy().copy()
        conditions.held_from, conditions.next_block = state["held_from"], state["next_block"]
        device = conditions.model.trainable_cond_mask.weight.device
        conditions.before = None if state["before"] is None else state["before"].to(device)
    else:
        raise ValueError(f"the state is not one of {type(conditions).__name__}: it was taken under another profile")


def _decoder_state(decoder: object) -> list[Any]:
    if isinstance(decoder, LightStreamDecoder):
        return ["light", decoder.memory]
    if isinstance(decoder, VaeStreamDecoder):
        return ["vae", list(decoder.features), decoder.started]
    raise NotImplementedError(f"the state of {type(decoder).__name__} cannot be saved")


def _restore_decoder(decoder: object, state: list[Any]) -> None:
    if isinstance(decoder, LightStreamDecoder) and state[0] == "light":
        decoder.memory = state[1].to(next(decoder.decoder.parameters()).device)
    elif isinstance(decoder, VaeStreamDecoder) and state[0] == "vae":
        device = next(decoder.codec.parameters()).device
        features: list[Any] = [one.to(device) if isinstance(one, Tensor) else one for one in state[1]]
        decoder.features, decoder.started = features, state[2]
    else:
        raise ValueError(f"the state is of decoder {state[0]!r}, this stream has {type(decoder).__name__}: other options")
