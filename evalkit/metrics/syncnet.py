"""SyncNet: lip and audio embeddings that lie close when a mouth makes the sound. Pure tensor code.

One class for every size: a `SyncNetConfig` lists the layers, so the published network is another preset. As there,
only the first lip layer spans time (5 pictures), every later layer is 2-D; so one run over T pictures gives the
T - 4 windows at once. Embeddings are not normalised: their distance is the measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

WINDOW_FRAMES = 5
AUDIO_COLUMNS = 20
AUDIO_COLUMNS_PER_FRAME = 4
MFCC_COEFFICIENTS = 13

Pair = tuple[int, int]


@dataclass(frozen=True)
class ConvSpec:
    """Convolution (with bias), batch norm and ReLU; sizes are (height, width), for sound (coefficient, column)."""

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class PoolSpec:
    """Maximum over a window."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)


Layers = tuple[ConvSpec | PoolSpec, ...]


@dataclass(frozen=True)
class SyncNetConfig:
    """Shape of a network; both branches must shrink their input to one pixel."""

    face_size: Pair
    lip: Layers
    audio: Layers
    hidden: int
    embedding: int


def nano_syncnet() -> SyncNetConfig:
    """About 0.6 M parameters for lower faces of 36 x 56 pixels; trained on the nano world."""
    return SyncNetConfig(
        face_size=(36, 56),
        lip=(
            ConvSpec(32, (5, 5), (2, 2), (2, 2)),  # 18 x 28
            ConvSpec(48, (3, 3), (2, 2), (1, 1)),  # 9 x 14
            ConvSpec(64, (3, 3), (1, 1), (1, 1)),
            PoolSpec((2, 2), (2, 2)),  # 4 x 7
            ConvSpec(96, (3, 3), (1, 1), (1, 1)),
            PoolSpec((2, 2), (2, 2)),  # 2 x 3
            ConvSpec(160, (2, 3)),
        ),
        audio=(
            ConvSpec(32, (3, 3), (1, 1), (1, 1)),  # 13 x 20
            PoolSpec((3, 3), (1, 2)),  # 11 x 9
            ConvSpec(64, (3, 3), (1, 1), (1, 1)),
            ConvSpec(96, (3, 3), (1, 1), (1, 1)),
            PoolSpec((3, 3), (2, 2)),  # 5 x 4
            ConvSpec(160, (5, 4)),
        ),
        hidden=160,
        embedding=128,
    )


def official_syncnet() -> SyncNetConfig:
    """The published network: 13.6 M parameters for face crops of 224 x 224 pixels (Chung & Zisserman 2016)."""
    same = ConvSpec(256, (3, 3), (1, 1), (1, 1))
    return SyncNetConfig(
        face_size=(224, 224),
        lip=(
            ConvSpec(96, (7, 7), (2, 2)),  # 109 x 109
            PoolSpec((3, 3), (2, 2)),
            ConvSpec(256, (5, 5), (2, 2), (1, 1)),  # 26 x 26
            PoolSpec((3, 3), (2, 2), (1, 1)),
            *(same,) * 3,
            PoolSpec((3, 3), (2, 2)),
            ConvSpec(512, (6, 6)),
        ),
        audio=(
            ConvSpec(64, (3, 3), (1, 1), (1, 1)),
            PoolSpec((1, 1), (1, 1)),  # keeps the published numbering of layers
            ConvSpec(192, (3, 3), (1, 1), (1, 1)),
            PoolSpec((3, 3), (1, 2)),
            ConvSpec(384, (3, 3), (1, 1), (1, 1)),
            *(same,) * 2,
            PoolSpec((3, 3), (2, 2)),
            ConvSpec(512, (5, 4)),
        ),
        hidden=512,
        embedding=1024,
    )


class SyncNet(nn.Module):
    """Two branches; module names and indices follow the published state dict (`netcnnlip.0.weight`, ...)."""

    def __init__(self, config: SyncNetConfig):
        super().__init__()
        self.config = config
        self.netcnnlip = _lip_branch(config.lip)
        self.netcnnaud = _audio_branch(config.audio)
        self.netfclip = _head(_last_channels(config.lip), config.hidden, config.embedding)
        self.netfcaud = _head(_last_channels(config.audio), config.hidden, config.embedding)

    def lip(self, faces: Tensor) -> Tensor:
        """Embeddings [B, T - 4, D] of face crops [B, 3, T, *face_size], T >= 5."""
        features = self.lip_features(faces)
        return self.netfclip(features.flatten(0, 1)).view(*features.shape[:2], -1)

    def lip_features(self, faces: Tensor) -> Tensor:
        """What the last lip layers see, [B, T - 4, channels]: the published code's "lip feature"."""
        return self.netcnnlip(faces).flatten(2).transpose(1, 2)

    def audio(self, windows: Tensor) -> Tensor:
        """Embeddings [N, D] of MFCC windows [N, 1, 13, 20]."""
        return self.netfcaud(self.netcnnaud(windows).flatten(1))


def audio_windows(mfcc_columns: Tensor, count: int) -> Tensor:
    """Windows [count, 1, 13, 20] of MFCC [columns, 13]: window i holds columns 4i .. 4i + 19. A view, not a copy."""
    starts = AUDIO_COLUMNS_PER_FRAME
    return mfcc_columns.unfold(0, AUDIO_COLUMNS, starts)[:count, None]


def _lip_branch(layers: Layers) -> nn.Sequential:
    modules: list[nn.Module] = []
    channels, span = 3, WINDOW_FRAMES
    for layer in layers:
        if isinstance(layer, PoolSpec):
            modules.append(nn.MaxPool3d((1, *layer.kernel), (1, *layer.stride), (0, *layer.padding)))
            continue
        conv = nn.Conv3d(channels, layer.channels, (span, *layer.kernel), (1, *layer.stride), (0, *layer.padding))
        modules += [conv, nn.BatchNorm3d(layer.channels), nn.ReLU(inplace=True)]
        channels, span = layer.channels, 1
    return nn.Sequential(*modules)


def _audio_branch(layers: Layers) -> nn.Sequential:
    modules: list[nn.Module] = []
    channels = 1
    for layer in layers:
        if isinstance(layer, PoolSpec):
            modules.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.padding))
            continue
        conv = nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, layer.padding)
        modules += [conv, nn.BatchNorm2d(layer.channels), nn.ReLU(inplace=True)]
        channels = layer.channels
    return nn.Sequential(*modules)


def _head(channels: int, hidden: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, embedding)
    )


def _last_channels(layers: Layers) -> int:
    return [layer.channels for layer in layers if isinstance(layer, ConvSpec)][-1]
