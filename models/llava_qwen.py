"""Checkpoints of LLaVA-Video, LLaVA-OneVision and LongVA as their authors published them -> a model of transformers.

Their config.json names a class that transformers does not have (`LlavaQwenForCausalLM`), under a `model_type` that
belongs to another or to none; so it is read as plain JSON, weights are renamed while they are read, and no code of the
repository is run. What a video becomes is that of LLaVA-NeXT's `llava/model/llava_arch.py` (`get_2dPool`,
`add_token_per_grid`, `add_token_per_frame`, `prepare_inputs_labels_for_multimodal`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d
from transformers import (
    CLIPVisionConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
from transformers.utils import logging

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.methods.metok import Pooling
from codecmeta.compression.plan import Newline
from codecmeta.models.preprocessing import Preprocessing

ARCHITECTURE = "LlavaQwenForCausalLM"
MARK = "<image>"
"""What stands for the video in a prompt; it is cut out before the rest is tokenised, since no tokenizer knows it."""

TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'video' %}<image>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""LLaVA-NeXT's conversation `qwen_1_5` (`llava/conversation.py`)."""

KEYS = {
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.embed_tokens\.": "model.language_model.embed_tokens.",
    r"^model\.layers\.": "model.language_model.layers.",
    r"^model\.norm\.": "model.language_model.norm.",
}
"""Names of published weights -> names here."""

TEXT = (
    "attention_dropout", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "initializer_range",
    "intermediate_size", "max_position_embeddings", "max_window_layers", "num_attention_heads", "num_hidden_layers",
    "num_key_value_heads", "rms_norm_eps", "rope_scaling", "rope_theta", "sliding_window", "tie_word_embeddings",
    "use_sliding_window", "vocab_size",
)  # fmt: skip
"""Keys of config.json that are those of Qwen2."""

NEWLINES: dict[str, Newline] = {"grid": "row", "frame": "frame", "one_token": "video", "no_token": ""}
"""`mm_newline_position` -> what the newline stands behind."""


@dataclass(frozen=True)
class Tower:
    """A vision encoder that checkpoints name. sizes: of transformers' configuration, with as many layers as are used:
    the features are those of the last but one, so the last is left out. preprocessing: of its pictures."""

    config: type
    sizes: dict[str, Any]
    preprocessing: Preprocessing


TOWERS = {
    "siglip-so400m-patch14-384": Tower(
        SiglipVisionConfig,
        {
            "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16,
            "image_size": 384, "patch_size": 14, "vision_use_head": False,
        },
        Preprocessing(384, 384, mean=(0.5,) * 3, std=(0.5,) * 3),
    ),
    "clip-vit-large-patch14-336": Tower(
        CLIPVisionConfig,
        {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
            "image_size": 336, "patch_size": 14, "projection_dim": 768,
        },
        Preprocessing(336, 336, edge=336),
    ),
}  # fmt: skip
"""By the last part of `mm_vision_tower`. SigLIP's pictures are stretched to a square, CLIP's are cut to theirs."""


@dataclass(frozen=True)
class Options:
    """What may be asked of a checkpoint in place of what its config.json says.

    pooling: of the patch grid, `mm_spatial_pool_mode`. LLaVA-Video's training script writes "bilinear" into the file
    (27x27 patches -> 14x14 tokens), while the authors' evaluation, and lmms-eval's, set "average" (-> 13x13; the last
    row and column of patches are dropped): to repeat published numbers, ask for that. newline: `mm_newline_position`,
    what the newline stands behind: "grid" (every row), "frame", "one_token" (the video) or "no_token".
    time_instruction: whether the prompt says when the pictures are shown; LLaVA-Video was trained so, and lmms-eval
    leaves it out by default.
    """

    pooling: Pooling | None = None
    newline: Literal["grid", "frame", "one_token", "no_token"] | None = None
    time_instruction: bool | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """From names and values, or texts such as "true". Raises ValueError for what there is not."""
        names_ = [one.name for one in fields(cls)]
        if unknown := sorted(set(given) - set(names_)):
            raise ValueError(f"options {', '.join(unknown)} are unknown; there are {', '.join(names_)}")
        said: dict[Any, Any] = {"true": True, "false": False}
        return cls(**{name: said.get(str(value).lower(), value) for name, value in given.items()})

    def __post_init__(self) -> None:
        for name, given, known in (
            ("pooling", self.pooling, get_args(Pooling)),
            ("newline", self.newline, tuple(NEWLINES)),
            ("time_instruction", self.time_instruction, (True, False)),
        ):
            if given is not None and given not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}; got {given!r}")


