"""Gemma 4: a rotary encoder that pools, windows that count tokens, inputs per layer, a time before every picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter, said
from codecmeta.compression.engine.attention import received_attention, rotate
from codecmeta.compression.engine.packing import Packing, merge_embeddings
from codecmeta.compression.engine.proof import check_patch_attention
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream


class Gemma4(Adapter):
    """Adapter of `Gemma4ForConditionalGeneration`.

    Pictures keep their shape and are encoded one by one; 3x3 patches of what comes out are averaged to one token. That
    cell is the unit of merging: a region enters the encoder as one cell, the mean of its cells at each place, with the
    rotary angles of its central one, and is scattered back before the pooling. In the prompt every picture stands
    between markers, behind its time in minutes and seconds, which stay where it loses all of them.

    Most layers of the language model attend in a window, and both the window and the cache count tokens, whatever their
    positions: so what is kept is numbered without gaps, and the model makes its masks anew for the shortened prompt,
    also those that let the tokens of a picture see each other (larger checkpoints). What a layer takes beside the
    hidden states of each token (smaller ones) is shortened with it. Late layers may use the keys of earlier ones;
    generate() lets only the last token through them, and they hold nothing in the cache. All tokens are counted in
    them, as they are what it looks at there. Methods that act inside the layers are refused.
    """

    one_piece: ClassVar[bool] = False
    gapped: ClassVar[bool] = False
    around: ClassVar[bool] = True
    before_only: ClassVar[str] = (
        "Gemma 4 attends in windows that count tokens, and late layers use the keys of earlier ones, so nothing can be "
        "taken out inside its layers"
    )
    mark: ClassVar[str] = "<|video|>"
    told: ClassVar[str] = "<|video|>"

    def __init__(self, model: nn.Module) -> None:
        self.find_parts(model)
        config: Any = model.config
        inner: Any = model.model
        self.model = model
        self.keep_ids = False
        self.tower = inner.vision_tower
        self.vision = (self.tower, inner.embed_vision)
        self.markers = (config.boi_token_id, config.eoi_token_id)
        self.join, self.patch = config.vision_config.pooling_kernel_size, config.vision_config.patch_size
        self.lengths = names.takes(model, "video_lengths")
        names.check_attention(self.tower, self.language_model)
        if "flash_attention_2" in map(names.implementation, (self.tower, self.language_model)):
            raise ValueError(
                "Gemma 4 cannot run on flash attention 2, which drops the masks of its pictures; load the model with "
                "attn_implementation='sdpa'"
            )

    @property
    def attending(self) -> tuple[int, ...]:
        """Layers with keys and values of their own; late ones use those of others."""
        attentions = [names.part(layer, "attention") for layer in self.layers]
        return tuple(number for number, one in enumerate(attentions) if names.has(one, "key projection"))

    def layout(self, pictures: int, stream: Stream | None) -> Layout | None:
        """Pictures keep their shape, in a size that preprocessing chooses: only the inputs tell."""
        return None

    def layout_of_inputs(self, inputs: Mapping[str, Any], stream: Stream | None) -> Layout:
        """From where the patches stand."""
        return self._layout(inputs[names.PLACES].flatten(0, -3), stream)

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """From where the patches of each picture stand. Raises ValueError where they are not all alike."""
        return self._layout(names.Call(self.tower, args, kwargs)["patch_places"], stream)

    def _layout(self, places: Tensor, stream: Stream | None) -> Layout:
        """places: int64 (pictures, patches, 2), column and row, -1 for padding behind the picture's own."""
        rows, columns = self._grid(places)
        cells = rows // self.join, columns // self.join
        view = None if stream is None else (0.0, 0.0, float(stream.width), float(stream.height))
        return Layout(len(places), cells, cells, view, unit=self.join**2, depth=len(self.layers))

    def _grid(self, places: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of all pictures."""
        columns, rows = (places[0].amax(dim=0) + 1).tolist()
        expected = pad(raster(rows, columns), (0, 0, 0, places.shape[1] - rows * columns), value=-1)
        if rows % self.join or columns % self.join or not bool((places == expected.to(places.device)).all()):
            raise ValueError(
                "the inputs hold pictures of several sizes, or patches in another order than row by row; only one "
                "video per prompt is supported"
            )
        return rows, columns

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The reverse of `inputs`, without padding."""
        call = names.Call(self.tower, args, kwargs)
        patches, (rows, columns) = call["pictures"], self._grid(call["patch_places"])
        parts = patches[:, : rows * columns].unflatten(1, (rows, columns)).unflatten(3, (self.patch, self.patch, -1))
        return parts.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """Flat patches of every picture, row by row, and where each stands. The padding that transformers' processor
        adds to a fixed number of patches is left away: the model looks at none of it."""
        pictures, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        parts = pixels.unflatten(2, (rows, self.patch)).unflatten(4, (columns, self.patch))
        patches = parts.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        places = raster(rows, columns).expand(pictures, -1, -1)
        count = pictures * rows * columns // self.join**2
        if not self.lengths:  # older releases take one video per row of a batch
            return {names.PIXELS: patches[None], names.PLACES: places[None]}, count
        return {names.PIXELS: patches, names.PLACES: places, names.LENGTHS: torch.tensor([pictures])}, count

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """For each picture its time and its placeholders between markers, as transformers' processor writes them.
        Raises ValueError without times."""
        times = said(times)
        start, end = (token(marker) for marker in self.markers)
        each = token(self.video_token) * (count // len(times))
        return " ".join(f"{int(time // 60):02d}:{int(time % 60):02d} {start}{each}{end}" for time in times)

    def newline(self) -> Tensor | None:
        """There are no separators."""
        return None

    def masks(self, call: names.Call, types: Tensor | None) -> Any:
        """One mask for layers with a window, one for the others, as the model makes them for a sequence like this."""
        return names.masks(
            self.model,
            embeddings=call["embeddings"],
            mask=call.get("mask"),
            cache=call.get("cache"),
            positions=call["positions"],
            token_types=types,
        )

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the last layer; a token gets the mean of its patches."""
        attention: nn.Module = names.part(self.tower.encoder.layers[-1], "attention")
        names.require(attention, "hidden", "rotary")
        width, scale = names.part(attention, "head width"), names.part(attention, "scale")
        grid: list[tuple[int, int]] = []

        def start(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            grid[:] = [self._grid(names.Call(module, args, kwargs)["patch_places"])]

        def turned(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            axes = zip(*(one.chunk(2, dim=-1) for one in (states, cos, sin)), strict=True)
            return torch.cat([rotate(*one) for one in axes], dim=-1)

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            call, (rows, columns) = names.Call(module, args, kwargs), grid[0]
            hidden, *angles = (one[:, : rows * columns] for one in (call["hidden"], *call["rotary"]))
            both = []
            for which in ("query", "key"):
                made = names.part(module, f"{which} projection")(hidden).unflatten(-1, (-1, width))
                both.append(turned(names.part(module, f"{which} norm")(made).transpose(1, 2), *angles))
            queries, keys = both
            keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
            received = torch.stack([received_attention(q, k, scale) for q, k in zip(queries, keys, strict=True)])
            see(avg_pool2d(received.view(-1, 1, rows, columns), self.join).flatten(1))

        yield self.tower.register_forward_pre_hook(start, with_kwargs=True)
        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def _cell_by_cell(self, packed: Packing) -> Tensor:
        """int64 (patches,): where the patches of each cell in turn stand in raster order."""
        rows, columns = packed.grid
        places = torch.arange(packed.patches * self.join**2).view(rows, self.join, columns, self.join)
        return places.transpose(1, 2).flatten()

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge before the first layer, set pictures apart inside every attention, scatter back before the pooling."""
        unit = self.join**2
        table = names.part(self.tower.patch_embedder, "position table")

        def cells(patches: Tensor) -> Tensor:
            """(n, patches, width) in order of cells -> (n, cells, unit * width)."""
            return patches.unflatten(1, (-1, unit)).flatten(2)

        def patches(cells: Tensor) -> Tensor:
            """The reverse."""
            return cells.unflatten(2, (unit, -1)).flatten(1, 2)

        def merge(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            order = self._cell_by_cell(packed)
            places = call["patch_places"][0, order]
            own = cells((table[0][places[:, 0]] + table[1][places[:, 1]])[None])[0]
            merged = merge_embeddings(packed, cells(call["embeddings"][:, order]), own, strategy.pos)
            central = places.unflatten(0, (-1, unit))[packed.central_patch].flatten(0, 1)
            return call.put(embeddings=patches(merged), patch_places=central[None], mask=None).changed

        def set_apart(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            hidden, *angles = (patches(packed.pad(cells(one))) for one in (call["hidden"], *call["rotary"]))
            bias = packed.bias(hidden.dtype, strategy.proportional)
            mask = None if bias is None else bias.repeat_interleave(unit, -1)
            return call.put(hidden=hidden, rotary=tuple(angles), mask=mask).changed

        def join(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            return None if packed is None else (patches(packed.unpad(cells(output[0]))), *output[1:])

        def scatter(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            whole = patches(packed.scatter(cells(call["hidden"])))[:, self._cell_by_cell(packed).argsort()]
            padding = call["patch_places"].shape[1] - whole.shape[1]
            return call.put(hidden=pad(whole, (0, 0, 0, padding))).changed

        def beside(hidden: Tensor) -> dict[str, Any]:
            """Angles that turn nothing, as `check_patch_attention` calls it."""
            width = names.part(names.part(self.tower.encoder.layers[0], "attention"), "head width")
            angles = hidden.new_ones(*hidden.shape[:2], width), hidden.new_zeros(*hidden.shape[:2], width)
            return {"rotary": angles, "positions": torch.zeros(*hidden.shape[:2], 2, device=hidden.device).long()}

        names.require(self.tower.encoder, "embeddings", "mask", "patch_places")
        names.require(self.tower.pooler, "hidden", "patch_places")
        yield self.tower.encoder.register_forward_pre_hook(merge, with_kwargs=True)
        for layer in self.tower.encoder.layers:
            attention = names.part(layer, "attention")
            check_patch_attention(attention, names.implementation(self.tower), beside)
            yield attention.register_forward_pre_hook(set_apart, with_kwargs=True)
            yield attention.register_forward_hook(join)
        yield self.tower.pooler.register_forward_pre_hook(scatter, with_kwargs=True)


def raster(rows: int, columns: int) -> Tensor:
    """int64 (rows * columns, 2): column and row of every place, row by row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((column, row), dim=-1).flatten(0, 1)
