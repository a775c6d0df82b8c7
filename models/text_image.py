"""A name -> a text-image model (SigLIP or CLIP) that says how well each picture of a video fits a question."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer

from codecmeta.compression.text_frames import picture_vectors, question_vector
from codecmeta.models.checkpoints import check_device, first_line, settings_of
from codecmeta.models.hub import found
from codecmeta.models.preprocessing import Preprocessing

FOLDER = Path(__file__).parent / "small" / "text_image" / "weights"
"""The built-in one's."""
SMALL = "small"
"""The name of the built-in text-image model."""
ARCHITECTURES = ("CLIPModel", "SiglipModel")
BATCH = 16
"""Pictures in the image tower at once: bounds its memory."""
CLIPS = 32
"""Clips whose image vectors are remembered: some 10 MB at 64 pictures of 1,152 numbers each."""


class TextImage:
    """A text-image model with its tokenizer and preprocessing. Made by `load_text_image`.

    model: the stock transformers model. The vectors of the last `CLIPS` clips are remembered, for the next question.
    """

    def __init__(self, name: str, model: nn.Module, tokenizer: Any, preprocessing: Preprocessing) -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self._seen: OrderedDict[bytes, Tensor] = OrderedDict()

    def scores(
        self, pictures: Iterable[NDArray[np.uint8]], question: str, *, combine: Literal["max", "mean"] = "max"
    ) -> tuple[float, ...]:
        """Cosine of the question and each picture.

        >>> text_image.scores(pictures, "When does the goal fall?")
        (0.0312, 0.0871, ...)

        pictures: uint8 (height, width, 3) each, of any size. combine: of the parts of a question that is longer than
        the text tower takes (see `codecmeta.compression.text_frames.question_vector`).
        """
        vectors = self._vectors(np.stack([self.preprocessing.resize(picture) for picture in pictures]))
        return tuple((vectors @ question_vector(self.model, self.tokenizer, question, combine=combine)).tolist())

    def forget(self) -> None:
        """Drop what is remembered, so that the next question pays for its clip again."""
        self._seen.clear()

    def _vectors(self, pictures: NDArray[np.uint8]) -> Tensor:
        """float32 (T, width), from memory where these very pictures were seen."""
        key = blake2b(pictures.data, digest_size=16).digest()
        if key not in self._seen:
            parts = np.split(pictures, range(BATCH, len(pictures), BATCH))
            vectors = [picture_vectors(self.model, self.preprocessing.normalise(part)) for part in parts]
            self._seen[key] = torch.cat(vectors)
        self._seen.move_to_end(key)
        while len(self._seen) > CLIPS:
            self._seen.popitem(last=False)
        return self._seen[key]


def load_text_image(
    name: str = SMALL,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> TextImage:
    """Load a SigLIP or CLIP model, for METok and for frames chosen by the question.

    >>> siglip = load_text_image("google/siglip-so400m-patch14-384")
    >>> model.ask("match.mp4", "When does the goal fall?", strategy="metok", text_model=siglip).query_agnostic
    False

    Arguments as in `codecmeta.models.load`: "small" (the default) for the built-in one, which knows what the built-in
    video model knows, a folder or a Hugging Face id with safetensors, and no code of it is run.

    Raises ValueError, listing what is supported, for another architecture, and for what cannot be loaded.
    """
    check_device(device)
    try:
        where = str(FOLDER) if name == SMALL else found(name, [SMALL], revision)
        config = AutoConfig.from_pretrained(where, trust_remote_code=False, revision=revision)
        known = [one for one in config.architectures or () if one in ARCHITECTURES]
        if not known:
            raise ValueError(
                f"architecture {', '.join(config.architectures or [config.model_type])} is no text-image model that is "
                f"supported; supported are: {', '.join(ARCHITECTURES)}"
            )
        if dtype is None and torch.device(device).type == "cpu":
            dtype = torch.float32
        model = getattr(transformers, known[0]).from_pretrained(
            where, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=False, revision=revision
        )
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, revision=revision)
        preprocessing = Preprocessing.from_config(settings_of(where, "image", revision), crop=True)
    except ImportError as error:  # SigLIP's tokenizer
        reason = 'its tokenizer needs sentencepiece and protobuf: pip install "codecmeta[models]"'
        raise ValueError(f"text-image model {name!r} cannot be loaded: {reason}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"text-image model {name!r} cannot be loaded: {first_line(error)}") from error
    return TextImage(name, model.to(device).eval(), tokenizer, preprocessing)
