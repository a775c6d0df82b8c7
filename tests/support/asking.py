"""A clip, checkpoints with random weights and a question: fixtures."""

import json

import numpy as np
import pytest
import torch

from codecmeta import models
from codecmeta.models.small.model import PREPROCESSOR, build_model
from codecmeta.models.small.tokenizer import build_tokenizer
from codecmeta.models.small.world.encoding import Encoder, write_clip
from tests.support import tiny

QUESTION = "Which shape is the red object?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built-in architecture with random weights, saved as a checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    build_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return path


@pytest.fixture(scope="module")
def model(folder):
    return models.load(str(folder))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """40 frames of a square that moves over noise, in GoPs of 8."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.repeat(np.random.default_rng(0).integers(60, 120, (1, 96, 128, 3), dtype=np.uint8), 40, axis=0)
    for t, frame in enumerate(frames):
        frame[40:60, 2 * t : 2 * t + 20] = (230, 30, 30)
    write_clip(path, frames, Encoder(gop=8))
    return path


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory):
    """Qwen2-VL with random weights, saved as a checkpoint."""
    path = tmp_path_factory.mktemp("qwen")
    tokenizer = build_tokenizer()
    ids = tokenizer.get_vocab()
    tiny.qwen(vocabulary=len(ids), video=ids["<video>"], image=ids["<image>"]).save_pretrained(path)
    tokenizer.save_pretrained(path)
    settings = {"min_pixels": 576, "max_pixels": 3072, "patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path
