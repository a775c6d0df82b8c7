"""InternVL3 and InternVL3.5: a plain ViT with a class token, a Qwen2 or Qwen3 language model, pictures for a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.compression.engine.attention import received_attention
from codecmeta.compression.engine.packing import Packing, merge_embeddings, refuse_merging
from codecmeta.compression.engine.proof import check_patch_attention
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream


class InternVL(Adapter):
    """Adapter of `InternVLForConditionalGeneration`, in the layout of the "-hf" repositories.

    Every picture is stretched to a square, cut into patches and encoded behind a class token; 2x2 patches of what comes
    out are joined to one token. That cell is the unit of merging: a region enters the encoder as one cell, the mean of
    its cells at each of the four places. The model knows no videos: the tokens of a picture are those of an image,
    between markers and behind the picture's number, which stay where it loses all of them. Positions are
    one-dimensional.
    """

    one_piece: ClassVar[bool] = False
    pixels: ClassVar[str] = names.PICTURES
    mark: ClassVar[str] = "<video>"

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        if config.vision_feature_layer != -1 or config.vision_feature_select_strategy != "default":
            raise ValueError(
                f"InternVL with features of layer {config.vision_feature_layer} and feature selection "
                f"{config.vision_feature_select_strategy!r} is not supported; expected -1, 'default'"
            )
        inner: Any = model.model
        self.inner = inner
        self.language_model = inner.language_model
        self.layers = list(inner.language_model.layers)
        self.video_token = config.image_token_id
        self.image_token = -1  # a prompt with an image beside the video has more placeholders than the video's
        self.keep_ids = False
        self.preferences = getattr(config, "codecmeta", None) or {}
        self.tower = inner.vision_tower
        self.projector = inner.multi_modal_projector
        self.vision = (self.tower, self.projector)
        embeddings = self.tower.embeddings
        self.patches: tuple[int, int] = embeddings.patch_embeddings.patch_shape
        self.join = round(1 / config.downsample_ratio)
        names.check_attention(self.tower, self.language_model)

    def layout(self, pictures: int, stream: Stream | None) -> Layout:
        """Of any number of pictures: the square covers each of them whole."""
        rows, columns = self.patches
        view = None if stream is None else (0.0, 0.0, float(stream.width), float(stream.height))
        cells = rows // self.join, columns // self.join
        return Layout(pictures, cells, cells, view, unit=self.join**2, depth=len(self.layers))

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """Pictures arrive as (pictures, 3, height, width)."""
        return self.layout(len(self.pictures_of_call(args, kwargs)), stream)

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """As they come."""
        pictures: Tensor = names.Call(self.tower, args, kwargs)["pictures"]
        return pictures

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """All pictures as they are."""
        return {self.pixels: pixels}, self.layout(len(pixels), None).tokens_full

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """For each picture its number and its placeholders between markers, as transformers' processor writes them."""
        each = self.layout(1, None).tokens_full
        picture = f"<img>{token(self.video_token) * each}</img>"
        return "\n".join(f"Frame{number + 1}: {picture}" for number in range(count // each))

    def newline(self) -> Tensor | None:
        """There are no separators."""
        return None

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the last layer, where the class token asks too; a token gets the mean of its patches."""
        attention: nn.Module = names.part(self.tower.encoder.layer[-1], "attention")
        names.require(attention, "hidden")
        heads, scale = names.part(attention, "heads"), names.part(attention, "scale")

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            hidden = names.Call(module, args, kwargs)["hidden"]
            queries, keys = (
                names.part(module, f"{which} norm")(names.part(module, f"{which} projection")(hidden))
                for which in ("query", "key")
            )
            queries, keys = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (queries, keys))
            received = torch.stack([received_attention(q, k, scale) for q, k in zip(queries, keys, strict=True)])
            see(avg_pool2d(received[:, 1:].view(-1, 1, *self.patches), self.join).flatten(1))

        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def _cell_by_cell(self) -> Tensor:
        """int64 (1 + patches,): where the class token and the patches of each cell in turn stand in raster order."""
        rows, columns = self.patches
        places = torch.arange(rows * columns).view(rows // self.join, self.join, columns // self.join, self.join)
        return torch.cat((torch.zeros(1, dtype=torch.long), 1 + places.transpose(1, 2).flatten()))

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge after the embeddings, the class token of every picture apart, set pictures apart inside every
        attention, scatter back behind the last norm, before patches are joined."""
        implementation = names.implementation(self.tower)
        if implementation == "flash_attention_2":
            yield refuse_merging(self.tower.embeddings, packing)
            return
        unit, positions = self.join**2, names.part(self.tower.embeddings, "position table")
        order = self._cell_by_cell()

        def merge(module: nn.Module, args: Any, embedded: Tensor) -> Any:
            packed = packing()
            if packed is None:
                return None
            own = None if positions is None else positions[0, order]
            return merge_embeddings(packed.headed(unit), embedded[:, order], own, strategy.pos)

        def set_apart(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            hidden, headed = call["hidden"], packed.headed(unit)
            return call.put(hidden=headed.pad(hidden), mask=headed.bias(hidden.dtype, strategy.proportional)).changed

        def join(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            return None if packed is None else (packed.headed(unit).unpad(output[0]), *output[1:])

        def scatter(module: nn.Module, args: Any, encoded: Tensor) -> Any:
            packed = packing()
            return None if packed is None else packed.headed(unit).scatter(encoded)[:, order.argsort()]

        yield self.tower.embeddings.register_forward_hook(merge)
        for layer in self.tower.encoder.layer:
            attention = names.part(layer, "attention")
            check_patch_attention(attention, implementation)
            yield attention.register_forward_pre_hook(set_apart, with_kwargs=True)
            yield attention.register_forward_hook(join)
        yield self.tower.layernorm.register_forward_hook(scatter)
