"""Which network each extractor runs with: the shipped nano one, or the official one where its weights are present.

Light on purpose: names, digests and protocols are known here without loading a network, so that plans and tables can
say what made a number. Values of different backbones or protocols never share a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evalkit.metric_setup import NANO, MetricSetup
from evalkit.metrics.base import Backbone
from evalkit.metrics.weights import WeightsError, nano_backbone


@dataclass(frozen=True)
class NetworkInfo:
    """An extractor's two networks. `nano` names shipped weights, `official` ids of weights; protocols go into digests."""

    nano: str | None
    official: tuple[str, ...]
    nano_protocol: Mapping[str, Any] = field(default_factory=dict)
    official_protocol: Mapping[str, Any] = field(default_factory=dict)
    official_name: str = ""


_SYNC = {"fps": 25, "steps": "in memory, no re-encoding", "tracks": "longest", "min_track": 50, "min_face_px": [100, 40]}
_INCEPTION_NAME = "Inception-v3 (2015-12-05)"
_INCEPTION = {"fps": 25, "frames": "all but the first", "dtype": "float32", "feature": "2048 averages after Mixed_7c"}
_I3D = {"fps": 25, "window": "16 consecutive, after the first frame", "resize": "224 x 224 inside the network", "eps": 1e-3}

NETWORKS: dict[str, NetworkInfo] = {
    "syncnet": NetworkInfo(
        "syncnet",
        ("syncnet",),
        {"fps": 25, "crop": "lower face, fixed box", "size": [36, 56]},
        {**_SYNC, "crop": "S3FD track, 224"},
        "SyncNet",
    ),
    "syncnet_reference": NetworkInfo(
        None,
        ("syncnet",),
        official_protocol={**_SYNC, "steps": "MPEG-4 and JPEG in between", "min_track": 100, "min_face_px": [100]},
        official_name="SyncNet",
    ),
    "syncnet_wholeframe": NetworkInfo(
        "syncnet",
        ("syncnet",),
        {"fps": 25, "crop": "none", "size": [36, 56]},
        {"fps": 25, "crop": "none", "size": 224},
        "SyncNet",
    ),
    "image": NetworkInfo(
        "image_encoder",
        ("dinov2",),
        {"fps": 5, "size": [128, 96], "resize": "bilinear antialias", "frames": "FID: all but the first"},
        {"fps": 5, "resize": "short side 256, Pillow bicubic", "crop": 224, "feature": "class token", "dtype": "float32"},
        "DINOv2 ViT-B/14 (transformers)",
    ),
    "image_full": NetworkInfo(
        None,
        ("dinov2",),
        official_protocol={"fps": 5, "resize": "224 x 392 whole, Pillow bicubic", "feature": "class token"},
        official_name="DINOv2 ViT-B/14 (transformers)",
    ),
    "inception": NetworkInfo(
        None, ("inception",), official_protocol={**_INCEPTION, "input": "fid_pytorch"}, official_name=_INCEPTION_NAME
    ),
    "inception_clean": NetworkInfo(
        None, ("inception",), official_protocol={**_INCEPTION, "input": "fid_clean"}, official_name=_INCEPTION_NAME
    ),
    "inception_tf": NetworkInfo(
        None, ("inception",), official_protocol={**_INCEPTION, "input": "fid_tf"}, official_name=_INCEPTION_NAME
    ),
    "clip": NetworkInfo(
        "clip_encoder",
        ("i3d",),
        {"fps": 25, "window": "16 consecutive, after the first frame", "size": [64, 48], "resize": "antialias"},
        _I3D,
        "I3D (Kinetics-400, TorchScript)",
    ),
    "clip_debiased": NetworkInfo(
        None,
        ("videomae",),
        official_protocol={"fps": 25, "window": "16 consecutive", "size": 224, "range": "0..1", "feature": "1408 means"},
        official_name="VideoMAE-v2 ViT-g (SSv2)",
    ),
    "quality": NetworkInfo(
        "quality",
        ("qalign",),
        {"fps": 1, "size": [128, 96], "resize": "bilinear antialias", "scale": "1-5"},
        {"fps": 1, "kind": "image", "pad": "square", "size": 448, "dtype": "float16", "scale": "1-5"},
        "Q-Align (one-align)",
    ),
    "mouth": NetworkInfo("mouth", (), {"fps": 25, "crop": "lower face, fixed box", "size": [36, 56]}),
    "faces": NetworkInfo("face_finder", (), {"fps": 5, "size": 128}),
    "pixels": NetworkInfo(None, ()),
}


def kind_of(extractor: str, setup: MetricSetup = NANO) -> Literal["nano", "official", "none"]:
    """Which network `extractor` would run with. Raises WeightsError where the one that is wanted cannot be had."""
    info = network(extractor)
    is_there = bool(info.official) and bool(setup.weights) and all(setup.folder.has(one) for one in info.official)
    if is_there and setup.backbones != "nano":
        return "official"
    if info.nano is not None and (setup.backbones != "official" or not info.official):
        return "nano"
    if not info.official:
        return "none"
    if is_there:
        raise WeightsError(f"{extractor} has no nano network; its official weights are here: use --backbones auto")
    ids = " ".join(info.official)
    where = f"not in {setup.weights}" if setup.weights else "no --metric-weights FOLDER was given"
    raise WeightsError(f"{extractor} needs the official weights {ids} ({where}): python -m evalkit weights get {ids}")


def backbone_of(extractor: str, setup: MetricSetup = NANO) -> Backbone:
    """Name, digest, kind and protocol of an extractor's network; nothing is loaded."""
    info, kind = network(extractor), kind_of(extractor, setup)
    if kind == "none":
        return Backbone("none", None, "none")
    if kind == "nano":
        assert info.nano is not None
        plain = nano_backbone(info.nano)
        return Backbone(plain.name, plain.digest, "nano", dict(info.nano_protocol))
    return Backbone(info.official_name, setup.folder.digest(info.official[0]), "official", dict(info.official_protocol))


def network(extractor: str) -> NetworkInfo:
    """What is known of an extractor's networks; a plug-in's extractor has none here."""
    return NETWORKS.get(extractor, NetworkInfo(None, ()))
