"""Several questions about one clip, answered by one method, and what each answer took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from codecmeta.compression import Strategy
from codecmeta.models.answer import Clip, Memory, Said, answer_all
from codecmeta.models.text_image import TextImage
from codecmeta.models.video_model import VideoModel


@dataclass(frozen=True)
class Reply:
    """An answer, the tokens that it took (see `codecmeta.models.answer.Answer`), and for questions that shared nothing
    with others the seconds of every stage. soft: the probability that the model gave to the first token of the right
    answer; None in files of answers that are older."""

    text: str
    tokens_full: int
    tokens_kept: int
    tokens_llm_mean: float
    encoder_full: int
    encoder_tokens: int
    kv_bytes: int
    seconds: dict[str, float] | None = None
    soft: float | None = None


class Asked:
    """Some prompts about one clip, ready for a model. seconds: what preparing one took. answers: the right ones, as the
    dataset writes them."""

    def __init__(
        self, model: VideoModel, clip: Clip, prompts: Sequence[str], answers: Sequence[str] | None = None
    ) -> None:
        self.clip = clip
        self.wanted = None if answers is None else [model.first_token(answer) for answer in answers]
        self.memory = Memory()
        start = perf_counter()
        self.inputs = [
            model.inputs(clip.pictures, prompt, clip.times, seconds=clip.seconds_apart, duration=clip.duration)
            for prompt in prompts
        ]
        self.seconds = (perf_counter() - start) / len(prompts)


def replies_to(
    model: VideoModel,
    asked: Asked,
    strategy: Strategy,
    *,
    only: int | None = None,
    timed: bool = False,
    max_new_tokens: int = 16,
) -> list[Reply]:
    """Answer every prompt about one clip, as `VideoModel.ask` does.

    only: the number of the one prompt to answer. timed: let the first prompt share nothing, so that its seconds are
    those of a question asked alone; without it nothing has seconds. Prompts that go together in one batch report the
    tokens and bytes of the first one.
    """
    said = answer_all(
        model.model,
        model.tokenizer,
        asked.inputs if only is None else [asked.inputs[only]],
        strategy,
        asked.clip,
        memory=asked.memory,
        timed=timed,
        max_new_tokens=max_new_tokens,
        wanted=asked.wanted if only is None or asked.wanted is None else [asked.wanted[only]],
    )
    return [_reply(one, asked) for one in said]


def replies_by_scores(
    model: VideoModel,
    asked: Asked,
    strategy: Strategy,
    questions: Sequence[str],
    text_model: TextImage,
    *,
    timed: bool = False,
    max_new_tokens: int = 16,
) -> list[Reply]:
    """The same where every question makes METok another method: by how well it fits the pictures (`VideoModel.scored`).

    What scoring took counts as the strategy's seconds, for the first question with the pass over the pictures.
    """
    replies = []
    for number, question in enumerate(questions):
        alone = timed and not number
        if alone:
            text_model.forget()
        start = perf_counter()
        scored = model.scored(strategy, asked.clip, question, text_model)
        spent = perf_counter() - start
        reply = replies_to(model, asked, scored, only=number, timed=alone, max_new_tokens=max_new_tokens)[0]
        if reply.seconds:
            more = {name: round(reply.seconds[name] + spent, 6) for name in ("strategy", "first_token")}
            reply = replace(reply, seconds=reply.seconds | more)
        replies.append(reply)
    return replies


def _reply(said: Said, asked: Asked) -> Reply:
    session, seconds = said.session, None
    if said.alone is not None:
        read = dict(asked.clip.seconds)
        if not session.strategy.needs_metadata:
            read["metadata"] = 0.0
        own = {"preprocess": read.pop("transform") + asked.seconds, **session.seconds}
        seconds = read | own | {"first_token": sum(read.values()) + own["preprocess"] + said.alone}
        seconds = {name: round(value, 6) for name, value in seconds.items()}
    return Reply(
        text=said.text,
        tokens_full=session.tokens_full,
        tokens_kept=session.tokens_kept,
        tokens_llm_mean=round(float(np.mean(session.layer_tokens)), 3),
        encoder_full=session.encoder_full,
        encoder_tokens=session.encoder_tokens,
        kv_bytes=session.kv_bytes,
        seconds=seconds,
        soft=said.soft,
    )
