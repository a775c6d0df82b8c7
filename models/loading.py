"""A name -> a model that answers questions about videos: the built-in one, a folder, or a Hugging Face id."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.families import supported
from codecmeta.models.checkpoints import chat_template_of, check_device, first_line, settings_of
from codecmeta.models.hub import found
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.models.small.scope import note_on
from codecmeta.models.video_model import VideoModel

SMALL = "small"
"""The name of the built-in model."""


def load(
    name: str = SMALL,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    attn_implementation: str | Mapping[str, str] = "sdpa",
    revision: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    quantization_config: Any = None,
) -> VideoModel:
    """Load a video language model.

    >>> model = load()                                               # the built-in one: needs no network
    >>> model.ask("clip.mp4", "Which shape is the red object?").text
    'circle'

    name: "small", a folder, or a Hugging Face id of a supported architecture; weights must be safetensors, code of the
    repository is never run. device: where it runs, such as "cpu" or "cuda". dtype: of the weights; default float32 on
    a CPU, else what the checkpoint holds. attn_implementation: "sdpa", "eager" or "flash_attention_2", one for all or
    by part of the model. revision: of the Hugging Face repository. device_map: layers -> devices, in place of `device`;
    needs accelerate. quantization_config: of the weights. All as transformers' `from_pretrained` takes them.

    Raises ValueError, listing what is supported, for another architecture or attention, and for what cannot be loaded
    or is not there, such as the device.
    """
    check_device(device)
    names.check_implementations(attn_implementation)
    if quantization_config is not None and device_map is None:
        device_map = {"": device}  # quantised weights are made where they stay
    try:
        where = str(builtin_folder()) if name == SMALL else found(name, [SMALL], revision)
        config = AutoConfig.from_pretrained(where, trust_remote_code=False, revision=revision)
        cls = model_class(config)
        if dtype is None and device_map is None and torch.device(device).type == "cpu":
            dtype = torch.float32
        model = cls.from_pretrained(
            where,
            dtype=dtype or "auto",
            attn_implementation=attn_implementation,
            device_map=device_map,
            quantization_config=quantization_config,
            use_safetensors=True,
            trust_remote_code=False,
            revision=revision,
        )
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, revision=revision)
        preprocessing = Preprocessing.from_config(settings_of(where, "video", revision))
        template = chat_template_of(where, revision) or tokenizer.chat_template
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"model {name!r} cannot be loaded: {first_line(error)}") from error
    if template is None:
        raise ValueError(f"model {name!r} cannot be loaded: it has no chat template, so its prompt format is unknown")
    note = note_on if name == SMALL else None
    placed = model if device_map is not None else model.to(device)
    return VideoModel(name, placed.eval(), tokenizer, preprocessing, template, note)


def builtin_folder() -> Path:
    """Where the weights of the built-in model are."""
    spec = find_spec("codecmeta.models.small")
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "weights" if spec else None
    if folder is None or not (folder / "config.json").exists():
        raise ValueError(f"the built-in model's weights are missing (expected in {folder}); reinstall codecmeta")
    return folder


def model_class(config: Any) -> Any:
    """The transformers class of a checkpoint, if there is an adapter for it."""
    known = [name for name in config.architectures or () if name in supported()]
    if not known:
        said = f"architecture {', '.join(config.architectures or ())} is not supported"
        if not config.architectures:
            said = f"its config.json names no architectures (model_type {config.model_type}); complete it"
        raise ValueError(f"{said}; supported are: {', '.join(supported())}")
    if not hasattr(transformers, known[0]):
        raise ValueError(f"transformers {transformers.__version__} does not have {known[0]}; install a newer one")
    return getattr(transformers, known[0])
