"""Tiny video models with random weights, and codec metadata of a video that never was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
)

from codecmeta.compression.engine.transformers_names import spelling
from codecmeta.record.metadata import Frames, Gops, Maps, Metadata, Stream

FRAMES, SIDE, TOKENS = 5, 6, 3
"""Frames of a clip; patches and tokens along a side of a frame."""
BEFORE, AFTER = 4, 6
"""Text tokens before and after the video."""
VIDEO, IMAGE = 90, 91


def llava(seed: int = 0, attention: str = "sdpa", layers: int = 4) -> LlavaOnevisionForConditionalGeneration:
    """LLaVA-OneVision with 6x6 patches and 3x3 tokens per frame; attention is peaked, so that lost tokens show."""
    torch.manual_seed(seed)
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=49, patch_size=8,
        vision_use_head=False,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=96, hidden_size=48, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, video_token_index=VIDEO,
        vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=False,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def qwen(
    seed: int = 0,
    attention: str = "sdpa",
    layers: int = 4,
    windowed: bool = False,
    vocabulary: int = 96,
    video: int = VIDEO,
    image: int = IMAGE,
) -> Any:
    """Qwen2-VL, or Qwen2.5-VL (`windowed`), with 6x6 patches and 3x3 tokens per pair of pictures."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]},
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    tokens = {"video_token_id": video, "image_token_id": image, "vision_start_token_id": 92, "vision_end_token_id": 93}
    if windowed:
        vision = {
            "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4,
            "out_hidden_size": 48, "fullatt_block_indexes": [1], "window_size": 16,
        }  # fmt: skip
        config = Qwen2_5_VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=False, **tokens)
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    else:
        vision = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
        config = Qwen2VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=False, **tokens)
        model = Qwen2VLForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def qwen_inputs(frames: int = FRAMES, seed: int = 1, grid: tuple[int, int] = (SIDE, SIDE)) -> dict[str, torch.Tensor]:
    """`frames` temporal positions of two pictures each, `grid` patches of 4x4 pixels, both even."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (BEFORE + AFTER,), generator=rng)
    patches = frames * grid[0] * grid[1]
    video = torch.full((patches // 4,), VIDEO)
    ids = torch.cat((text[:BEFORE], video, text[BEFORE:]))[None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == VIDEO).long() * 2,
        "pixel_values_videos": torch.randn(patches, 3 * 2 * 4 * 4, generator=rng),
        "video_grid_thw": torch.tensor([[frames, *grid]]),
    }


def qwen3(seed: int = 0, attention: str = "sdpa", deepstack: int = 1) -> Any:
    """Qwen3-VL with 6x6 patches and 3x3 tokens per pair of pictures; features of so many encoder blocks enter again."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": 96, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 512,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2], "mrope_interleaved": True,
        },
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": 48,
        "num_position_embeddings": 64, "deepstack_visual_indexes": list(range(deepstack)),
    }  # fmt: skip
    config = Qwen3VLConfig(
        vision_config=vision, text_config=text, tie_word_embeddings=False, video_token_id=VIDEO, image_token_id=IMAGE,
        vision_start_token_id=92, vision_end_token_id=93,
    )  # fmt: skip
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def qwen3_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """As `qwen_inputs`, with two tokens of time and a marker before every temporal position, and one behind it."""
    inputs = qwen_inputs(frames, seed)
    ids = inputs["input_ids"][0]
    rng = torch.Generator().manual_seed(seed + 1)
    parts = [ids[:BEFORE], torch.tensor([92])]
    for _ in range(frames):
        time = torch.randint(1, 80, (2,), generator=rng)
        parts += [time, torch.tensor([92]), torch.full((TOKENS**2,), VIDEO), torch.tensor([93])]
    ids = torch.cat((*parts, torch.tensor([93]), ids[-AFTER:]))[None]
    types = (ids == VIDEO).long() * 2
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": types}


