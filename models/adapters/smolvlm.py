"""SmolVLM2: a SigLIP encoder, a Llama language model, and a prompt that tells of every picture when it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.utils.hooks import RemovableHandle

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter, said
from codecmeta.compression.engine.attention import received_attention
from codecmeta.compression.engine.packing import Packing, merge_embeddings, refuse_merging
from codecmeta.compression.engine.proof import check_patch_attention
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream

AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"
"""Marks around the tokens of a picture, and the one that says that it is a whole one."""


class SmolVLM(Adapter):
    """Adapter of `SmolVLMForConditionalGeneration`.

    Every picture is stretched to a square, cut into patches and encoded; 3x3 or 4x4 patches of what comes out (the
    checkpoint's scale factor) are joined to one token. That cell is the unit of merging: a region enters the encoder as
    one cell, the mean of its cells at each place. The model knows no videos: the tokens of a picture are those of an
    image, between marks and behind the picture's time in minutes and seconds, which stay where it loses all of them.
    Positions are one-dimensional.
    """

    one_piece: ClassVar[bool] = False
    pixels: ClassVar[str] = names.PICTURES
    mark: ClassVar[str] = "<video>"
    template: ClassVar[str] = (  # processing_smolvlm.py: DEFAULT_CHAT_TEMPLATE, of every prompt with a video
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
        "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
        "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
        "{% elif line['type'] == 'image' %}{{ '<image>' }}{% elif line['type'] == 'video' %}{{ '<video>' }}{% endif %}"
        "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )

    def __init__(self, model: nn.Module) -> None:
        config: Any = model.config
        inner: Any = model.model
        self.inner = inner
        self.language_model = inner.text_model
        self.layers = list(inner.text_model.layers)
        self.video_token = config.image_token_id
        self.image_token = -1  # a prompt with an image beside the video has more placeholders than the video's
        self.keep_ids = False
        self.preferences = getattr(config, "codecmeta", None) or {}
        self.tower = inner.vision_model
        self.vision = (self.tower, inner.connector)
        self.join: int = config.scale_factor
        self.size, self.patch = config.vision_config.image_size, config.vision_config.patch_size
        names.check_attention(self.tower, self.language_model)

    def layout(self, pictures: int, stream: Stream | None) -> Layout:
        """Of any number of pictures, in the size that the checkpoint was made for."""
        return self._layout(pictures, self.size, stream)

    def _layout(self, pictures: int, size: int, stream: Stream | None) -> Layout:
        """Pixels behind the last whole patch are cut off."""
        side = size // self.patch
        covered = side * self.patch / size
        view = None if stream is None else (0.0, 0.0, stream.width * covered, stream.height * covered)
        cells = side // self.join, side // self.join
        return Layout(pictures, cells, cells, view, unit=self.join**2, depth=len(self.layers))

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """Pictures arrive as (pictures, 3, size, size). Raises ValueError where they are no squares of whole cells, or
        part of them is padding."""
        call = names.Call(self.tower, args, kwargs)
        pictures, mask = call["pictures"], call.get("patch_mask")
        height, width = pictures.shape[-2:]
        if height != width or height // self.patch % self.join or not (mask is None or bool(mask.all())):
            raise ValueError(
                f"the pictures are {width}x{height} pixels, perhaps padded; a video's are squares filled by the "
                f"picture, of whole cells of {self.join}x{self.join} patches"
            )
        return self._layout(len(pictures), height, stream)

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """As they come, cut to whole patches."""
        pictures: Tensor = names.Call(self.tower, args, kwargs)["pictures"]
        covered = pictures.shape[-1] // self.patch * self.patch
        return pictures[..., :covered, :covered]

    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """All pictures of the one sequence."""
        return {self.pixels: pixels[None]}, self._layout(len(pixels), pixels.shape[-1], None).tokens_full

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """Their number in words and how long the video is, else its last picture's time; then for each picture its time
        and its placeholders between marks, as transformers' processor writes them. Raises ValueError without times."""
        times = said(times)
        picture = f"{AROUND}{WHOLE}{token(self.video_token) * (count // len(times))}{AROUND}"
        return (
            f"You are provided the following series of {in_words(len(times))} frames from a "
            f"{timedelta(seconds=int(times[-1] if duration is None else duration))} [H:MM:SS] video.\n"
            + "".join(f"\nFrame from {int(time // 60):02d}:{int(time % 60):02d}:{picture}" for time in times)
            + "\n\n"
        )

    def newline(self) -> Tensor | None:
        """There are no separators."""
        return None

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """From the last layer; a token gets the mean of its patches."""
        attention: nn.Module = names.part(self.tower.encoder.layers[-1], "attention")
        names.require(attention, "hidden")
        projections = names.part(attention, "query projection"), names.part(attention, "key projection")
        heads, scale = names.part(attention, "heads"), names.part(attention, "scale")

        def look(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            hidden = names.Call(module, args, kwargs)["hidden"]
            queries, keys = (project(hidden).unflatten(-1, (heads, -1)).transpose(1, 2) for project in projections)
            received = torch.stack([received_attention(q, k, scale) for q, k in zip(queries, keys, strict=True)])
            side = round(received.shape[1] ** 0.5)
            see(avg_pool2d(received.view(-1, 1, side, side), self.join).flatten(1))

        yield attention.register_forward_pre_hook(look, with_kwargs=True)

    def _cell_by_cell(self, patches: int) -> Tensor:
        """int64 (patches,): where the patches of each cell in turn stand in raster order."""
        cells = round(patches**0.5) // self.join
        places = torch.arange(patches).view(cells, self.join, cells, self.join)
        return places.transpose(1, 2).flatten()

    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Merge before the first layer, set pictures apart inside every attention, scatter back behind the last norm,
        before patches are joined."""
        implementation = names.implementation(self.tower)
        if implementation == "flash_attention_2":
            yield refuse_merging(self.tower.embeddings, packing)
            return
        unit = self.join**2
        positions: list[Tensor] = []

        def cells(patches: Tensor) -> Tensor:
            """(n, patches, width) in order of cells -> (n, cells, unit * width)."""
            return patches.unflatten(1, (-1, unit)).flatten(2)

        def place(module: nn.Module, args: Any, output: Tensor) -> None:
            if packing() is not None:
                positions[:] = [output[:1]]

        def merge(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            embedded = call["embeddings"]
            order = self._cell_by_cell(embedded.shape[1])
            own = cells(positions.pop()[:, order])[0]
            merged = merge_embeddings(packed, cells(embedded[:, order]), own, strategy.pos)
            return call.put(embeddings=merged.unflatten(2, (unit, -1)).flatten(1, 2), mask=None).changed

        def set_apart(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            packed = packing()
            if packed is None:
                return None
            call = names.Call(module, args, kwargs)
            apart = packed.pad(cells(call["hidden"])).unflatten(2, (unit, -1)).flatten(1, 2)
            bias = packed.bias(apart.dtype, strategy.proportional)
            return call.put(hidden=apart, mask=None if bias is None else bias.repeat_interleave(unit, -1)).changed

        def join(module: nn.Module, args: Any, output: Any) -> Any:
            packed = packing()
            if packed is None:
                return None
            return packed.unpad(cells(output[0])).unflatten(2, (unit, -1)).flatten(1, 2), *output[1:]

        def scatter(module: nn.Module, args: Any, encoded: Tensor) -> Any:
            packed = packing()
            if packed is None:
                return None
            patches = packed.scatter(cells(encoded)).unflatten(2, (unit, -1)).flatten(1, 2)
            return patches[:, self._cell_by_cell(patches.shape[1]).argsort()]

        names.require(self.tower.encoder, "embeddings", "mask")
        yield self.tower.embeddings.position_embedding.register_forward_hook(place)
        yield self.tower.encoder.register_forward_pre_hook(merge, with_kwargs=True)
        for layer in self.tower.encoder.layers:
            attention = names.part(layer, "attention")
            check_patch_attention(attention, implementation)
            yield attention.register_forward_pre_hook(set_apart, with_kwargs=True)
            yield attention.register_forward_hook(join)
        yield self.tower.post_layernorm.register_forward_hook(scatter)


SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(number: int) -> str:
    """A number below a million in English words, as num2words writes it, which transformers' processor calls.

    >>> in_words(64), in_words(128), in_words(1024)
    ('sixty-four', 'one hundred and twenty-eight', 'one thousand and twenty-four')
    """
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{SMALL[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    joint = " and " if rest < 100 else ", "
    return f"{in_words(thousands)} thousand" + (joint + in_words(rest) if rest else "")
