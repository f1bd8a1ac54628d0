"""Writes a stand-in for a CosyVoice checkout: only interface facts of FunAudioLLM/CosyVoice at commit ace7c47 (2026-03-16).

Each fact that a class below keeps, and where it stands in that checkout:

- `AutoModel(**kwargs)` is a function, `model_dir` is required by keyword, and the class follows from the name of the yaml in
  that folder, `cosyvoice.yaml`, `cosyvoice2.yaml` or `cosyvoice3.yaml`, else TypeError (cosyvoice/cli/cosyvoice.py).
- Attribute `sample_rate`: 22050 for version 1, 24000 for 2 and 3 (examples/libritts/*/conf/*.yaml).
- `inference_zero_shot(tts_text, prompt_text, prompt_wav, zero_shot_spk_id='', stream=False, speed=1.0, text_frontend=True)`;
  `inference_instruct2(tts_text, instruct_text, prompt_wav, ...)` in versions 2 and 3 only (the same file).
- Until commit 622a3a1 (2025-12-08) the third argument was `prompt_speech_16k`, a tensor.
- A call gives a generator of {'tts_speech': float tensor [1, n]}, one item per text segment; punctuation alone gives none.
- Values are clamped to +-0.99 (cosyvoice/hifigan/generator.py).
- Version 3 wants `<|endofprompt|>` in the prompt or instruction text: without it an assert fails (cosyvoice/llm/llm.py).
- `cosyvoice.utils.common.set_all_random_seed(seed)` fixes the sampling (webui.py).
- The prompt clip is read with at least 16 kHz (cosyvoice/utils/file_utils.py).

What the stand-in says is a tone whose pitch follows the seed and whose length follows the text: nothing about real speech.
"""

from __future__ import annotations

from pathlib import Path

_COMMON = """
SEED = [0]
def set_all_random_seed(seed):
    SEED[0] = seed
"""

_CLI = """
import json, os, time
import numpy as np
from cosyvoice.utils.common import SEED

print("loading, which the real packages do loudly")


class Tensor:
    # The few tensor methods that are used on the answer, so that no torch is needed here.
    def __init__(self, array):
        self.array = array
    def __getitem__(self, index):
        return Tensor(self.array[index])
    def clamp(self, low, high):
        return Tensor(self.array.clip(low, high))
    def __mul__(self, factor):
        return Tensor(self.array * factor)
    def round(self):
        return Tensor(self.array.round())
    def cpu(self):
        return self
    def numpy(self):
        return self.array


class CosyVoice:
    sample_rate = 22050
    version = 1
    def __init__(self, model_dir, load_jit=False, load_trt=False, fp16=False, trt_concurrent=1):
        self.model_dir = model_dir
    def inference_zero_shot(self, tts_text, prompt_text, {third}, zero_shot_spk_id='', stream=False, speed=1.0,
                            text_frontend=True):
        if self.version == 3:
            assert '<|endofprompt|>' in prompt_text, 'version 3 wants <|endofprompt|>'
        yield from self._say('zero_shot', tts_text, prompt_text, {third}, stream, text_frontend)
    def _say(self, how, tts_text, words, prompt, stream, text_frontend):
        assert os.path.isfile(prompt)
        assert not stream
        with open(os.path.join(self.model_dir, 'calls.jsonl'), 'a') as file:
            file.write(json.dumps([how, tts_text, words, os.path.basename(prompt), bool(text_frontend), SEED[0]]) + '\\n')
        if 'HANG' in tts_text:
            time.sleep(600)
        if 'DIE' in tts_text:
            os._exit(3)
        for segment in tts_text.split(';'):
            if not any(char.isalnum() for char in segment):
                continue
            t = np.arange(int(len(segment) * self.sample_rate / 15)) / self.sample_rate
            pitch = 100 + SEED[0] % 200
            wave = 0.3 * np.sin(2 * np.pi * pitch * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
            yield {'tts_speech': Tensor(wave[None].clip(-0.99, 0.99))}


class CosyVoice2(CosyVoice):
    sample_rate = 24000
    version = 2
    def __init__(self, model_dir, load_jit=False, load_trt=False, load_vllm=False, fp16=False, trt_concurrent=1):
        self.model_dir = model_dir
    def inference_instruct2(self, tts_text, instruct_text, {third}, zero_shot_spk_id='', stream=False, speed=1.0,
                            text_frontend=True):
        assert '<|endofprompt|>' in instruct_text
        yield from self._say('instruct2', tts_text, instruct_text, {third}, stream, text_frontend)


class CosyVoice3(CosyVoice2):
    version = 3
    def __init__(self, model_dir, load_trt=False, load_vllm=False, fp16=False, trt_concurrent=1):
        self.model_dir = model_dir


def AutoModel(**kwargs):
    found = [v for v in ('', '2', '3') if os.path.exists(os.path.join(kwargs['model_dir'], f'cosyvoice{v}.yaml'))]
    if not found:
        raise TypeError('No valid model type found!')
    return {'': CosyVoice, '2': CosyVoice2, '3': CosyVoice3}[found[0]](**kwargs)
"""


def write_checkout(folder: Path, version: int, third: str = "prompt_wav") -> tuple[Path, Path]:
    """(checkout, model folder) of a version; third: name of the third argument, the old one for a checkout to be refused."""
    package = folder / "checkout" / "cosyvoice"
    for part in ("cli", "utils"):
        (package / part).mkdir(parents=True)
        (package / part / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "utils" / "common.py").write_text(_COMMON)
    (package / "cli" / "cosyvoice.py").write_text(_CLI.replace("{third}", third))
    model = folder / "model"
    model.mkdir()
    (model / f"cosyvoice{'' if version == 1 else version}.yaml").write_text("")
    return folder / "checkout", model