def qwen3_5(seed: int = 0, attention: str = "sdpa", experts: bool = False) -> Any:
    """Qwen3.5 with 6x6 patches and 3x3 tokens per pair of pictures; of its four layers the second and the
    last attend (of published ones every fourth), with heads of which a quarter is rotated."""
    torch.manual_seed(seed)
    kind = "Qwen3_5Moe" if experts else "Qwen3_5"
    text = {
        "vocab_size": 96, "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 24, "max_position_embeddings": 512,
        "layer_types": ["linear_attention", "full_attention"] * 2, "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 1], "mrope_interleaved": True,
            "partial_rotary_factor": 0.25,
        },
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    own = {
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    }
    text |= own if experts else {"intermediate_size": 64}
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 4, "out_hidden_size": 48,
        "num_position_embeddings": 64,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision, text_config=text, tie_word_embeddings=False, video_token_id=VIDEO, image_token_id=IMAGE,
        vision_start_token_id=92, vision_end_token_id=93,
    )  # fmt: skip
    architecture = getattr(transformers, f"{kind}ForConditionalGeneration")
    model = architecture._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def video_llama_3(seed: int = 0, attention: str = "sdpa", vocabulary: int = 96, video: int = VIDEO) -> Any:
    """VideoLLaMA3 with 6x6 patches and 3x3 tokens per picture."""
    torch.manual_seed(seed)
    text = {
        "model_type": "qwen2", "vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4,
    }  # fmt: skip
    config = transformers.VideoLlama3Config(
        vision_config=vision, text_config=text, video_token_id=video, image_token_id=IMAGE, tie_word_embeddings=False
    )
    architecture = transformers.VideoLlama3ForConditionalGeneration
    model = architecture._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def video_llama_3_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """Prompt ids with two tokens of time before every picture and a comma behind it, and patches of 4x4 pixels."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (BEFORE + AFTER,), generator=rng)
    parts = [text[:BEFORE]]
    for _ in range(frames):
        time = torch.randint(1, 80, (2,), generator=rng)
        parts += [time, torch.full((TOKENS**2,), VIDEO), torch.tensor([92])]
    ids = torch.cat((*parts, text[BEFORE:]))[None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.randn(frames * SIDE**2, 3 * 4 * 4, generator=rng),
        "video_grid_thw": torch.tensor([[frames, SIDE, SIDE]]),
        "video_merge_sizes": torch.tensor([2]),
    }


def smolvlm(seed: int = 0, attention: str = "sdpa", vocabulary: int = 96, picture: int = VIDEO) -> Any:
    """SmolVLM2 with 6x6 patches and 3x3 tokens per picture; a pixel along each side is covered by no patch."""
    torch.manual_seed(seed)
    text = {
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 49,
        "patch_size": 8,
    }  # fmt: skip
    config = transformers.SmolVLMConfig(
        vision_config=vision, text_config=text, image_token_id=picture, scale_factor=2, tie_word_embeddings=False,
        pad_token_id=0,
    )  # fmt: skip
    architecture = transformers.SmolVLMForConditionalGeneration
    model = architecture._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def smolvlm_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """As `internvl_inputs`: three tokens of time and a mark before every picture, and a mark behind it."""
    inputs = internvl_inputs(frames, seed)
    pixels = torch.randn(1, frames, 3, 49, 49, generator=torch.Generator().manual_seed(seed))
    return {**inputs, "pixel_values": pixels}


def glm4v(seed: int = 0, attention: str = "sdpa", tenths: bool = False, experts: bool = False) -> Any:
    """GLM-4.1V, GLM-4.6V (`tenths`) or GLM-4.5V (`experts`, but in the first layer), with 6x6 patches and 3x3 tokens
    per pair of pictures."""
    torch.manual_seed(seed)
    text = {
        "model_type": "glm4v_text", "vocab_size": 96, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 1], "partial_rotary_factor": 0.5,
        },
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "model_type": "glm4v_vision", "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
        "patch_size": 4, "out_hidden_size": 48, "image_size": 32,
    }  # fmt: skip
    kind = "Glm46V" if tenths else "Glm4v"
    if experts:
        kind = "Glm4vMoe"
        text |= {"model_type": "glm4v_moe_text", "moe_intermediate_size": 32, "n_routed_experts": 4}
        text |= {"num_experts_per_tok": 2, "first_k_dense_replace": 1}
        vision |= {"model_type": "glm4v_moe_vision"}
    config = getattr(transformers, f"{kind}Config")(
        vision_config=vision, text_config=text, tie_word_embeddings=False, image_token_id=VIDEO, video_token_id=89,
        image_start_token_id=92, image_end_token_id=93, video_start_token_id=94, video_end_token_id=95,
    )  # fmt: skip
    architecture = getattr(transformers, f"{kind}ForConditionalGeneration")
    model = architecture._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    return model


def glm4v_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """As `qwen_inputs`: every temporal position between markers, with two tokens of time behind it."""
    inputs = qwen_inputs(frames, seed)
    ids = inputs["input_ids"][0]
    rng = torch.Generator().manual_seed(seed + 1)
    parts = [ids[:BEFORE], torch.tensor([94])]
    for _ in range(frames):
        time = torch.randint(1, 80, (2,), generator=rng)
        parts += [torch.tensor([92]), torch.full((TOKENS**2,), VIDEO), torch.tensor([93]), time]
    ids = torch.cat((*parts, torch.tensor([95]), ids[-AFTER:]))[None]
    types = (ids == VIDEO).long() * 2
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": types}


def internvl(seed: int = 0, attention: str = "sdpa", vocabulary: int = 96, picture: int = VIDEO) -> Any:
    """InternVL with 6x6 patches, a class token and 3x3 tokens per picture."""
    torch.manual_seed(seed)
    text = {
        "model_type": "qwen2", "vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": [48, 48], "patch_size": [8, 8], "use_qk_norm": True,
    }  # fmt: skip
    config = InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=picture, image_seq_length=TOKENS**2,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = InternVLForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    sharpen(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("lambda_1", "lambda_2")):
                weight.fill_(1.0)
    return model


def internvl_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """Prompt ids with three tokens of a number and a marker before every picture, and one behind it, and pixels."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (BEFORE + AFTER,), generator=rng)
    parts = [text[:BEFORE]]
    for _ in range(frames):
        number = torch.randint(1, 80, (3,), generator=rng)
        parts += [number, torch.tensor([92]), torch.full((TOKENS**2,), VIDEO), torch.tensor([93])]
    ids = torch.cat((*parts, text[BEFORE:]))[None]
    pixels = torch.randn(frames, 3, 48, 48, generator=rng)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


