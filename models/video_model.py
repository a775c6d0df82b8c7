"""A loaded model, and a question about a video -> an answer with everything that was spent on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import codecmeta
from codecmeta.cache.recognise import check_video
from codecmeta.compression import Metok, Plain, Session, Strategy, adapter_for, make
from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.container.source import Medium, Source, opened
from codecmeta.decisions.choose import Choice
from codecmeta.decoding.pictures import read_pictures
from codecmeta.errors import CacheError, VideoError
from codecmeta.models.answer import STAGES, Answer, Clip, Trace, answer_all
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.models.text_image import TextImage
from codecmeta.record.metadata import Metadata
from codecmeta.record.selection import Policy, sample_rows


class VideoModel:
    """A model with its tokenizer, preprocessing and prompt format. Made by `codecmeta.models.load`.

    model: the stock transformers model, unchanged. name: what it was loaded as. note: question -> what has to be known
    beside the answer.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        tokenizer: Any,
        preprocessing: Preprocessing,
        chat_template: str,
        note: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer = tokenizer
        self.preprocessing = preprocessing
        self.note = note
        self.adapter = adapter_for(model)
        self.chat_template = self.adapter.template or chat_template
        if self.adapter.told:  # as transformers' processor does
            tokenizer.add_tokens([self.adapter.told], special_tokens=True)

    def ask(
        self,
        video: Source,
        question: str,
        *,
        strategy: Strategy | str | None = None,
        frames: int | Choice | None = None,
        choose: Policy | None = None,
        jobs: int | None = None,
        max_new_tokens: int = 64,
        meta: Metadata | str | PathLike[str] | None = None,
        text_model: TextImage | None = None,
        clip: Clip | None = None,
    ) -> Answer:
        """Answer a question about a video: a path, an http(s) address, bytes or an open binary file.

        >>> model.ask("clip.mp4", "How many objects are there?", strategy="metom").tokens_kept
        128

        strategy: a method's name or a strategy with options; default: the plain model. frames: how many pictures are
        shown, or a `Choice` of them; default: what the checkpoint was made for, else 16. choose: the policy that picks
        them, see `codecmeta.choose_frames`; for "query" a text_model is needed; default: see `usual_policy`. jobs:
        workers, by default all cores. max_new_tokens: longest answer. The answer is the most likely one (greedy). meta:
        the video's metadata or its cache file, where they were extracted before; only the pictures are then read from
        the video. text_model: from `codecmeta.models.load_text_image`, tells METok how well each frame fits the
        question; its time counts as the strategy's. clip: what `clip` read of this video before, for several methods or
        questions; what reading took then counts in every answer.

        Raises VideoError for files that cannot be read, CacheError for metadata of another video or of other frames,
        ValueError for what the method cannot do.
        """
        if not question.strip():
            raise ValueError("the question is empty; ask something about the video")
        chosen = make(strategy) if isinstance(strategy, str) else strategy or Plain()
        start = perf_counter()
        by_query = choose == "query" or (clip is not None and clip.choice is not None and clip.choice.policy == "query")
        helped = text_model is not None and (isinstance(chosen, Metok) or not by_query)
        covered = (replace(scorable(chosen), frame_scores=()) if helped else chosen).needs_metadata
        shared = clip is not None
        clip = clip or self.clip(
            video,
            frames,
            choose=choose,
            question=question,
            jobs=jobs,
            meta=meta,
            covered=covered,
            text_model=text_model,
        )
        seconds = dict(clip.seconds)
        shown = perf_counter()
        inputs = self.inputs(clip.pictures, question, clip.times, seconds=clip.seconds_apart, duration=clip.duration)
        ready = perf_counter()
        resized = seconds.pop("transform")
        seconds["preprocess"] = resized + ready - shown
        if text_model is not None and helped:
            chosen = self.scored(chosen, clip, question, text_model)
        scoring = perf_counter() - ready
        said = answer_all(self.model, self.tokenizer, [inputs], chosen, clip, max_new_tokens=max_new_tokens)[0]
        session = said.session
        seconds |= session.seconds
        seconds["strategy"] += scoring
        if shared and not session.strategy.needs_metadata:
            seconds["metadata"] = 0.0  # read for another method
        reading = ("probe", "choose", "decode", "metadata")
        before = sum(seconds[name] for name in reading) + resized if shared else 0.0
        seconds["first_token"] = before + said.first_token_at - start
        seconds["total"] = before + perf_counter() - start
        return self._answer(said.text, question, chosen, session, seconds, clip)

    def clip(
        self,
        video: Source,
        frames: int | Choice | None = None,
        *,
        choose: Policy | None = None,
        question: str | None = None,
        jobs: int | None = None,
        meta: Metadata | str | PathLike[str] | None = None,
        covered: bool = True,
        text_model: TextImage | None = None,
    ) -> Clip:
        """Read the pictures of a video that `ask` would show, and their metadata; arguments as there. covered: whether
        metadata that is given must hold maps of these pictures."""
        with opened(video) as medium:  # what is fetched for the choice is not fetched again
            return self._clip(medium, frames, choose, question, jobs, meta, covered, text_model)

    def _clip(
        self,
        video: Medium,
        frames: int | Choice | None,
        choose: Policy | None,
        question: str | None,
        jobs: int | None,
        meta: Metadata | str | PathLike[str] | None,
        covered: bool,
        text_model: TextImage | None,
    ) -> Clip:
        start = perf_counter()
        known = meta if meta is None or isinstance(meta, Metadata) else _cached(meta, video)
        loading = perf_counter() - start
        choose = choose or usual_policy(self.adapter, known)
        choice = frames if isinstance(frames, Choice) else None
        count = 0 if isinstance(frames, Choice) else frames or self.preprocessing.num_frames or 16
        picked: dict[str, float] = {}
        own, limits = self.preprocessing, self.adapter.pixel_limits
        sized_together = own.of_clip(2, limits) != own  # then how many there are is asked first
        if choice is None and (choose != "uniform" or sized_together):
            whole = known is not None and known.settings.get("frames") == "all" and choose != "query"
            source = known if known is not None and whole else video
            choice = codecmeta.choose_frames(
                source, count, policy=choose, question=question, scorer=text_model, seconds=picked
            )
        if choice is not None:
            own = own.of_clip(len(choice.rows) + -len(choice.rows) % self.adapter.pictures, limits)
        sizes = [own, *([text_model.preprocessing] if text_model else [])]

        def resize(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
            return [one.resize(picture) for one in sizes]

        seconds: dict[str, float] = {}
        if known is None:
            known, rows, pictures = codecmeta.read(video, choice or count, transform=resize, jobs=jobs, seconds=seconds)
            choice = choice and choice.among(known.frames)
        else:
            choice = choice and choice.among(known.frames)
            rows = sample_rows(known.frames.time, count) if choice is None else choice.rows
            if covered:
                name = "the metadata" if isinstance(meta, Metadata) else fspath(meta or "")
                _check_covered(known, rows, name, choice.policy if choice else choose)
            seconds["metadata"] = loading
            pictures = read_pictures(video, known, rows, transform=resize, jobs=jobs, seconds=seconds)
        if spare := -len(rows) % self.adapter.pictures:  # an incomplete last group is filled up with its last picture
            rows, pictures = np.append(rows, [rows[-1]] * spare), [*pictures, *[pictures[-1]] * spare]
        shown, *others = (np.stack(each) for each in zip(*pictures, strict=True))
        seconds["choose"] = sum(picked.values())
        return Clip(known, rows, shown, seconds, others[0] if others else None, choice)

    def prompt(self, question: str) -> str:
        """The chat template around a question about a video, with one placeholder for the video."""
        content = [{"type": "video"}, {"type": "text", "text": question}]
        return self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )

    def first_token(self, answer: str) -> int:
        """The number of the token that an answer begins with, right behind the prompt."""
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False)[names.IDS]
        return ids[0]

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

    def inputs(
        self,
        pictures: NDArray[np.uint8],
        question: str,
        times: Sequence[float] | None = None,
        *,
        seconds: float | None = None,
        duration: float | None = None,
    ) -> dict[str, Tensor]:
        """What the stock model's generate() takes: uint8 (T, height, width, 3) and a question -> tensors. times:
        seconds, when each picture is shown, for models whose prompts say so. seconds: between two pictures, for models
        that place them in time (Qwen2.5-VL). duration: of the whole video, seconds, for models whose prompts say so.
        Pictures of another size than the model's only one are resized."""
        own = self.preprocessing
        if own.height and pictures.shape[1:3] != (own.height, own.width):
            pictures = np.stack([own.resize(one) for one in pictures])
        video, placeholders = self.adapter.inputs(self.preprocessing.normalise(pictures))
        placeholder = self.adapter.mark or self.tokenizer.convert_ids_to_tokens(self.adapter.video_token)
        prompt = self.prompt(question)
        if prompt.count(placeholder) != 1:
            raise ValueError(f"the prompt holds {prompt.count(placeholder)} {placeholder}, expected one: {prompt!r}")
        if self.adapter.spelled:
            token = self.tokenizer.convert_ids_to_tokens
            prompt = prompt.replace(placeholder, self.adapter.placeholders(placeholders, times, token, duration))
            ids = self.tokenizer(prompt, return_tensors="pt")[names.IDS]
        else:
            prompt = prompt.replace(placeholder, placeholder + self.adapter.beside(times, duration))
            pieces = [self.tokenizer(piece)[names.IDS] for piece in prompt.split(placeholder)]
            ids = torch.tensor([[*pieces[0], *[self.adapter.video_token] * placeholders, *pieces[1]]])
        video[self.adapter.pixels] = video[self.adapter.pixels].to(self.model.dtype)
        types = names.token_types(self.model, ids, self.adapter.video_token)
        step = names.grid_seconds(self.model, None if seconds is None else seconds * self.adapter.pictures)
        inputs = {names.IDS: ids, names.MASK: torch.ones_like(ids), **types, **step, **video}
        return {name: value.to(self.model.device) for name, value in inputs.items()}

    def _answer(
        self,
        text: str,
        question: str,
        strategy: Strategy,
        session: Session,
        seconds: dict[str, float],
        clip: Clip,
    ) -> Answer:
        assert session.counts is not None and session.kept is not None and session.homes is not None
        return Answer(
            text=text,
            question=question,
            model=self.name,
            method=strategy.name,
            budget=1.0 if isinstance(strategy, Plain) else getattr(strategy, "budget", None),
            frames=len(clip.rows),
            tokens_full=session.tokens_full,
            tokens_kept=session.tokens_kept,
            tokens_llm_mean=float(np.mean(session.layer_tokens)),
            encoder_full=session.encoder_full,
            encoder_tokens=session.encoder_tokens,
            kv_bytes=session.kv_bytes,
            query_agnostic=strategy.query_agnostic,
            seconds={name: round(seconds[name], 6) for name in STAGES},
            plan=session.plan,
            note="" if self.note is None else self.note(question),
            choice=clip.choice,
            newlines_full=0 if session.plan is None else session.plan.layout.separators,
            newlines_kept=session.newlines_kept,
            trace=Trace(clip.meta, clip.rows, session.counts, session.kept, session.homes),
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


def _cached(cache: str | PathLike[str], video: Medium) -> Metadata:
    """The metadata in a cache file, which must be this video's."""
    if isinstance(video, Path) and not video.is_file():
        raise VideoError(f"{video}: no such file; pass the path of a video file")
    check_video(Path(cache), video)
    return codecmeta.load(cache)


def usual_policy(adapter: Adapter, meta: Metadata | None = None) -> Policy:
    """How frames are chosen where nobody says how: "events"; but "uniform" for a model that takes them to be equally
    far apart (Qwen2.5-VL, LLaVA-Video's prompt); and of metadata that hold chosen frames only, as those were chosen."""
    asked = "all" if meta is None else meta.settings.get("frames")
    if asked != "all":
        policy: Policy = asked.get("policy", "uniform") if isinstance(asked, dict) else "uniform"
        return policy
    return "uniform" if adapter.even else "events"


def _check_covered(meta: Metadata, rows: NDArray[np.int64], name: str, policy: Policy) -> None:
    """Raise CacheError where signals are stored for other frames than the ones that will be shown."""
    stored = [maps.frame for maps in (meta.residual, meta.bits) if maps is not None]
    if not stored:
        return
    lacking = np.setdiff1d(rows, np.concatenate(stored))
    if len(lacking):
        asked = meta.settings.get("frames")
        number, how = (
            (asked["frames"], asked["policy"]) if isinstance(asked, dict) and "policy" in asked else (asked, "uniform")
        )
        raise CacheError(
            f"{name}: made with frames={number!r} ({how}), but {len(rows)} frames ({policy}) are to be shown and "
            f"{len(lacking)} of them are not in it (the first is row {lacking[0]}); ask for as many frames, chosen the "
            'same way, as it was made with, or extract it again with frames="all" (--frames all)'
        )