def is_published(raw: Mapping[str, Any]) -> bool:
    """Whether a config.json is of this layout."""
    return ARCHITECTURE in (raw.get("architectures") or ())


def tower_of(raw: Mapping[str, Any]) -> Tower:
    """The vision encoder. Raises ValueError for another one than those in `TOWERS`."""
    name = str(raw.get("mm_vision_tower") or "none")
    if name.split("/")[-1] not in TOWERS:
        raise ValueError(f"vision tower {name} is not supported; supported are: {', '.join(TOWERS)}")
    return TOWERS[name.split("/")[-1]]


def config_of(raw: Mapping[str, Any], options: Options | None = None) -> LlavaOnevisionConfig:
    """A configuration for `LlavaQwenForCausalLM` from the published one. Raises ValueError for what is not supported.

    Placeholders of a video are the last row of the vocabulary, which no tokenizer of these checkpoints uses: what marks
    a video in their prompts is no token.
    """
    options, tower = options or Options(), tower_of(raw)
    for key, expected in (
        ("mm_projector_type", ("mlp2x_gelu",)),
        ("mm_resampler_type", (None,)),
        ("mm_vision_select_layer", (-2,)),
        ("mm_vision_select_feature", ("patch", None)),
        ("add_faster_video", (False, None)),
    ):
        if raw.get(key) not in expected:
            raise ValueError(f"{key}={raw.get(key)!r} is not supported; expected {expected[0]!r}")
    unpad = "unpad" in str(raw.get("mm_patch_merge_type"))
    published = (raw.get("mm_newline_position") or "one_token") if unpad else "no_token"
    newline = options.newline or published
    if newline not in NEWLINES or (newline != "no_token" and not unpad):
        raise ValueError(
            f"newline {newline!r} with mm_patch_merge_type={raw.get('mm_patch_merge_type')!r} is not supported; "
            f"expected one of {', '.join(NEWLINES)}, and only no_token where there is no learned newline"
        )
    average = raw.get("mm_patch_merge_type") == "unires"  # LongVA's code knows nothing else
    pooling = options.pooling or raw.get("mm_spatial_pool_mode") or ("average" if average else "bilinear")
    if pooling not in get_args(Pooling):
        raise ValueError(f"mm_spatial_pool_mode={pooling!r} is not supported; expected {', '.join(get_args(Pooling))}")
    made: Any = LlavaOnevisionConfig(
        text_config=Qwen2Config(**{key: raw[key] for key in TEXT if raw.get(key) is not None}),
        vision_config=tower.config(**tower.sizes),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full" if tower.config is SiglipVisionConfig else "default",
        tie_word_embeddings=bool(raw.get("tie_word_embeddings")),
        image_token_index=raw["vocab_size"] - 2,
        video_token_index=raw["vocab_size"] - 1,
        architectures=[ARCHITECTURE],
    )
    made.video_pooling, made.video_stride = pooling, raw.get("mm_spatial_pool_stride") or 2
    made.video_newline = NEWLINES[newline]
    wanted = options.time_instruction
    made.video_times = bool(raw.get("add_time_instruction")) if wanted is None else wanted
    if isinstance(raw.get("torch_dtype"), str):
        made.dtype = made.text_config.dtype = getattr(torch, raw["torch_dtype"])
    return made


def pooled(square: Tensor, mode: str, stride: int) -> Tensor:
    """(n, channels, side, side) -> (n, channels, rows, columns), rounded up for "bilinear", down otherwise."""
    if mode == "bilinear":
        return interpolate(square, size=[math.ceil(side / stride) for side in square.shape[2:]], mode="bilinear")
    return (avg_pool2d if mode == "average" else max_pool2d)(square, stride)


def with_newlines(tokens: Tensor, newline: Tensor, where: Newline) -> Tensor:
    """(frames, rows, columns, width) -> (tokens, width), the newline (width,) behind video, frames or rows."""
    if where == "row":
        tokens = torch.cat((tokens, newline.expand(*tokens.shape[:2], 1, -1)), dim=2)
    elif where == "frame":
        return torch.cat((tokens.flatten(1, 2), newline.expand(len(tokens), 1, -1)), dim=1).flatten(0, 1)
    elif where == "video":
        return torch.cat((tokens.flatten(0, 2), newline[None]))
    return tokens.flatten(0, 2)


