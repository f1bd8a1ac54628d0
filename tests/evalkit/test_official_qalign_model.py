"""Q-Align through pyiqa's own model class: tiny, random, saved and loaded as the published folder is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evalkit.metrics.levels import LEVELS
from evalkit.metrics.official import qalign

pytest.importorskip("pyiqa", reason="Q-Align's model needs: pip install 'live-avatar[qalign]' (non-commercial)")
VISUAL = {
    "visual_model": {
        "hidden_size": 32, "intermediate_size": 64, "projection_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 448, "patch_size": 56,
    },
    "visual_abstractor": {
        "num_learnable_queries": 4, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 64, "encoder_hidden_size": 32, "grid_size": 8,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub folder's files: configuration, weights, tokenizer, picture settings."""
    from pyiqa.archs.q_align import configuration_mplug_owl2, modeling_mplug_owl2
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPImageProcessor, LlamaTokenizer

    folder = tmp_path_factory.mktemp("qalign")
    prompts = [qalign.prompt(task, kind) for task in qalign.TASK_WORDS for kind in qalign.KINDS]
    asked = [text.replace(qalign.IMAGE_MARKER, " ") for text in prompts]
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    words.train_from_iterator([*asked, *LEVELS] * 4, trainer)
    state = json.loads(words.to_str())["model"]
    LlamaTokenizer(vocab=state["vocab"], merges=list(map(tuple, state["merges"]))).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 448}, crop_size={"height": 448, "width": 448}).save_pretrained(folder)
    config = configuration_mplug_owl2.MPLUGOwl2Config(
        visual_config=VISUAL, vocab_size=len(state["vocab"]), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    with qalign._local_tokenizer(modeling_mplug_owl2, folder):
        modeling_mplug_owl2.MPLUGOwl2LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_the_published_class_is_loaded_from_a_folder_and_asked(folder: Path) -> None:
    loaded = qalign.load_qalign(folder, dtype=torch.float32)
    pictures = np.random.default_rng(0).integers(0, 255, (2, 60, 40, 3), dtype=np.uint8)
    rated = loaded.rate(pictures, "iqa")
    assert rated.shape == (2, 5)
    assert np.isfinite(rated).all()
    assert np.array_equal(rated[1:], loaded.rate(pictures[1:], "iqa")), "pictures are rated one by one"
    assert not np.array_equal(rated[0], rated[1])
    assert not np.allclose(rated[:1], loaded.rate(pictures[:1], "ase"), atol=1e-4), "the task's word reaches the model"
    assert loaded.rate_video(pictures, "iqa").shape == (5,)
