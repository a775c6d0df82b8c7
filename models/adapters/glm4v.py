"""GLM-4.1V, 4.5V and 4.6V: pairs of pictures, 2x2 patches joined by a convolution, and a time behind every pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import said
from codecmeta.compression.plan import Layout
from codecmeta.models.adapters.qwen2_vl import Qwen2VL
from codecmeta.record.metadata import Stream


class Glm4V(Qwen2VL):
    """Adapter of `Glm4vForConditionalGeneration`, and of `Glm4vMoeForConditionalGeneration` with experts.

    As Qwen2-VL in what a token is; 2x2 patches are joined by a convolution behind the encoder's last norm, and merged
    ones are scattered back before it. In the prompt every temporal position is an image between markers, with the time
    of its first picture behind it in whole seconds; markers and times stay where a position loses its tokens.
    """

    one_piece: ClassVar[bool] = False
    mark: ClassVar[str] = "<|video|>"

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        config: Any = model.config
        self.video_token = config.image_token_id
        self.image_token = -1  # a prompt with an image beside the video has more placeholders than the video's
        self.markers = (config.image_start_token_id, config.image_end_token_id)
        self.last_in_order = self.tower.post_layernorm

    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """From the grids of the temporal positions, one row for each."""
        return super().layout_of_call(*self._together(args, kwargs), stream)

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The reverse of `inputs`."""
        return super().pictures_of_call(*self._together(args, kwargs))

    def _together(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call with the one grid of the video, as Qwen2-VL has it."""
        call = names.Call(self.tower, args, kwargs)
        grid = call["grid"]
        if bool((grid[:, 1:] != grid[:1, 1:]).any()):
            raise ValueError("the inputs hold pictures of several sizes; only one video per prompt is supported")
        whole = grid[:1].clone()
        whole[:, 0] = grid[:, 0].sum()
        return call.put(grid=whole).changed

    def pixel_limits(self, fewest: float, most: float, pictures: int) -> tuple[float, float]:
        """The published ones are those of all pictures together."""
        return fewest / pictures, most / pictures

    def said(self, time: float) -> str:
        """A time as the prompt has it."""
        return f"{int(time)}"

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """For each temporal position its placeholders between markers and the time of its first picture, as
        transformers' processor writes them. Raises ValueError without times."""
        times = said(times)
        first = times[:: self.pictures]
        start, end = (token(marker) for marker in self.markers)
        each = token(self.video_token) * (count // len(first))
        return "".join(f"{start}{each}{end}{self.said(time)}" for time in first)


class Glm46V(Glm4V):
    """Adapter of `Glm46VForConditionalGeneration`: the same, with tenths of seconds."""

    def said(self, time: float) -> str:
        """In tenths."""
        return f"{time:.1f} seconds"
