"""Q-Align (Wu et al. 2023): its prompt, its picture, its five logits; the language model itself comes from pyiqa.

Everything around the model is done here, with the published protocol's own choices, so that it is testable without the
16 GB of weights: padding to a square, Pillow's bicubic resize (transformers' default backend differs by up to one grey
level), one beginning-of-sequence token, the next token's logits at the five level words. float16 is the protocol.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from evalkit.metrics.levels import LEVELS
from evalkit.metrics.weights import WeightsError

SIZE_PX = 448
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
PAD_COLOUR = tuple(int(255 * value) for value in CLIP_MEAN)
TASK_WORDS = {"iqa": "quality", "ase": "aesthetics"}
"""The training prompts' words; pyiqa's documentation says "aesthetic", which is another prompt."""
KINDS = ("image", "video")
IMAGE_MARKER, IMAGE_TOKEN = "<|image|>", -200
HUB_ID = "q-future/one-align"
INSTALL = "pip install 'live-avatar[qalign]'  (pyiqa is licensed for non-commercial use)"


class LanguageModel(Protocol):
    """What is asked of the model: logits [n, tokens, words] for token ids [n, tokens] and pictures."""

    def __call__(self, input_ids: Tensor, *, images: Any) -> Any: ...


def prompt(task: str, kind: str = "image") -> str:
    """The published question, up to where the rating word would stand. `task` is iqa or ase."""
    if task not in TASK_WORDS or kind not in KINDS:
        raise ValueError(f"task {task!r} of {kind!r}; tasks: {', '.join(TASK_WORDS)}; kinds: {', '.join(KINDS)}")
    word = TASK_WORDS[task]
    return f"USER: How would you rate the {word} of this {kind}?\n{IMAGE_MARKER}\nASSISTANT: The {word} of the {kind} is"


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a prompt: one beginning-of-sequence token at the very start, the picture's marker in its place.

    Newer tokenizers no longer add that token by themselves, and a prompt without it gives other ratings.
    """
    start = tokenizer.bos_token_id
    if start is None:
        raise WeightsError("the tokenizer has no beginning-of-sequence token, so it is not Q-Align's")
    before, after = (_without(list(tokenizer(part).input_ids), start) for part in text.split(IMAGE_MARKER))
    return [start, *before, IMAGE_TOKEN, *after]


def level_ids(tokenizer: Any) -> list[int]:
    """Ids of the five level words, each exactly one token."""
    found = [_without(list(tokenizer(word).input_ids), tokenizer.bos_token_id) for word in LEVELS]
    for word, ids in zip(LEVELS, found, strict=True):
        if len(ids) != 1:
            raise WeightsError(f"the tokenizer splits {word!r} into {len(ids)} tokens, so it is not Q-Align's")
    return [ids[0] for ids in found]


def pad_square(picture: np.ndarray) -> np.ndarray:
    """Uint8 [s, s, 3] with the picture in the middle on CLIP's mean colour."""
    height, width = picture.shape[:2]
    side = max(height, width)
    out = np.empty((side, side, 3), np.uint8)
    out[:] = PAD_COLOUR
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = picture
    return out


def pixel_values(picture: np.ndarray) -> Tensor:
    """Float32 [3, 448, 448] of uint8 [H, W, 3]."""
    from PIL import Image

    square = Image.fromarray(pad_square(picture)).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)
    tensor = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    return (tensor - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_DEVIATION)[:, None, None]


class QAlign:
    """The five logits of pictures; both tasks of a picture share one call's preparation."""

    def __init__(self, model: LanguageModel, tokenizer: Any, device: torch.device | str, dtype: torch.dtype):
        self._model, self._device, self._dtype = model, torch.device(device), dtype
        self._levels = level_ids(tokenizer)
        self._ids = {(task, kind): prompt_ids(tokenizer, prompt(task, kind)) for task in TASK_WORDS for kind in KINDS}

    @torch.inference_mode()
    def rate(self, pictures: np.ndarray, task: str) -> np.ndarray:
        """Logits float32 [n, 5] of pictures uint8 [n, H, W, 3], one by one: the model takes no batch of its own."""
        rows = []
        for picture in pictures:
            given = pixel_values(picture)[None].to(self._device, self._dtype)
            rows.append(self._logits(task, "image", given))
        return np.stack(rows) if rows else np.zeros((0, len(LEVELS)), np.float32)

    @torch.inference_mode()
    def rate_video(self, pictures: np.ndarray, task: str) -> np.ndarray:
        """Logits float32 [5] of the pictures as one video: a list of frames, as the model was trained on."""
        given = torch.stack([pixel_values(picture) for picture in pictures]).to(self._device, self._dtype)
        return self._logits(task, "video", [given])

    def _logits(self, task: str, kind: str, images: Any) -> np.ndarray:
        ids = torch.tensor([self._ids[task, kind]], device=self._device)
        logits = self._model(ids, images=images)["logits"][0, -1, self._levels]
        return logits.float().cpu().numpy()


def load_qalign(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float16) -> QAlign:
    """The published model from a local copy of its hub folder. Raises WeightsError without pyiqa or without the files."""
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json; get the folder (16.4 GB): evalkit weights get qalign")
    library, transformers = _pyiqa()
    with _local_tokenizer(library, folder):
        model = library.MPLUGOwl2LlamaForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return QAlign(model.to(device).eval(), tokenizer, device, dtype)


def _pyiqa() -> tuple[Any, Any]:
    try:
        import transformers
        from pyiqa.archs.q_align import modeling_mplug_owl2
    except ImportError as error:
        raise WeightsError(f"Q-Align needs {error.name or error}; install: {INSTALL}") from error
    return modeling_mplug_owl2, transformers


@contextlib.contextmanager
def _local_tokenizer(library: Any, folder: Path) -> Iterator[None]:
    """The library's model asks the hub for its tokenizer by name while it is built; here it gets the local one."""

    def redirected(original: Any) -> Any:
        class FromFolder:
            @staticmethod
            def from_pretrained(name: str, *_: Any, **more: Any) -> Any:
                return original.from_pretrained(folder if name == HUB_ID else name, local_files_only=True, **more)

        return FromFolder

    names = [name for name in ("AutoTokenizer", "LlamaTokenizer", "CLIPImageProcessor") if hasattr(library, name)]
    before = {name: getattr(library, name) for name in names}
    try:
        for name, original in before.items():
            setattr(library, name, redirected(original))
        yield
    finally:
        for name, original in before.items():
            setattr(library, name, original)


def _without(ids: Sequence[int], start: int | None) -> list[int]:
    return list(ids[1:] if ids and ids[0] == start else ids)
