"""Stock processors of transformers made offline, reading a clip through codecmeta: what prompts come out, as JSON.

python -m tests.support.stock_processors CLIP                  # a process of its own: of torchvision stands here but
                                                               # the arithmetic on pixels that these processors call
"""

from __future__ import annotations

import enum
import importlib.machinery
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
PLACEHOLDERS = ("<|video_pad|>", "<|video|>", "<|image|>", "<IMG_CONTEXT>", "<video>", "<image>")


class InterpolationMode(enum.Enum):
    NEAREST, NEAREST_EXACT, BILINEAR, BICUBIC = "nearest", "nearest-exact", "bilinear", "bicubic"
    BOX, HAMMING, LANCZOS = "box", "hamming", "lanczos"


def resize(image: torch.Tensor, size: Any, interpolation: Any = None, antialias: bool = True) -> torch.Tensor:
    smooth = (InterpolationMode.BICUBIC, InterpolationMode.LANCZOS, 3, 1)  # Pillow's numbers, as torchvision takes them
    mode = "bicubic" if interpolation in smooth else "bilinear"
    lead = image.shape[:-3]
    flat = image.reshape(-1, *image.shape[-3:])
    out = torch.nn.functional.interpolate(flat, tuple(size), mode=mode, antialias=antialias, align_corners=False)
    return out.reshape(*lead, *out.shape[-3:])


def normalize(image: torch.Tensor, mean: Any, std: Any, inplace: bool = False) -> torch.Tensor:
    mean, std = (torch.as_tensor(one, dtype=image.dtype)[:, None, None] for one in (mean, std))
    return (image - mean) / std


def grayscale_to_rgb(image: torch.Tensor) -> torch.Tensor:
    return image if image.shape[-3] == 3 else image.expand(*image.shape[:-3], 3, *image.shape[-2:])


