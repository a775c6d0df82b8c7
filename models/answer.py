"""Prompts about one clip -> answers: what is known of an answer, and the one loop that `ask` and `eval` share.

Several questions about one clip share what they have in common. Exact: the same tokens enter the same layers as when
every question is asked alone. (Several rows at once may differ in the last bit of a float, as any change of batch size
does.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecmeta.compression import Plan, Session, Strategy, adapter_for, apply
from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.adapter import Adapter
from codecmeta.decisions.choose import Choice
from codecmeta.record.metadata import Metadata

STAGES = (
    "probe",
    "choose",
    "decode",
    "metadata",
    "preprocess",
    "vision",
    "strategy",
    "prefill",
    "first_token",
    "total",
)
"""The stages that are timed, in order."""


@dataclass(frozen=True)
class Answer:
    """What a model said about a video, and what it cost.

    text: the answer. question, model, method: what was asked of whom. budget: share of visual tokens that the method
    may let into the language model, None where that is an outcome. frames: pictures shown. tokens_full: visual tokens
    of the plain model. tokens_kept: those that entered the language model. tokens_llm_mean: visual tokens per layer,
    averaged. encoder_full, encoder_tokens: the same inside the vision encoder. newlines_full, newlines_kept: newline
    tokens of the plain model's video, and those of them that entered with the visual tokens; no budget and no other
    count holds them (those that METok puts in their place are among tokens_kept). kv_bytes: key-value cache after the
    prompt, measured, newlines and text included. query_agnostic: whether a method that is made to look at the question
    before the language model did without (METok where no text-image model has scored the frames). note: what has to be
    known beside the answer.

    choice: why these frames, where they were chosen.

    seconds: probe (packet table), choose (the frames, where a policy does; its own probe included), decode (pictures),
    metadata (what the codec's signals cost beyond decoding), preprocess (resizing, normalising, tokenising), vision
    (encoder and projector), strategy (planning and reducing, and what a text-image model does for it), prefill
    (language model over the prompt), first_token (from the start until the first token's scores, everything before
    included), total.
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
    choice: Choice | None = field(default=None, repr=False, compare=False)
    note: str = ""
    newlines_full: int = 0
    newlines_kept: int = 0
    trace: Trace | None = field(default=None, repr=False, compare=False)

    @property
    def share_kept(self) -> float:
        """Visual tokens that entered the language model / those of the plain model: what became of the budget."""
        return self.tokens_kept / self.tokens_full

    def as_dict(self) -> dict[str, Any]:
        """Everything but the plan and the trace, ready for JSON; `text` is called `answer`, the choice of frames
        `chosen`. Of the trace: when each frame is shown, and what became of the tokens."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        chosen = {} if self.choice is None else {"chosen": self.choice.as_dict()}
        share = {"share_kept": round(self.share_kept, 4)}
        seen = {} if self.trace is None else self.trace.as_dict()
        return {"answer": values.pop("text"), **values, **share, **seen, **chosen}


@dataclass(frozen=True)
class Trace:
    """What an answer was made from, for pictures of it. meta, rows: the metadata, and int64 (pictures,), the rows of
    its frame table that the model was shown. counts: int64 (T,), tokens that entered the language model by temporal
    position. kept: bool (T, tokens per frame), which places of the token grid they took. homes: int64 (T, tokens per
    frame), the place (frame * tokens per frame + raster number) whose token took in what was in each one, -1 where that
    was dropped."""

    meta: Metadata
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    kept: NDArray[np.bool_]
    homes: NDArray[np.int64]

    def as_dict(self) -> dict[str, Any]:
        """frames_of_video; times of the frames in seconds; tokens_folded, tokens that others took in."""
        return {
            "frames_of_video": len(self.meta.frames),
            "times": self.meta.frames.time[self.rows].round(3).tolist(),
            "tokens_folded": int((self.homes >= 0).sum() - self.kept.sum()),
        }


@dataclass(frozen=True)
class Clip:
    """The sampled pictures of a video as a model sees them, uint8 (T, height, width, 3), their rows in the frame table,
    int64 (T,), metadata of the video, and the seconds that reading took, by stage (see `codecmeta.read`).
    text_pictures: the same pictures as a text-image model sees them, where there is one. choice: why these frames,
    where they were chosen."""

    meta: Metadata
    rows: NDArray[np.int64]
    pictures: NDArray[np.uint8]
    seconds: dict[str, float]
    text_pictures: NDArray[np.uint8] | None = None
    choice: Choice | None = None

    @property
    def times(self) -> list[float]:
        """When each picture is shown, seconds."""
        times: list[float] = self.meta.frames.time[self.rows].tolist()
        return times

    @property
    def duration(self) -> float:
        """Of the whole video, seconds; where it is unknown, until its last frame is shown."""
        return float(self.meta.stream.duration_seconds or self.meta.frames.time[-1])

    @property
    def seconds_apart(self) -> float | None:
        """Mean distance of the pictures in time, None where there is but one."""
        times = self.meta.frames.time[np.unique(self.rows)]
        return float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None


@dataclass(frozen=True)
class Said:
    """text: the answer to one prompt. session: what its strategy did; that of the first prompt where several went
    together. first_token_at: `time.perf_counter()` when its first token was there. alone: seconds from the beginning of
    its block until then, None where the prompt shared work with another one. soft: the probability that the model gave
    to the first token of the right answer, where that was told."""

    text: str
    session: Session
    first_token_at: float
    alone: float | None
    soft: float | None = None


class Memory:
    """What the vision encoder made of one clip, for methods that leave it alone or merge the same patches."""

    def __init__(self) -> None:
        self._seen: dict[Any, tuple[Tensor, Any]] = {}

    def recall(self, session: Session, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The inputs, without pixels where the session can do with what was seen before."""
        key = session.encoding()
        if key is None:
            return inputs
        if key not in self._seen:
            session.remember = lambda *made: self._seen.__setitem__(key, made)
            return inputs
        session.recall(*self._seen[key])
        return {name: value for name, value in inputs.items() if name not in (names.PIXELS, names.PICTURES)}


def answer_all(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[dict[str, Tensor]],
    strategy: Strategy,
    clip: Clip,
    *,
    memory: Memory | None = None,
    timed: bool = True,
    max_new_tokens: int = 16,
    wanted: Sequence[int] | None = None,
) -> list[Said]:
    """Answer every prompt about one clip with the likeliest tokens.

    prompts: inputs of the stock model. wanted: the first token of the right answer to each. memory: of this clip.
    timed: let the first prompt share nothing, so that its seconds are those of a question asked alone; without it
    nothing has seconds. A model whose generation follows other rules than the likeliest token, or whose positions are
    no plain numbers, answers by its own `generate`, every prompt alone.
    """
    adapter = adapter_for(model)
    greedy = _is_greedy(model, adapter)
    shared = _shared_length(adapter, prompts, strategy) if greedy else 0
    said: list[Said] = []
    for number, inputs in enumerate(prompts):
        alone = not greedy or (timed and not said)
        start = perf_counter()
        with torch.inference_mode(), apply(model, strategy, clip.meta, frames=clip.rows) as session:
            if not greedy:
                ids, scores = names.generated(model, inputs, max_new_tokens)
                text = tokenizer.decode(ids[0, inputs[names.IDS].shape[1] :], skip_special_tokens=True).strip()
            else:
                given = inputs if alone or memory is None else memory.recall(session, inputs)
                output = names.ask(model, given, caching=True, last_scores=1)
                scores = names.scores_of(output)[:, -1]
                text = "" if shared else _continue(model, tokenizer, inputs, output, max_new_tokens)
        at = session.first_token_at or start
        since = at - start if alone else None
        if shared:
            texts, scores = _follow(model, tokenizer, adapter, prompts, output, shared, session, max_new_tokens)
            soft = _soft(scores, wanted)
            return [Said(one, session, at, None if n else since, soft[n]) for n, one in enumerate(texts)]
        said.append(Said(text, session, at, since, _soft(scores, wanted and wanted[number : number + 1])[0]))
    return said


def _soft(scores: Tensor, wanted: Sequence[int] | None) -> list[float | None]:
    """The probability of the wanted token of each row: scores (n, vocabulary), wanted (n,)."""
    if wanted is None:
        return [None] * len(scores)
    chances = scores.float().softmax(dim=-1)[range(len(wanted)), list(wanted)]
    return [round(chance, 6) for chance in chances.tolist()]


def _is_greedy(model: Any, adapter: Adapter) -> bool:
    """Is the model's answer the likeliest token again and again, and are its positions plain numbers?"""
    config = model.generation_config
    special = (config.repetition_penalty or 1) != 1 or config.no_repeat_ngram_size or config.suppress_tokens
    return not special and adapter.gapless


def _shared_length(adapter: Adapter, prompts: Sequence[dict[str, Tensor]], strategy: Strategy) -> int:
    """Tokens up to the end of the video, if several prompts are the same there and the strategy looks no further; 0
    where the model attends in windows, which count the padding behind shorter prompts, too."""
    if (
        len(prompts) < 2
        or not adapter.gapped
        or strategy.preferring(adapter.preferences).inside(len(adapter.layers)) is not None
    ):
        return 0
    ids = [inputs[names.IDS][0] for inputs in prompts]
    end = int((ids[0] == adapter.video_token).nonzero()[-1]) + 1
    return end if all(torch.equal(one[:end], ids[0][:end]) for one in ids) else 0


def _continue(model: Any, tokenizer: Any, inputs: dict[str, Tensor], output: Any, longest: int) -> str:
    """Answer after a prompt has passed, while its strategy is still applied."""
    mask = inputs[names.MASK]
    after = torch.full((1,), mask.shape[1], device=mask.device)
    scores = names.scores_of(output)[:, -1]
    return _spell(model, tokenizer, scores, names.cache_of(output), mask, after, longest)[0]


@torch.inference_mode()
def _follow(
    model: Any,
    tokenizer: Any,
    adapter: Adapter,
    prompts: Sequence[dict[str, Tensor]],
    output: Any,
    shared: int,
    session: Session,
    longest: int,
) -> tuple[list[str], Tensor]:
    """Answer all prompts in one batch, after the video that they share; also the scores of the first tokens.

    output: of the first prompt, in whose cache the first `shared` tokens of all prompts were shortened.
    """
    cache = names.cache_of(output)
    texts = [inputs[names.IDS][0, shared:] for inputs in prompts]
    held = names.tokens_in(cache) - len(texts[0])
    begin = shared if session.keep_ids else held
    names.drop_last(cache, len(texts[0]))
    names.repeat(cache, len(texts))
    lengths = torch.tensor([len(text) for text in texts], device=texts[0].device)
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=tokenizer.pad_token_id or 0)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    mask = torch.cat((mask.new_ones(len(texts), held), mask), dim=1).long()
    positions = begin + torch.arange(ids.shape[1], device=ids.device).expand(len(texts), -1)
    output = names.ask(model, ids=ids, mask=mask, positions=positions, cache=cache, caching=True)
    scores = names.scores_of(output)[torch.arange(len(texts)), lengths - 1]
    return _spell(model, tokenizer, scores, cache, mask, begin + lengths, longest), scores


def _spell(
    model: Any, tokenizer: Any, scores: Tensor, cache: Any, mask: Tensor, after: Tensor, longest: int
) -> list[str]:
    """The likeliest token again and again: the one loop.

    scores: (n, vocabulary), of the first new tokens. cache, mask: of what stands before them, mask int64 (n, tokens).
    after: int64 (n,), positions of the first new tokens.
    """
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends]) - {None}
    answers: list[list[int]] = [[] for _ in scores]
    done = [False] * len(answers)
    for step in range(longest):
        chosen = scores.argmax(dim=-1)
        for number, token in enumerate(chosen.tolist()):
            done[number] = done[number] or token in ends
            answers[number] += [] if done[number] else [token]
        if all(done) or step == longest - 1:
            break
        mask = torch.cat((mask, mask.new_ones(len(answers), 1)), dim=1)
        new = (after + step)[:, None]
        output = names.ask(model, ids=chosen[:, None], mask=mask, positions=new, cache=cache, caching=True)
        scores = names.scores_of(output)[:, -1]
    return [tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers]
