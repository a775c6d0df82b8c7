"""A name -> a model that answers questions about videos: the built-in one, a folder, or a Hugging Face id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.families import FAMILIES, supported
from codecmeta.models import llava_qwen
from codecmeta.models.checkpoints import chat_template_of, check_device, config_json, first_line, settings_of
from codecmeta.models.hub import found
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.models.small.scope import note_on, note_on_fine
from codecmeta.models.video_model import VideoModel

SMALL = "small"
"""The name of the built-in model."""
BUILT_IN = {SMALL: "codecmeta.models.small", "fine": "codecmeta.models.small.fine"}
"""Names of the models that come with the package, and the packages whose `weights` they are. "fine" has 32 frames of
8x8 tokens, and is for evaluation."""


def load(
    name: str = SMALL,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype | str | None = None,
    attn_implementation: str | Mapping[str, str] = "sdpa",
    revision: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    quantization_config: Any = None,
    options: Mapping[str, Any] | None = None,
) -> VideoModel:
    """Load a video language model.

    >>> model = load()                                               # the built-in one: needs no network
    >>> model.ask("clip.mp4", "Which shape is the red object?").text
    'circle'

    name: "small" or "fine", a folder, or a Hugging Face id of a supported architecture; weights must be safetensors,
    code of the repository is never run. device: where it runs, such as "cpu" or "cuda". dtype: of the weights; default
    float32 on a CPU, else what the checkpoint holds. attn_implementation: "sdpa", "eager" or "flash_attention_2", one
    for all or by part of the model. revision: of the Hugging Face repository. device_map: layers -> devices, in place
    of `device`; needs accelerate. quantization_config: of the weights. All as transformers' `from_pretrained` takes
    them. options: what differs from the checkpoint's config.json, for LLaVA-Video, LLaVA-OneVision and LongVA in their
    published layout: pooling, newline, time_instruction (see `codecmeta.models.llava_qwen.Options`); LLaVA-Video's file
    and its published evaluation differ in `pooling`.

    Raises ValueError, listing what is supported, for another architecture or attention, and for what cannot be loaded
    or is not there, such as the device.
    """
    check_device(device)
    names.check_implementations(attn_implementation)
    if quantization_config is not None and device_map is None:
        device_map = {"": device}  # quantised weights are made where they stay
    try:
        where = str(builtin_folder(name)) if name in BUILT_IN else found(name, BUILT_IN, revision)
        files = described(where, revision, options)
        if dtype is None and device_map is None and torch.device(device).type == "cpu":
            dtype = torch.float32
        model = files.load(
            where,
            dtype=dtype or "auto",
            attn_implementation=attn_implementation,
            device_map=device_map,
            quantization_config=quantization_config,
            use_safetensors=True,
            trust_remote_code=False,
            revision=revision,
        )
        text: dict[str, Any] = {"config": files.config.get_text_config()} if files.spare else {}
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, revision=revision, **text)
        preprocessing = files.preprocessing or Preprocessing.from_config(settings_of(where, "video", revision))
        template = files.template or chat_template_of(where, revision) or tokenizer.chat_template
        if files.spare and len(tokenizer) > files.config.image_token_id:
            raise ValueError(f"its tokenizer has {len(tokenizer)} tokens, and leaves no rows for those of a video")
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"model {name!r} cannot be loaded: {first_line(error)}") from error
    if template is None:
        raise ValueError(f"model {name!r} cannot be loaded: it has no chat template, so its prompt format is unknown")
    note = {SMALL: note_on, "fine": note_on_fine}.get(name)
    model = (model if device_map is not None else model.to(device)).eval()
    chosen = "".join(f" {key}={value}" for key, value in (options or {}).items() if value is not None)
    return VideoModel(f"{name}{chosen}", model, tokenizer, preprocessing, template, note)


@dataclass(frozen=True)
class Described:
    """What a checkpoint's files say without its weights. load: `from_pretrained` of its class. preprocessing, template:
    of the prompt, None where they stand in files of their own. spare: whether the placeholders of a video are rows of
    the vocabulary that the tokenizer has to leave alone."""

    config: Any
    cls: Any
    load: Callable[..., Any]
    preprocessing: Preprocessing | None = None
    template: str | None = None
    spare: bool = False


def described(where: str, revision: str | None = None, options: Mapping[str, Any] | None = None) -> Described:
    """Read a checkpoint's configuration: a folder, an id, or the path of a config.json. Raises ValueError for an
    architecture that is not supported, and for options that it does not have."""
    raw = config_json(where, revision)
    published = llava_qwen.is_published(raw)
    if options and not published:
        raise ValueError(f"options {', '.join(options)} are for checkpoints in the published layout of LLaVA-Video")
    if not published:
        config = AutoConfig.from_pretrained(where, trust_remote_code=False, revision=revision)
        cls = model_class(config)
        return Described(config, cls, partial(cls.from_pretrained, config=config))
    config = llava_qwen.config_of(raw, llava_qwen.Options.of(options or {}))
    cls, preprocessing = model_class(config), llava_qwen.tower_of(raw).preprocessing
    load_there = partial(llava_qwen.load_published, cls, config=config)
    return Described(config, cls, load_there, preprocessing, llava_qwen.TEMPLATE, spare=True)


def builtin_folder(name: str = SMALL) -> Path:
    """Where the weights of a built-in model are."""
    spec = find_spec(BUILT_IN[name])
    folder = Path(next(iter(spec.submodule_search_locations or ()))) / "weights" if spec else None
    if folder is None or not (folder / "config.json").exists():
        raise ValueError(f"the built-in model's weights are missing (expected in {folder}); reinstall codecmeta")
    return folder


def model_class(config: Any) -> Any:
    """The class of a checkpoint's model, if there is an adapter for it."""
    known = [name for name in config.architectures or () if name in supported()]
    if not known:
        said = f"architecture {', '.join(config.architectures or ())} is not supported"
        if not config.architectures:
            said = f"its config.json names no architectures (model_type {config.model_type}); complete it"
        raise ValueError(f"{said}; supported are: {', '.join(supported())}")
    row = FAMILIES.get(known[0])
    if row is not None and row.own:
        return getattr(import_module(f"codecmeta.models.{row.own}"), known[0])
    if not hasattr(transformers, known[0]):
        raise ValueError(f"transformers {transformers.__version__} does not have {known[0]}; install a newer one")
    return getattr(transformers, known[0])