def sharpen(model: torch.nn.Module) -> None:
    """Weights as large as training makes them: fresh ones attend to everything alike and always say the same."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                experts = weight.dim() == 3
                weight.normal_(0, (weight.shape[-1] if experts else weight[0].numel()) ** -0.5)
                weight.mul_(2 if name.endswith(("q_proj.weight", "k_proj.weight", "qkv.weight")) else 1)
            elif weight.dim() > 1:
                weight.normal_(0, 1)


def llava_inputs(frames: int = FRAMES, seed: int = 1) -> dict[str, torch.Tensor]:
    """Prompt ids with every placeholder of the video, its mask, and pixels."""
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 80, (BEFORE + AFTER,), generator=rng)
    video = torch.full((frames * TOKENS**2 + 1,), VIDEO)
    ids = torch.cat((text[:BEFORE], video, text[BEFORE:]))[None]
    pixels = torch.randn(1, frames, 3, 49, 49, generator=rng)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels}


def generate(model: Any, inputs: dict[str, torch.Tensor], new: int = 8, **kwargs: Any) -> tuple[torch.Tensor, Any]:
    """Greedy: the new ids (new,), and the logits of every step (new, vocabulary)."""
    out = model.generate(
        **inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False, output_logits=True,
        return_dict_in_generate=True, suppress_tokens=[VIDEO, IMAGE], **kwargs,
    )  # fmt: skip
    return out.sequences[0, inputs["input_ids"].shape[1] :], torch.cat(out.logits)


def given(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as an argument of a model's call, as this transformers version spells it."""
    return {spelling(model, "cache"): cache}


def metadata(frames: int = FRAMES, seed: int = 2, rows: int | None = None) -> Metadata:
    """A 98x98 video of `rows` frames, GoPs of two frames, residual maps of 8x8 blocks at random strength."""
    rng = np.random.default_rng(seed)
    n = rows or frames
    key = np.arange(n) % 2 == 0
    bytes_ = rng.integers(100, 4000, n)
    gop = np.cumsum(key) - 1
    starts = np.flatnonzero(key)
    mean = np.bincount(gop, weights=bytes_) / np.bincount(gop)
    table = Frames(
        np.arange(n), np.arange(n) / 25, np.where(key, ord("I"), ord("P")).astype(np.uint8), key, bytes_,
        gop.astype(np.int32), np.zeros(n, bool),
    )  # fmt: skip
    residual = Maps(np.arange(n), rng.gamma(0.5, 4, (n, 13, 13)).astype(np.float16), 8)
    return Metadata(
        Path("clip.mp4"), Stream("h264", "High", "yuv420p", 98, 98, 0, (1, 25), (25, 1), n / 25, 0), table,
        Gops(starts, np.append(starts[1:], n), mean), {}, {}, residual=residual,
    )  # fmt: skip


def words(path: Path, vocabulary: str, ends: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, saved to a folder. ends: puts <s> before and </s> behind every text, as CLIP's does,
    and pads with </s>."""
    ids = {
        word: number for number, word in enumerate(["<pad>", "<unk>", "<s>", *sorted(set(vocabulary.split())), "</s>"])
    }
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        special = [("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=special)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>" if ends else "<pad>"
    )
    fast.save_pretrained(path)
    return fast


def text_image(path: Path, clip: bool, vocabulary: str, limit: int = 8, side: int = 16) -> Any:
    """SigLIP, or CLIP, with random weights and published preprocessing at another size, saved to a folder: the model
    and its tokenizer."""
    torch.manual_seed(0)
    tokenizer = words(path, vocabulary, ends=clip)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**sizes, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": limit, "projection_size": 32}
    vision = {**sizes, "image_size": side, "patch_size": 8}
    config, cls = (CLIPConfig, CLIPModel) if clip else (SiglipConfig, SiglipModel)
    model = cls(config(text_config=text, vision_config=vision)).eval()
    sharpen(model)
    model.save_pretrained(path)
    settings: dict[str, Any] = {"resample": 3, "do_resize": True, "do_rescale": True, "do_normalize": True}
    if clip:
        settings |= {"size": {"shortest_edge": side}, "do_center_crop": True}
        settings |= {"crop_size": {"height": side, "width": side}}
    else:
        settings |= {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return model, tokenizer
