"""Qwen3-VL in vLLM 0.32 with the tokens that the codec chose: the one file that knows vLLM's private names.

vLLM fixes in its processor how many tokens of a video stay, and finds out which when they are encoded. Here the
processor knows both: the prompt holds every frame's own number, positions are right from the start, and nothing has to
be mended while a prompt is read in pieces or comes from the prefix cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vllm.model_executor.models import qwen3_vl as stock
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import VideoProcessorItems

from codecmeta.compression.engine.transformers_names import GRID
from codecmeta.models.vllm import RETENTION
from codecmeta.models.vllm.loader import Backend
from codecmeta.models.vllm.retention import positions_of, reduced, retained

STAY = "codecmeta_stay"
"""Field of a video that goes from the processor to the model: uint8 (T, rows, columns), 1 where a token stays."""

DUMMY = Backend("codecmeta_dummy")


class DummyInputs(stock.Qwen3VLDummyInputsBuilder):
    """Videos with which vLLM measures its memory, marked as such: no codec was asked about them."""

    def _get_dummy_videos(self, **how: Any) -> list[Any]:
        return [(video, {**facts, "video_backend": DUMMY}) for video, facts in super()._get_dummy_videos(**how)]


class Processor(stock.Qwen3VLMultiModalProcessor):
    """Says of every video which tokens stay, as many as vLLM's pruning rate means, and writes its prompt so."""

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> Any:
        out = super()._apply_hf_processor_main(mm_items, hf_kwargs)
        if GRID in out:
            videos = mm_items.get_items("video", VideoProcessorItems).get_all()
            out[STAY] = [
                torch.from_numpy(self._stay(facts["video_backend"], grid)).to(torch.uint8)
                for (_, facts), grid in zip(videos, out[GRID].tolist(), strict=True)
            ]
        return out

    def _stay(self, backend: Any, grid: list[int]) -> NDArray[np.bool_]:
        merge = self.info.get_hf_config().vision_config.spatial_merge_size
        positions, rows, columns = grid[0], grid[1] // merge, grid[2] // merge
        _, rate = self.info.ctx.get_mm_config().get_video_pruning_spec()
        count = stock.compute_retained_tokens_count(rows * columns, positions, rate)
        if backend == DUMMY:
            return np.arange(positions * rows * columns).reshape(positions, rows, columns) < count
        if getattr(backend, "record", None) is None:
            raise ValueError(
                f"{RETENTION} is set, and this video was not read by the loader codecmeta: "
                'pass media_io_kwargs={"video": {"video_backend": "codecmeta"}} and videos as addresses or files'
            )
        return retained(backend.record, (positions, rows, columns), count, os.environ[RETENTION])

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Mapping[str, Any]:
        fields = dict(super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs))
        return {**fields, STAY: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> Sequence[Any]:
        config, tokenizer = self.info.get_hf_config(), self.info.get_tokenizer()

        def video(index: int) -> Any:
            item = out_mm_kwargs["video"][index]
            return self.get_video_repl(
                tokens_per_frame=item[STAY].data.flatten(1).sum(dim=1).tolist(),
                timestamps=item["timestamps"].data,
                tokenizer=tokenizer,
                vision_start_token_id=config.vision_start_token_id,
                vision_end_token_id=config.vision_end_token_id,
                video_token_id=config.video_token_id,
            )

        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        return [replace(one, replacement=video) if one.modality == "video" else one for one in updates]


@MULTIMODAL_REGISTRY.register_processor(Processor, info=stock.Qwen3VLProcessingInfo, dummy_inputs=DummyInputs)
class Retaining(stock.Qwen3VLForConditionalGeneration):
    """Takes out of every video what its processor did not choose; positions are those of the whole video."""

    def __init__(self, *, vllm_config: Any, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        if not self.is_multimodal_pruning_enabled or self.video_pruning_method != "evs":
            raise ValueError(f"{RETENTION} is set: pass a video_pruning_rate, and no video_pruning_method")

    def embed_multimodal(self, **kwargs: Any) -> Any:
        self._stay = kwargs.pop(STAY, None)
        return super().embed_multimodal(**kwargs)

    def _postprocess_image_embeds_evs(self, image_embeds_split: Any, image_input: Any) -> Any:
        return image_embeds_split

    def _postprocess_video_embeds_evs(self, video_embeds_split: Any, video_input: Any) -> tuple[Tensor, ...]:
        out = []
        grids = video_input[GRID].tolist()
        for tokens, grid, times, flags in zip(
            video_embeds_split, grids, video_input["timestamps"], self._stay, strict=True
        ):
            stay = flags.bool().cpu().numpy()
            place = torch.from_numpy(stay.ravel()).to(tokens.device)
            kept = tokens[place]  # beside a token's features, those that enter again behind the first layers: its own
            kept[:, : self.visual_dim] = reduced(tokens[:, : self.visual_dim], stay, os.environ[RETENTION])
            out.append(
                self._create_final_video_embeddings(
                    video_embeddings=kept,
                    num_tokens_per_frame=stay.sum(axis=(1, 2)).tolist(),
                    timestamps=times,
                    retention_mask=place,
                    **{GRID: grid},
                )
            )
        return tuple(out)

    def _get_expanded_positions(self, device: Any, seq_len: int, **_: Any) -> Tensor:
        """No columns: vLLM lets positions travel with the embeddings, where it learns late which they are."""
        return torch.empty(seq_len, 0, device=device)

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[Tensor, int]:
        starts = self._iter_mm_grid_hw(
            input_tokens,
            mm_features,
            video_token_id=self.config.video_token_id,
            vision_start_token_id=self.config.vision_start_token_id,
            vision_end_token_id=self.config.vision_end_token_id,
            spatial_merge_size=self.config.vision_config.spatial_merge_size,
        )
        frames = []
        for (start, rows, columns, count), stay in zip(starts, _frames(mm_features), strict=True):
            stay = np.ones((rows, columns), bool) if stay is None else stay
            assert stay.sum() == count
            frames.append((start, stay))
        positions, beyond = positions_of(len(input_tokens), frames)
        return torch.from_numpy(positions), beyond

    def recompute_mrope_positions(
        self, input_ids: Any, multimodal_embeddings: Any, mrope_positions: Any, num_computed_tokens: int
    ) -> tuple[Any, Any, int]:
        """They were right from the start."""
        return list(multimodal_embeddings), mrope_positions, int(mrope_positions.max()) + 1 - mrope_positions.shape[-1]


def _frames(mm_features: list[Any]) -> Iterator[NDArray[np.bool_] | None]:
    """Of every frame of every video which cells stay, None for an image, in the order of the prompt."""
    for feature in sorted(mm_features, key=lambda one: one.mm_position.offset):
        if feature.modality == "image":
            yield None
        else:
            yield from feature.data[STAY].data.bool().numpy()