def pad(image: torch.Tensor, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> torch.Tensor:
    left, top, right, bottom = padding if len(padding) == 4 else (*padding, *padding)
    return torch.nn.functional.pad(image, (left, right, top, bottom), value=fill)


def stand_in() -> None:
    """Put these functions where torchvision's would be, unless it is there."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    made = {}
    for name in ("", ".transforms", ".transforms.v2", ".transforms.v2.functional", ".transforms.functional", ".io"):
        module = ModuleType(f"torchvision{name}")
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None, is_package=True)
        module.__path__, module.__version__ = [], "0.0"  # type: ignore[attr-defined]
        made[name] = sys.modules[module.__name__] = module
    for name in (".transforms", ".transforms.v2", ".transforms.v2.functional"):
        made[name].InterpolationMode = InterpolationMode  # type: ignore[attr-defined]
    made[".transforms"].v2, made[".transforms.v2"].functional = (
        made[".transforms.v2"],
        made[".transforms.v2.functional"],
    )  # type: ignore[attr-defined]
    made[""].transforms = made[".transforms"]  # type: ignore[attr-defined]
    made[".transforms.functional"].pil_to_tensor = None  # type: ignore[attr-defined]
    made[".io"].ImageReadMode = made[".io"].decode_image = None  # type: ignore[attr-defined]
    for function in (resize, normalize, grayscale_to_rgb, pad):
        setattr(made[".transforms.v2.functional"], function.__name__, function)


def processors() -> dict[str, Any]:
    """Family -> its stock processor over a tokenizer of bytes, with small pictures."""
    import transformers as tf
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    def tokenizer(*special: str, **named: str) -> Any:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        inner = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        made = tf.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", **named)
        made.add_special_tokens({"additional_special_tokens": [*special, *named.values()]})
        return made

    def template(video: str) -> str:
        text = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'video' %}" + video
        return text + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"

    qwen = tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    marked = template("<|vision_start|><|video_pad|><|vision_end|>")
    small = {"shortest_edge": 4096, "longest_edge": 6 * 64 * 64}
    llava = tokenizer("<image>", "<video>")
    intern = tokenizer(
        "<image>",
        "<video>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    smol = tokenizer(
        "<image>", "<video>", fake_image_token="<fake>", image_token="<image>", end_of_utterance_token="<end>"
    )
    glm = tokenizer("<|begin_of_image|>", "<|end_of_image|>", image_token="<|image|>", video_token="<|video|>")
    gemma = tokenizer(
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    makers = {
        "qwen3_vl": lambda: tf.Qwen3VLProcessor(
            tf.Qwen2VLImageProcessor(), qwen, tf.Qwen3VLVideoProcessor(size=small), chat_template=marked
        ),
        "qwen2_5_vl": lambda: tf.Qwen2_5_VLProcessor(
            tf.Qwen2VLImageProcessor(), qwen, tf.Qwen2VLVideoProcessor(size=small), chat_template=marked
        ),
        "llava_onevision": lambda: tf.LlavaOnevisionProcessor(
            tf.LlavaOnevisionImageProcessor(),
            llava,
            tf.LlavaOnevisionVideoProcessor(),
            num_image_tokens=729,
            vision_feature_select_strategy="full",
            chat_template=template("<video>"),
        ),
        "video_llama_3": lambda: tf.VideoLlama3Processor(
            tf.VideoLlama3ImageProcessor(),
            qwen,
            tf.VideoLlama3VideoProcessor(size=small),
            chat_template=template("<|video_pad|>"),
        ),
        "internvl": lambda: tf.InternVLProcessor(
            tf.GotOcr2ImageProcessor(),
            intern,
            tf.InternVLVideoProcessor(),
            image_seq_length=256,
            chat_template=template("<video>\n"),
        ),
        "glm4v": lambda: tf.Glm4vProcessor(
            tf.Glm4vImageProcessor(), glm, tf.Glm4vVideoProcessor(size=small), chat_template=template("<|video|>")
        ),
        "gemma4": lambda: tf.Gemma4Processor(
            tf.Gemma4AudioFeatureExtractor(),
            tf.Gemma4ImageProcessor(),
            gemma,
            tf.Gemma4VideoProcessor(),
            chat_template=template("<|video|>"),
        ),
        "smolvlm": lambda: tf.SmolVLMProcessor(
            tf.SmolVLMImageProcessor(),
            smol,
            tf.SmolVLMVideoProcessor(),
            image_seq_len=64,
            chat_template=template("<video>"),
        ),
    }
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except Exception as error:  # said in the result
            found[name] = f"{type(error).__name__}: {error}"
    return found


def pixels() -> dict[str, Any]:
    """Family -> what its stock video processor makes of noise, against our preprocessing and adapter: the shape, and by
    how much a value differs at most; and whether rlt keeps what VideoLLaMA3's own compression does."""
    import numpy as np
    import transformers as tf

    from codecmeta.compression import Rlt, adapter_for
    from codecmeta.compression.engine.transformers_names import LENGTHS, PLACES
    from codecmeta.models.preprocessing import Preprocessing
    from tests.support import tiny
    from tests.support.tiny_gemma import gemma4

    noise = np.random.default_rng(0).integers(0, 256, (6, 90, 160, 3), dtype=np.uint8)
    flat, shared = {"patch_size": 4, "resample": 3}, {"shortest_edge": 1024, "longest_edge": 6 * 3000}
    capped = {"cap_pixels_per_frame": True, "max_video_tokens": 20, "do_sample_frames": True}
    square = {"max_image_size": {"longest_edge": 49}, "resample": 3, "size": {"longest_edge": 64}}
    cases = {
        "qwen3_vl": (tf.Qwen3VLVideoProcessor, tiny.qwen3(), {**flat, "size": shared}),
        "qwen3_vl capped": (tf.Qwen3VLVideoProcessor, tiny.qwen3(), {**flat, "size": shared, **capped}),
        "video_llama_3": (tf.VideoLlama3VideoProcessor, tiny.video_llama_3(), {**flat, "size": shared}),
        "glm4v": (tf.Glm4vVideoProcessor, tiny.glm4v(), {**flat, "size": shared}),
        "gemma4": (tf.Gemma4VideoProcessor, gemma4(), flat),
        "smolvlm": (tf.SmolVLMVideoProcessor, tiny.smolvlm(), square),
    }
    found: dict[str, Any] = {}
    for name, (cls, model, settings) in cases.items():
        videos = [torch.from_numpy(noise).permute(0, 3, 1, 2)]
        stock, adapter = cls(**settings), adapter_for(model)
        if name.endswith("capped") and not hasattr(cls, "max_video_tokens"):
            continue  # older ones do not know it
        want = stock(videos, return_tensors="pt", do_sample_frames=False)
        own = Preprocessing.from_config({**stock.to_dict(), **settings}).of_clip(len(noise), adapter.pixel_limits)
        got, _ = adapter.inputs(own.normalise(np.stack([own.resize(picture) for picture in noise])))
        made, wanted = got[adapter.pixels], want[adapter.pixels]
        if PLACES in got:  # the stock processor pads every picture to as many patches
            own_places, places = got[PLACES], want[PLACES]
            wanted, padding = wanted[..., : made.shape[-2], :], places[..., made.shape[-2] :, :]
            assert bool((padding == -1).all()) and torch.equal(own_places, places[..., : made.shape[-2], :])
            assert LENGTHS not in got or got[LENGTHS].tolist() == want[LENGTHS].tolist()
        found[name] = {
            "shape": list(made.shape),
            "same_shape": made.shape == wanted.shape,
            "same_grid": "video_grid_thw" not in got or bool((got["video_grid_thw"] == want["video_grid_thw"]).all()),
            "differs": float((made - wanted).abs().max()) if made.shape == wanted.shape else None,
        }
    still = noise[:, :24, :24].copy()
    still[1:, :8], still[3:] = still[0, :8], still[2]
    still[5, 8:16, 8:16] = 0
    made = tf.VideoLlama3VideoProcessor(patch_size=4, size={"shortest_edge": 576, "longest_edge": 6 * 576})(
        [torch.from_numpy(still).permute(0, 3, 1, 2)], return_tensors="pt", do_sample_frames=False
    )
    adapter = adapter_for(tiny.video_llama_3())
    call = {"pixel_values": made["pixel_values_videos"], "grid_thw": made["video_grid_thw"]}
    layout = adapter.layout_of_call((), call, None)
    slots = Rlt(tau=0.1 / 255).plan_with(adapter.pictures_of_call((), call), layout).slots
    mask = made["video_compression_mask"].view(6, 9).tolist()
    assert slots is not None
    found["compression"] = {"own": mask, "rlt": slots.tolist()}
    return found


def documented() -> str:
    """The example of docs/frames.md."""
    text = (ROOT / "docs" / "frames.md").read_text()
    section = text.split("## With a processor of transformers")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.S)[1]  # type: ignore[index]


