"""DINOv2 ViT-B/14 (Oquab et al. 2023) through transformers, from a local folder or from the original checkpoint file.

The feature is the class token after the last norm. Both sources hold the same numbers, but the two codes resize position
embeddings a little differently: values of both are near, not equal, so the backbone's name says which was loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evalkit.metrics.official.loading import read_checkpoint
from evalkit.metrics.weights import WeightsError

SHORT_SIDE, CROP = 256, 224
FULL_SIZE = (224, 392)
"""Short and long side of `dino_s_full`: multiples of the patch, nothing cut off."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ORIGINAL = "dinov2_vitb14_pretrain.pth"
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 14, "image_size": 518}


class ClassToken(nn.Module):
    """Pictures float32 [n, 3, H, W] from `prepare` -> class tokens [n, D]."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        return self.model(pixel_values=pictures).pooler_output


def load_dinov2(place: Path) -> ClassToken:
    """The network from a folder in the hub's layout, or from the original `.pth` file. No network is used.

    Raises WeightsError for files that are absent, incomplete or of another model.
    """
    library = _transformers()
    if place.is_dir():
        if not (place / "config.json").is_file():
            raise WeightsError(f"{place} has no config.json; get the whole folder: evalkit weights get dinov2")
        return _checked(library, place, {"local_files_only": True}, f"DINOv2 in {place.name}")
    state, config = renamed(read_checkpoint(place)), library.Dinov2Config(**BASE)
    return _checked(library, None, {"config": config, "state_dict": state}, "DINOv2 ViT-B/14")


def _checked(library: Any, place: Path | None, how: dict[str, Any], what: str) -> ClassToken:
    """Built by the library, which knows the hub's names; whatever it would gloss over is an error here."""
    try:
        model, found = library.Dinov2Model.from_pretrained(place, output_loading_info=True, dtype=torch.float32, **how)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"these are not the weights of {what}: {str(error).strip().partition(chr(10))[0]}") from error
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    problems = {kind: sorted(map(str, found.get(kind) or ())) for kind in kinds}
    named = [f"{kind.replace('_', ' ')}: {', '.join(names[:4])}" for kind, names in problems.items() if names]
    if named:
        raise WeightsError(f"these are not the weights of {what}: {'; '.join(named)}")
    return ClassToken(model.eval().requires_grad_(False))


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The original checkpoint's tensors under the names of the hub's files; joint projections are taken apart."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            layer, kind = name.split(".")[1], name.rsplit(".", 1)[1]
            for part, value in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                out[f"encoder.layer.{layer}.attention.attention.{part}.{kind}"] = value
            continue
        for old, new in _RENAMED:
            name = name.replace(old, new)
        out[f"layer{name}" if name.startswith("norm.") else name] = tensor
    return out


_RENAMED = (
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("blocks.", "encoder.layer."),
    ("attn.proj.", "attention.output.dense."),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
)


def prepare(pictures: np.ndarray) -> Tensor:
    """Float32 [n, 3, 224, 224] of RGB uint8 [n, H, W, 3]: short side 256 (Pillow bicubic), centre crop, ImageNet scale."""
    return normalise(np.stack([resize_and_crop(picture) for picture in pictures]))


def prepare_full(pictures: np.ndarray) -> Tensor:
    """The whole picture at 224 x 392 or 392 x 224, for the variant that cuts nothing off."""
    from PIL import Image

    short, long = FULL_SIZE
    tall = pictures.shape[1] >= pictures.shape[2]
    size = (short, long) if tall else (long, short)
    return normalise(np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures]))


def resize_and_crop(picture: np.ndarray) -> np.ndarray:
    """Uint8 [224, 224, 3] of uint8 [H, W, 3]."""
    from PIL import Image

    height, width = picture.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    size = (SHORT_SIDE, int(height * scale)) if width <= height else (int(width * scale), SHORT_SIDE)
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (round((resized.shape[axis] - CROP) / 2) for axis in (0, 1))
    return resized[top : top + CROP, left : left + CROP]


def normalise(pictures: np.ndarray) -> Tensor:
    """Float32 [n, 3, H, W] of uint8 [n, H, W, 3] by ImageNet's mean and deviation."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return (tensor - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise WeightsError("DINOv2 needs transformers; install it with: pip install 'live-avatar[official]'") from error
    return transformers
