"""A loaded model, and a question about a video -> an answer with everything that was spent on it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import codecmeta
from codecmeta.cache.recognise import check_video
from codecmeta.compression import Metok, Plain, Plan, Session, Strategy, adapter_for, apply, make
from codecmeta.decoding.pictures import read_pictures
from codecmeta.errors import CacheError, VideoError
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.record.metadata import Metadata
from codecmeta.record.selection import sample_rows

if TYPE_CHECKING:
    from codecmeta.models.text_image import TextImage

STAGES = ("probe", "decode", "metadata", "preprocess", "vision", "strategy", "prefill", "first_token", "total")
"""The stages that are timed, in order."""


@dataclass(frozen=True)
class Answer:
    """What a model said about a video, and what it cost.

    text: the answer. question, model, method: what was asked of whom. budget: share of visual tokens that the method
    may let into the language model, None where that is an outcome. frames: pictures shown. tokens_full: visual tokens
    of the plain model. tokens_kept: those that entered the language model. tokens_llm_mean: visual tokens per layer,
    averaged. encoder_full, encoder_tokens: the same inside the vision encoder. kv_bytes: key-value cache after the
    prompt, measured. query_agnostic: whether a method that is made to look at the question before the language model
    did without (METok where no text-image model has scored the frames).

    seconds: probe (packet table), decode (pictures), metadata (what the codec's signals cost beyond decoding),
    preprocess (resizing, normalising, tokenising), vision (encoder and projector), strategy (planning and reducing, and
    what a text-image model does for it), prefill (language model over the prompt), first_token (from the start until
    the first token's scores, everything before included), total.
    """

    text: str
    question: str
    model: str
    method: str
    budget: float | None
    frames: int
    tokens_full: int
    tokens_kept: int
    tokens_llm_mean: float
    encoder_full: int
    encoder_tokens: int
    kv_bytes: int
    query_agnostic: bool
    seconds: dict[str, float]
    plan: Plan | None = field(repr=False, compare=False)
    trace: Trace | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the plan and the trace, ready for JSON; `text` is called `answer`."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        return {"answer": values.pop("text"), **values}


@dataclass(frozen=True)
class Trace:
    """What an answer was made from, for pictures of it. meta, rows: the metadata, and int64 (pictures,), the rows of
    its frame table that the model was shown. counts: int64 (T,), tokens that entered the language model by temporal
    position. kept: bool (T, tokens per frame), which places of the token grid they took."""

    meta: Metadata
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    kept: NDArray[np.bool_]


@dataclass(frozen=True)
class Clip:
    """The sampled pictures of a video as a model sees them, uint8 (T, height, width, 3), their rows in the frame table,
    int64 (T,), metadata of the video, and the seconds that reading took, by stage (see `codecmeta.read`).
    text_pictures: the same pictures as a text-image model sees them, where there is one."""

    meta: Metadata
    rows: NDArray[np.int64]
    pictures: NDArray[np.uint8]
    seconds: dict[str, float]
    text_pictures: NDArray[np.uint8] | None = None


class VideoModel:
    """A model with its tokenizer, preprocessing and prompt format. Made by `codecmeta.models.load`.

    model: the stock transformers model, unchanged. name: what it was loaded as.
    """

    def __init__(
        self, name: str, model: nn.Module, tokenizer: Any, preprocessing: Preprocessing, chat_template: str
    ) -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.chat_template = chat_template
        self.adapter = adapter_for(model)

    def ask(
        self,
        video: str | PathLike[str],
        question: str,
        *,
        strategy: Strategy | str | None = None,
        frames: int | None = None,
        jobs: int = 1,
        max_new_tokens: int = 64,
        meta: Metadata | str | PathLike[str] | None = None,
        text_model: TextImage | None = None,
    ) -> Answer:
        """Answer a question about a video file.

        >>> model.ask("clip.mp4", "How many objects are there?", strategy="metom").tokens_kept
        128

        strategy: a method's name or a strategy with options; default: the plain model. frames: pictures shown, evenly
        spread over time; default: what the checkpoint was made for, else 16. jobs: groups of pictures decoded at the
        same time. max_new_tokens: longest answer. The answer is the most likely one (greedy). meta: the video's
        metadata or its cache file, where they were extracted before; only the pictures are then read from the video.
        text_model: from `codecmeta.models.load_text_image`, tells METok how well each frame fits the question; its time
        counts as the strategy's.

        Raises VideoError for files that cannot be read, CacheError for metadata of another video or of other frames,
        ValueError for what the method cannot do.
        """
        chosen = make(strategy) if isinstance(strategy, str) else strategy or Plain()
        start = perf_counter()
        covered = (replace(scorable(chosen), frame_scores=()) if text_model else chosen).needs_metadata
        clip = self.clip(video, frames, jobs=jobs, meta=meta, covered=covered, text_model=text_model)
        seconds = dict(clip.seconds)
        shown = perf_counter()
        inputs = self.inputs(clip.pictures, question)
        ready = perf_counter()
        seconds["preprocess"] = seconds.pop("transform") + ready - shown
        if text_model:
            chosen = self.scored(chosen, clip, question, text_model)
        scoring = perf_counter() - ready
        with torch.inference_mode(), apply(self.model, chosen, clip.meta, frames=clip.rows) as session:
            ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        text = self.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        seconds |= session.seconds
        seconds["strategy"] += scoring
        seconds["first_token"] = (session.first_token_at or start) - start
        seconds["total"] = perf_counter() - start
        return self._answer(text, question, chosen, session, seconds, clip.meta, clip.rows)

    def clip(
        self,
        video: str | PathLike[str],
        frames: int | None = None,
        *,
        jobs: int = 1,
        meta: Metadata | str | PathLike[str] | None = None,
        covered: bool = True,
        text_model: TextImage | None = None,
    ) -> Clip:
        """Read the pictures of a video that `ask` would show, and their metadata; arguments as there. covered: whether
        metadata that is given must hold maps of these pictures."""
        count = frames or self.preprocessing.num_frames or 16
        sizes = [self.preprocessing, *([text_model.preprocessing] if text_model else [])]

        def resize(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
            return [one.resize(picture) for one in sizes]

        seconds: dict[str, float] = {}
        if meta is None:
            known, rows, pictures = codecmeta.read(fspath(video), count, transform=resize, jobs=jobs, seconds=seconds)
        else:
            start = perf_counter()
            known = meta if isinstance(meta, Metadata) else _cached(meta, fspath(video))
            rows = sample_rows(known.frames.time, count)
            if covered:
                _check_covered(known, rows, fspath(meta) if not isinstance(meta, Metadata) else "the metadata")
            seconds["metadata"] = perf_counter() - start
            pictures = read_pictures(fspath(video), known, rows, transform=resize, jobs=jobs, seconds=seconds)
        if spare := -len(rows) % self.adapter.pictures:  # an incomplete last group is filled up with its last picture
            rows, pictures = np.append(rows, [rows[-1]] * spare), [*pictures, *[pictures[-1]] * spare]
        own, *others = (np.stack(each) for each in zip(*pictures, strict=True))
        return Clip(known, rows, own, seconds, *others)

    def prompt(self, question: str) -> str:
        """The chat template around a question about a video, with one placeholder for the video."""
        content = [{"type": "video"}, {"type": "text", "text": question}]
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )

    def scored(self, strategy: Strategy, clip: Clip, question: str, text_model: TextImage) -> Metok:
        """METok with a text-image model's scores of a clip that was read for it.

        A temporal position of several pictures is worth as much as the best of them, as in METok an event is worth as
        much as its best frame: what is asked for may be in one of them only.
        """
        metok = scorable(strategy)
        assert clip.text_pictures is not None
        text = self.prompt(question) if metok.use_full_prompt else question
        scores = text_model.scores(clip.text_pictures, text, combine=metok.combine)
        best = np.reshape(scores, (-1, self.adapter.pictures)).max(axis=1)
        return replace(metok, frame_scores=tuple(best.tolist()))

    def inputs(self, pictures: NDArray[np.uint8], question: str) -> dict[str, Tensor]:
        """What the stock model's generate() takes: uint8 (T, height, width, 3) and a question -> tensors."""
        video, placeholders = self.adapter.inputs(self.preprocessing.normalise(pictures))
        placeholder = self.tokenizer.convert_ids_to_tokens(self.adapter.video_token)
        prompt = self.prompt(question)
        if prompt.count(placeholder) != 1:
            raise ValueError(f"the prompt holds {prompt.count(placeholder)} {placeholder}, expected one: {prompt!r}")
        prompt = prompt.replace(placeholder, placeholder * placeholders)
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids
        video["pixel_values_videos"] = video["pixel_values_videos"].to(self.model.dtype)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **video}
        if not self.adapter.gapless:
            inputs["mm_token_type_ids"] = (ids == self.adapter.video_token).long() * 2
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def _answer(
        self,
        text: str,
        question: str,
        strategy: Strategy,
        session: Session,
        seconds: dict[str, float],
        meta: Metadata,
        rows: NDArray[np.int64],
    ) -> Answer:
        assert session.counts is not None and session.kept is not None  # the prompt held the video
        return Answer(
            text=text,
            question=question,
            model=self.name,
            method=strategy.name,
            budget=getattr(strategy, "budget", 1.0),
            frames=len(rows),
            tokens_full=session.tokens_full,
            tokens_kept=session.tokens_kept,
            tokens_llm_mean=float(np.mean(session.layer_tokens)),
            encoder_full=session.encoder_full,
            encoder_tokens=session.encoder_tokens,
            kv_bytes=session.kv_bytes,
            query_agnostic=strategy.query_agnostic,
            seconds={name: round(seconds[name], 6) for name in STAGES},
            plan=session.plan,
            trace=Trace(meta, rows, session.counts, session.kept),
        )


def scorable(strategy: Strategy) -> Metok:
    """The strategy, if a text-image model can help it. Raises ValueError with the reason where it cannot."""
    if not isinstance(strategy, Metok):
        raise ValueError(
            f"method {strategy.name!r} does not compare frames with the question; a text model is for metok"
        )
    if strategy.frame_scores is not None:
        raise ValueError("metok takes frame_scores or a text model, not both")
    return strategy


def _cached(cache: str | PathLike[str], video: str) -> Metadata:
    """The metadata in a cache file, which must be this video's."""
    if not Path(video).is_file():
        raise VideoError(f"{video}: no such file; pass the path of a video file")
    check_video(Path(cache), Path(video))
    return codecmeta.load(cache)


def _check_covered(meta: Metadata, rows: NDArray[np.int64], name: str) -> None:
    """Raise CacheError where signals are stored for other frames than the ones that will be shown."""
    stored = [maps.frame for maps in (meta.residual, meta.bits) if maps is not None]
    if not stored:
        return
    lacking = np.setdiff1d(rows, np.concatenate(stored))
    if len(lacking):
        raise CacheError(
            f"{name}: made with frames={meta.settings.get('frames')!r}, but {len(rows)} frames are to be shown and "
            f"{len(lacking)} of them are not in it (the first is row {lacking[0]}); ask for as many frames as it was "
            'made with, or extract it again with frames="all"'
        )