class Selected(nn.Module):
    """(n, tokens, width) -> the same without `skip` tokens in front: the class token, where the encoder has one."""

    def __init__(self, skip: int) -> None:
        super().__init__()
        self.skip = skip

    def forward(self, hidden: Tensor) -> Tensor:
        """As it stands, or from `skip` on."""
        return hidden[:, self.skip :]


class LlavaQwenModel(LlavaOnevisionModel):
    """The inner model: the parts are those of LLaVA-OneVision, the order of a video's tokens is that of the config.

    The encoder ends where the features are taken: its last norm is left out, and no other layer's output is kept.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        tower: Any = self.vision_tower
        self.vision_tower: Any = getattr(tower, "vision_model", tower)
        self.vision_tower.post_layernorm = nn.Identity()
        self.selected = Selected(int(config.vision_feature_select_strategy == "default"))

    def get_video_features(self, pixel_values_videos: Tensor, **kwargs: Any) -> Any:
        """float (videos, pictures, 3, height, width) -> an output with what is pooled, (videos, tokens, width)."""
        config: Any = self.config
        encoded = self.vision_tower(pixel_values_videos.flatten(0, 1)).last_hidden_state
        projected = self.multi_modal_projector(self.selected(encoded))
        side = config.vision_config.image_size // config.vision_config.patch_size
        square = projected.unflatten(1, (side, side)).permute(0, 3, 1, 2).contiguous()
        grid = pooled(square, config.video_pooling, config.video_stride).permute(0, 2, 3, 1)
        newline = self.image_newline.to(grid)
        videos = grid.unflatten(0, (len(pixel_values_videos), -1))
        tokens = torch.stack([with_newlines(one, newline, config.video_newline) for one in videos])
        return BaseModelOutputWithPooling(encoded, tokens)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        mm_encoder_outputs: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As LLaVA-OneVision's, with videos only."""
        if kwargs.get(names.PICTURES) is not None or (mm_encoder_outputs or {}).get("image") is not None:
            raise ValueError("images are not supported in this layout; pass a video")
        video = (mm_encoder_outputs or {}).get("video")
        if video is None and pixel_values_videos is not None:
            video = self.get_video_features(pixel_values_videos)
        if video is not None:
            if input_ids is None:
                raise ValueError("a video needs input_ids, so that its place in the prompt is known")
            inputs_embeds = self.get_input_embeddings()(input_ids)
            tokens = names.pooled(video).flatten(0, 1).to(inputs_embeds)
            places = input_ids == self.config.video_token_id
            if int(places.sum()) != len(tokens):
                raise ValueError(f"the prompt holds {int(places.sum())} video placeholders, expected {len(tokens)}")
            inputs_embeds, input_ids = inputs_embeds.masked_scatter(places[..., None], tokens), None
        given = {"ids": input_ids, "mask": attention_mask, "positions": position_ids, "embeddings": inputs_embeds}
        return super().forward(**{names.spelling(self, what): one for what, one in given.items()}, **kwargs)


class LlavaQwenForCausalLM(LlavaOnevisionForConditionalGeneration):
    """LLaVA-Video, LLaVA-OneVision or LongVA from a published checkpoint; see `config_of`."""

    def __init__(self, config: Any) -> None:
        super(LlavaOnevisionForConditionalGeneration, self).__init__(config)
        self.model = LlavaQwenModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def get_video_features(self, pixel_values_videos: Tensor, **kwargs: Any) -> Any:
        """As `LlavaQwenModel.get_video_features`."""
        return self.model.get_video_features(pixel_values_videos)


def load_published(cls: Any, where: str, config: Any, **kwargs: Any) -> Any:
    """`cls.from_pretrained` of a published folder or id. Raises ValueError where weights are missing."""
    said = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing is looked at here, and what is left over is known
    try:
        model, info = cls.from_pretrained(where, config=config, key_mapping=KEYS, output_loading_info=True, **kwargs)
    finally:
        logging.set_verbosity(said)
    needless = set() if config.video_newline else {"model.image_newline"}
    if missing := sorted(set(info["missing_keys"]) - needless):
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
    return model