def main() -> None:
    stand_in()
    import codecmeta.hf

    clip = sys.argv[1]
    messages = [{"role": "user", "content": [{"type": "video", "path": clip}, {"type": "text", "text": "What?"}]}]
    result = {}
    for name, processor in processors().items():
        if isinstance(processor, str):
            result[name] = {"not_made": processor}
            continue
        try:
            video_processor = processor.video_processor
            before = (type(video_processor), video_processor.to_json_string())
            with codecmeta.hf.attach(processor, frames=6, policy="events") as source:
                out = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
                saved = video_processor.to_json_string()
            text = processor.tokenizer.decode(out["input_ids"][0])
            placeholder = next(one for one in PLACEHOLDERS if one in text)
            result[name] = {
                "rows": source.read[-1][1].tolist(),
                "text": re.sub(f"(?:{re.escape(placeholder)})+", "*", text),
                "placeholders": text.count(placeholder),
                "seconds_per_grid": [float(one) for one in out.get("second_per_grid_ts", [])],
                "undone": (type(video_processor), video_processor.to_json_string()) == before and saved == before[1],
            }
        except Exception as error:  # said in the result
            result[name] = {"failed": f"{type(error).__name__}: {error}"}
    result["pixels"] = pixels()
    made = processors()["qwen3_vl"]
    names = {"processor": made, "video": clip}
    exec(documented(), names)  # noqa: S102
    with codecmeta.hf.attach(made) as source:
        made.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    result["documented"] = {
        "by_default": len(source.read[-1][1]),
        "text": re.sub(r"(?:<\|video_pad\|>)+", "*", made.tokenizer.decode(names["inputs"]["input_ids"][0])),
        "by_hand": bool((names["inputs"]["input_ids"] == names["by_hand"]["input_ids"]).all()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
