"""Pictures by Qwen-Image through diffusers' own pipeline, with the silent traps of its call refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genbench.errors import ProviderError
from genbench.picture import png_bytes
from genbench.providers.base import ImageProvider, Picture
from genbench.spec import SampleSpec

if TYPE_CHECKING:
    import torch

# The sizes that the model's makers recommend, by framing: portraits are 3:4, whole bodies 9:16 (width, height).
SIZES = {"head": (1104, 1472), "half_body": (1104, 1472), "full_body": (928, 1664)}
SUFFIX = ", Ultra HD, 4K, cinematic composition."
_MULTIPLE = 16
_MOST_TOKENS = 1024


class QwenImage(ImageProvider):
    """model: a local folder, or a hub name that is already in the cache; nothing is downloaded unless download=True.

    device: as torch names it; the machine's accelerator by default, else the CPU. sizes: width and height by framing.
    negative_prompt must not be empty while guidance is above 1: the pipeline would leave guidance out.
    """

    name = "qwen_image"
    purpose = "pictures by Qwen-Image through diffusers (options: model, steps, guidance, device ..)"
    needs = "the model's weights (54 GiB in bf16) and a GPU of 60 GiB or more"

    def __init__(
        self,
        model: str = "Qwen/Qwen-Image",
        revision: str | None = None,
        steps: int = 50,
        guidance: float = 4.0,
        negative_prompt: str = " ",
        suffix: str = SUFFIX,
        device: str = "",
        dtype: str = "",
        sizes: dict[str, tuple[int, int]] | None = None,
        download: bool = False,
    ) -> None:
        self.model, self.revision, self.steps, self.guidance = model, revision, steps, guidance
        self.negative_prompt, self.suffix = negative_prompt, suffix
        self.device_name, self.dtype_name, self.download = device, dtype, download
        self.sizes = {name: tuple(size) for name, size in (SIZES | (sizes or {})).items()}
        self._pipeline: Any = None
        for framing, size in self.sizes.items():
            if framing not in SIZES or len(size) != 2 or any(side < _MULTIPLE or side % _MULTIPLE for side in size):
                raise ValueError(
                    f"size {size} for {framing!r}: give (width, height), multiples of {_MULTIPLE}, for {', '.join(SIZES)}"
                )
        if guidance > 1 and not negative_prompt:
            raise ValueError(f"guidance={guidance} acts only with a negative prompt; ' ' is enough")
        if steps < 1:
            raise ValueError(f"steps={steps}; give 1 or more")

    def describe(self) -> dict[str, Any]:
        from pathlib import Path

        import diffusers

        # A folder is named by its last part: a manifest holds nothing of the machine.
        model = Path(self.model).name if Path(self.model).is_dir() else self.model
        return {
            "name": self.name,
            "model": model,
            "revision": self.revision,
            "diffusers": diffusers.__version__,
            "steps": self.steps,
            "guidance": self.guidance,
            "negative_prompt": self.negative_prompt,
            "suffix": self.suffix,
        }

    def licence(self) -> str:
        return "made by Qwen-Image (Apache-2.0 model)"

    def draw(self, spec: SampleSpec) -> Picture:
        import torch

        if not spec.picture_prompt.strip():
            raise ValueError(f"sample {spec.id} has an empty picture prompt; give it one")
        pipeline = self._load()
        prompt = spec.picture_prompt.rstrip(".") + self.suffix if self.suffix else spec.picture_prompt
        width, height = self.sizes[spec.framing]
        answer = pipeline(
            prompt=prompt,
            negative_prompt=self.negative_prompt or None,
            true_cfg_scale=self.guidance,
            width=width,
            height=height,
            num_inference_steps=self.steps,
            # Drawn on the CPU, so that the noise does not depend on the device.
            generator=torch.Generator().manual_seed(spec.seed % 2**63),
            max_sequence_length=self._checked_length(pipeline, prompt, spec.id),
        )
        image = answer.images[0].convert("RGB")
        pixels = np.asarray(image)
        if pixels.shape[:2] != (height, width):
            raise ProviderError(f"{self.model} gave {image.width}x{image.height} instead of {width}x{height}")
        if pixels.max() == pixels.min():
            raise ProviderError(f"{self.model} gave a picture of one colour, as it does in float16; use dtype='bfloat16'")
        return Picture(png_bytes(pixels))

    def close(self) -> None:
        self._pipeline = None

    def _checked_length(self, pipeline: Any, prompt: str, name: str) -> int:
        """The pipeline cuts longer prompts without a word."""
        tokens = len(pipeline.tokenizer(prompt)["input_ids"])
        if tokens > _MOST_TOKENS:
            raise ValueError(
                f"the picture prompt of sample {name} has {tokens} tokens, the model reads {_MOST_TOKENS}; shorten it"
            )
        return _MOST_TOKENS if tokens > 512 else 512

    def _load(self) -> Any:
        if self._pipeline is None:
            import torch
            from diffusers import QwenImagePipeline

            device = torch.device(self.device_name) if self.device_name else _best_device()
            dtype = getattr(torch, self.dtype_name or ("float32" if device.type == "cpu" else "bfloat16"))
            try:
                pipeline = QwenImagePipeline.from_pretrained(
                    self.model, revision=self.revision, dtype=dtype, local_files_only=not self.download
                )
            except (OSError, ValueError, ImportError) as error:
                raise ProviderError(
                    f"{self.model} cannot be loaded ({error}); give a folder with the weights as `model`, or download = true"
                ) from error
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline.to(device)
        return self._pipeline


def _best_device() -> torch.device:
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")
