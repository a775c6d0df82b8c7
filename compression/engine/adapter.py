"""What a model family tells the strategies about itself: one small class per family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.plan import Layout
from codecmeta.record.metadata import Stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle

    from codecmeta.compression.engine.packing import Packing


class Adapter(ABC):
    """Where one loaded model keeps what strategies touch.

    video_token: id of the placeholder that stands for one visual token in a prompt. one_piece: whether nothing may
    stand between the placeholders of a video. spelled: whether the tokenizer has a text for the placeholder; where it
    has none, `mark` is cut out of the prompt and the placeholders are put between what stands before and behind it.
    pixels: key of the pictures in what generate() takes. mark: what stands for a video in the prompt of a chat
    template, where that is not the placeholder. template: the chat template of a prompt with a video, where
    transformers' processor takes one of its own for that. keep_ids: whether position ids of kept tokens are preserved
    by default. preferences: the checkpoint's own, see `Strategy`. gapless: whether they can be numbered without gaps at
    all (not where they are rows and columns). gapped: whether they can be numbered with gaps. before_only: why no
    method may act inside the layers, in words, where that is so. around: whether the module around the decoder makes
    its masks (`masks`). told: the placeholder that the tokenizer has to be told is one token. pictures: sampled
    pictures per temporal position. first_cut: first layer at whose entry tokens can be taken out. inner: the module
    that is called with input_ids. language_model: the decoder inside it. layers: its layers. vision: modules whose run
    is timed, first and last.
    """

    video_token: int
    image_token: int
    one_piece: ClassVar[bool] = True
    spelled: ClassVar[bool] = True
    pixels: ClassVar[str] = names.PIXELS
    mark: ClassVar[str] = ""
    template: ClassVar[str] = ""
    first_cut: int = 1
    keep_ids: bool
    preferences: Mapping[str, Any]
    gapless: ClassVar[bool] = True
    gapped: ClassVar[bool] = True
    before_only: ClassVar[str] = ""
    around: ClassVar[bool] = False
    told: ClassVar[str] = ""
    pictures: int = 1
    inner: nn.Module
    language_model: nn.Module
    layers: list[nn.Module]
    vision: tuple[nn.Module, nn.Module]

    def find_parts(self, model: nn.Module) -> None:
        """Set inner, language_model, layers, the two tokens and preferences, by the names that video models of
        transformers share; for `__init__` of an adapter whose model has them."""
        whole: Any = model
        self.inner = whole.model
        self.language_model = whole.model.language_model
        self.layers = list(whole.model.language_model.layers)
        self.video_token = whole.config.video_token_id
        self.image_token = whole.config.image_token_id
        self.preferences = getattr(whole.config, "codecmeta", None) or {}

    @property
    def attending(self) -> tuple[int, ...]:
        """Layers of the decoder with attention, and keys and values in the cache; the others have a state."""
        return tuple(number for number, layer in enumerate(self.layers) if names.has(layer, "attention"))

    @property
    def even(self) -> bool:
        """Whether pictures are taken to be equally far apart: by a model that knows one distance for a whole video, or
        in what a prompt says."""
        return names.takes(self.inner, "grid_seconds")

    @abstractmethod
    def layout(self, pictures: int, stream: Stream | None) -> Layout | None:
        """The token grid of a clip of so many sampled pictures, None where only the inputs tell. stream gives the size
        of the displayed picture."""

    @abstractmethod
    def layout_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], stream: Stream | None) -> Layout:
        """The token grid of the clip in a call of `vision[0]`."""

    def pictures_of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """The pictures in a call of `vision[0]`, float (pictures, 3, height, width), without what no patch covers."""
        raise ValueError(f"the pictures cannot be read in {type(self).__name__}")

    def pixel_limits(self, fewest: float, most: float, pictures: int) -> tuple[float, float]:
        """Fewest and most pixels of a picture in a clip of so many, where the published settings say these."""
        return fewest, most

    def layout_of_inputs(self, inputs: Mapping[str, Any], stream: Stream | None) -> Layout:
        """The token grid of what `inputs` made."""
        grid = {names.spelling(self.vision[0], "grid"): inputs[names.GRID]}
        return self.layout_of_call((), grid, stream)

    def masks(self, call: names.Call, types: Tensor | None) -> Any:
        """For a call of the decoder with a two-dimensional mask: what it takes in its place. types: int64
        (1, tokens), what each of its tokens stands for, where there is a video among them."""
        return call.get("mask")

    def refusal(self, call: names.Call) -> str:
        """Why a call of `inner` cannot be served, in one line; nothing where it can."""
        return ""

    @abstractmethod
    def inputs(self, pixels: Tensor) -> tuple[dict[str, Tensor], int]:
        """What the stock model's generate() takes for a clip beside the prompt, and how many placeholders the prompt
        must hold. pixels: float (pictures, 3, height, width)."""

    def placeholders(
        self, count: int, times: Sequence[float] | None, token: Callable[[int], str], duration: float | None = None
    ) -> str:
        """What stands in a prompt for a video of `count` placeholders. times: seconds of its pictures, where they are
        known. token: the text of a token's number. duration: of the whole video, seconds, where that is known."""
        return token(self.video_token) * count

    def beside(self, times: Sequence[float] | None, duration: float | None) -> str:
        """What the prompt says right behind the video. times: seconds of its pictures. duration: of the whole video."""
        return ""

    @abstractmethod
    def newline(self) -> Tensor | None:
        """(width,): the embedding of the model's separators, None where there are none."""

    def patch_order(self, layout: Layout) -> NDArray[np.int64] | None:
        """int64 (patches of a frame,): their raster numbers in the order in which the encoder's layers take them; None
        for raster order."""
        return None

    def watch_vision(self, see: Callable[[Tensor], None]) -> Iterator[RemovableHandle]:
        """Hook the last layer of the vision encoder whose output is used: `see` gets the attention that each place of
        the token grid received there, float32 (T, tokens per frame), mean over heads and over the queries of its
        frame. Where tokens are pooled from patches, so is this."""
        raise ValueError(f"the attention of the vision encoder cannot be read in {type(self).__name__}")

    @abstractmethod
    def merge_patches(self, packing: Callable[[], Packing | None], strategy: Any) -> Iterator[RemovableHandle]:
        """Hook RPM into the vision encoder: `packing()` says at call time what to merge, None leaves the call alone."""


def said(times: Sequence[float] | None) -> Sequence[float]:
    """The times that a prompt says. Raises ValueError without any."""
    if times is None:
        raise ValueError("this model's prompts say when each picture is shown: pass the pictures' times")
    return times
