"""Of vLLM 0.32 what codecmeta/models/vllm/qwen3_vl.py stands on, with its names and signatures, and a tiny prompt."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

START, END, VIDEO, IMAGE = 1, 2, 3, 4
WIDTH, AGAIN = 6, 3  # of a token's features, and how often features enter again


def compute_retained_tokens_count(tokens_per_frame: int, num_frames: int, q: float) -> int:
    return max(tokens_per_frame, int(tokens_per_frame * num_frames * (1 - q)))


@dataclass
class Update:
    """PromptReplacement."""

    modality: str
    target: Any
    replacement: Any


class Items:
    """VideoProcessorItems."""

    def __init__(self, videos: list[Any]) -> None:
        self.videos = videos

    def get_items(self, modality: str, kind: type) -> Items:
        assert (modality, kind) == ("video", Items)
        return self

    def get_all(self) -> list[Any]:
        return self.videos


class Dummies:
    def _get_dummy_videos(
        self, *, width: int, height: int, num_frames: int, num_videos: int, overrides: Any = None
    ) -> list[Any]:
        return [(None, {"fps": 2.0, "video_backend": "opencv"})] * num_videos


class Processor:
    """`grids`: what the real one's processor of transformers finds, patches of (T, rows, columns)."""

    def __init__(self, grids: list[list[int]], rate: float) -> None:
        config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=2),
            vision_start_token_id=START,
            vision_end_token_id=END,
            video_token_id=VIDEO,
        )
        limits = SimpleNamespace(get_video_pruning_spec=lambda: ("evs", rate))
        self.grids = grids
        self.info = SimpleNamespace(
            get_hf_config=lambda: config,
            get_tokenizer=lambda: SimpleNamespace(encode=lambda text, add_special_tokens: [*text.encode()]),
            ctx=SimpleNamespace(get_mm_config=lambda: limits),
        )

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Any) -> dict[str, Any]:
        return {"video_grid_thw": torch.tensor(self.grids)} if self.grids else {}

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> dict[str, Any]:
        return {"video_grid_thw": "theirs"}

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> list[Update]:
        return [Update("image", [IMAGE], None), Update("video", [VIDEO], None)]

    @staticmethod
    def get_video_repl(
        *,
        tokens_per_frame: list[int],
        timestamps: list[float],
        tokenizer: Any,
        vision_start_token_id: int,
        vision_end_token_id: int,
        video_token_id: int,
        select_token_id: bool = False,
    ) -> list[int]:
        out = []
        for seconds, count in zip(timestamps, tokens_per_frame, strict=True):
            out += tokenizer.encode(f"<{seconds:.1f} seconds>", add_special_tokens=False)
            out += [vision_start_token_id, *[video_token_id] * count, vision_end_token_id]
        return out


class Model:
    """Features of a video in, what goes into the language model out."""

    def __init__(self, *, vllm_config: Any, prefix: str = "model") -> None:
        self.visual_dim = WIDTH
        self.is_multimodal_pruning_enabled = vllm_config.rate is not None
        self.video_pruning_method = vllm_config.method
        self.config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=2),
            vision_start_token_id=START,
            vision_end_token_id=END,
            video_token_id=VIDEO,
        )

    def embed_multimodal(self, **kwargs: Any) -> Any:
        assert set(kwargs) == {"features", "video_grid_thw", "timestamps"}
        return self._postprocess_video_embeds_evs(kwargs.pop("features"), kwargs)

    def _create_final_video_embeddings(
        self,
        video_embeddings: Any,
        num_tokens_per_frame: list[int],
        timestamps: list[float],
        video_grid_thw: list[int],
        retention_mask: Any,
    ) -> Any:
        assert sum(num_tokens_per_frame) == len(video_embeddings) == retention_mask.sum()
        more = self._get_expanded_positions(
            device="cpu", seq_len=len(video_embeddings), video_grid_thw=video_grid_thw, retention_mask=retention_mask
        )
        return torch.cat((video_embeddings, more), dim=1)

    @staticmethod
    def _iter_mm_grid_hw(
        input_tokens: list[int],
        mm_features: list[Any],
        video_token_id: int,
        vision_start_token_id: int,
        vision_end_token_id: int,
        spatial_merge_size: int,
    ) -> Any:
        for feature in mm_features:
            offset = feature.mm_position.offset
            if feature.modality == "image":
                _, rows, columns = feature.data["image_grid_thw"].data.tolist()
                yield offset, rows // 2, columns // 2, rows * columns // 4
                continue
            frames, rows, columns = feature.data["video_grid_thw"].data.tolist()
            for _ in range(frames):
                start = input_tokens.index(vision_start_token_id, offset) + 1
                offset = input_tokens.index(vision_end_token_id, start)
                yield start, rows // 2, columns // 2, offset - start


def put(monkeypatch: Any) -> None:
    """Let these be vLLM for a test."""
    modules = {
        "vllm": {"__version__": "0.32.0"},
        "vllm.model_executor": {},
        "vllm.model_executor.models": {},
        "vllm.model_executor.models.qwen3_vl": {
            "Qwen3VLDummyInputsBuilder": Dummies,
            "Qwen3VLMultiModalProcessor": Processor,
            "Qwen3VLProcessingInfo": object,
            "Qwen3VLForConditionalGeneration": Model,
            "compute_retained_tokens_count": compute_retained_tokens_count,
        },
        "vllm.multimodal": {
            "MULTIMODAL_REGISTRY": SimpleNamespace(register_processor=lambda made, info, dummy_inputs: lambda one: one)
        },
        "vllm.multimodal.inputs": {
            "MultiModalFieldConfig": SimpleNamespace(batched=lambda modality, keep_on_cpu: (modality, keep_on_cpu))
        },
        "vllm.multimodal.parse": {"VideoProcessorItems": Items},
    }
    for name, held in modules.items():
        module = ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
        above, _, own = name.rpartition(".")
        if above:
            setattr(sys.modules[above], own, module)
    monkeypatch.delitem(sys.modules, "codecmeta.models.vllm.qwen3_vl", raising=False)
