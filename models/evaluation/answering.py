"""Several questions about one clip, answered by one method; what they have in common is computed once.

Exact: the same tokens enter the same layers as when every question is asked alone. (Several rows at once may differ in
the last bit of a float, as any change of batch size does.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codecmeta.compression import Plain, Session, Strategy, apply
from codecmeta.compression.engine import transformers_names as names
from codecmeta.models.video_model import Clip, VideoModel


@dataclass(frozen=True)
class Reply:
    """An answer, the tokens that it took (see `codecmeta.models.video_model.Answer`), and for questions that shared
    nothing with others the seconds of every stage."""

    text: str
    tokens_full: int
    tokens_kept: int
    tokens_llm_mean: float
    encoder_full: int
    encoder_tokens: int
    kv_bytes: int
    seconds: dict[str, float] | None = None


class Vision:
    """Remembers what the vision encoder made of one clip, for methods that leave it alone or merge the same patches."""

    def __init__(self, model: VideoModel) -> None:
        self.modules = list(dict.fromkeys(model.adapter.vision))
        self.seen: dict[tuple[Any, ...], list[Any]] = {}
        with apply(model.model, Plain()):
            self.hooks = self._count()

    @contextmanager
    def remembering(self, session: Session) -> Iterator[None]:
        """Within the block, a pass that was made before is not made again."""
        plan, strategy = session.plan, session.strategy
        if plan is None or self._count() != self.hooks:  # not planned yet, or hooks that have to see every pass
            yield
            return
        merged = b"" if plan.regions is None else plan.regions.tobytes()
        how = () if plan.regions is None else (getattr(strategy, "pos", ""), getattr(strategy, "proportional", ""))
        seen = self.seen.setdefault((merged, *how), [None] * len(self.modules))
        for number, module in enumerate(self.modules):
            module.forward = self._once(module.forward, seen, number)
        try:
            yield
        finally:
            for module in self.modules:
                del module.forward

    @staticmethod
    def _once(forward: Any, seen: list[Any], number: int) -> Any:
        def once(*args: Any, **kwargs: Any) -> Any:
            if seen[number] is None:
                seen[number] = forward(*args, **kwargs)
            return seen[number]

        return once

    def _count(self) -> int:
        """Hooks inside the encoder and the projector."""
        parts: list[nn.Module] = [part for module in self.modules for part in module.modules()]
        return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parts)


class Asked:
    """Some prompts about one clip, ready for a model. seconds: what preparing one took."""

    def __init__(self, model: VideoModel, clip: Clip, prompts: Sequence[str]) -> None:
        self.clip = clip
        self.vision = Vision(model)
        start = perf_counter()
        self.inputs = [model.inputs(clip.pictures, prompt) for prompt in prompts]
        self.seconds = (perf_counter() - start) / len(prompts)


def answer_all(
    model: VideoModel, asked: Asked, strategy: Strategy, *, timed: bool = False, max_new_tokens: int = 16
) -> list[Reply]:
    """Answer every prompt about one clip, as `VideoModel.ask` does.

    timed: let the first prompt share nothing, so that its seconds are those of a question asked alone; without it
    nothing has seconds. Prompts that go together in one batch report the tokens and bytes of the first one.
    """
    if not _greedy(model):
        return [_generate(model, asked, inputs, strategy, max_new_tokens) for inputs in asked.inputs]
    shared = _shared_length(model, asked, strategy)
    replies: list[Reply] = []
    for inputs in asked.inputs:
        vision = None if timed and not replies else asked.vision
        with _session(model, asked, strategy, vision) as (session, start):
            output = names.ask(model.model, inputs, caching=True)
            text = "" if shared else _continue(model, inputs, output, max_new_tokens)
        replies.append(_reply(text, asked, session, None if vision else (session.first_token_at or start) - start))
        if shared:
            texts = _follow(model, asked, names.cache_of(output), shared, strategy, max_new_tokens)
            return [replace(replies[0], text=texts[0]), *(replace(replies[0], text=t, seconds=None) for t in texts[1:])]
    return replies


@contextmanager
def _session(
    model: VideoModel, asked: Asked, strategy: Strategy, vision: Vision | None
) -> Iterator[tuple[Session, float]]:
    """The strategy at work, and when it began."""
    start = perf_counter()
    with torch.inference_mode(), apply(model.model, strategy, asked.clip.meta, frames=asked.clip.rows) as session:
        with vision.remembering(session) if vision else nullcontext():
            yield session, start


def _reply(text: str, asked: Asked, session: Session, alone: float | None) -> Reply:
    """alone: seconds until the first token, of a question that shared nothing."""
    seconds = None
    if alone is not None:
        read = dict(asked.clip.seconds)
        if not session.strategy.needs_metadata:
            read["metadata"] = 0.0
        own = {"preprocess": read.pop("transform") + asked.seconds, **session.seconds}
        seconds = read | own | {"first_token": sum(read.values()) + own["preprocess"] + alone}
        seconds = {name: round(value, 6) for name, value in seconds.items()}
    return Reply(
        text=text,
        tokens_full=session.tokens_full,
        tokens_kept=session.tokens_kept,
        tokens_llm_mean=round(float(np.mean(session.layer_tokens)), 3),
        encoder_full=session.encoder_full,
        encoder_tokens=session.encoder_tokens,
        kv_bytes=session.kv_bytes,
        seconds=seconds,
    )


def _generate(
    model: VideoModel, asked: Asked, inputs: dict[str, Tensor], strategy: Strategy, max_new_tokens: int
) -> Reply:
    """For models whose answers follow other rules than the likeliest token: every question alone, nothing shared."""
    with _session(model, asked, strategy, None) as (session, start):
        ids = model.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    text = model.tokenizer.decode(ids[0, inputs[names.IDS].shape[1] :], skip_special_tokens=True).strip()
    return _reply(text, asked, session, (session.first_token_at or start) - start)


def _greedy(model: VideoModel) -> bool:
    """Is the model's answer the likeliest token again and again, and are its positions plain numbers?"""
    config = model.model.generation_config
    special = (config.repetition_penalty or 1) != 1 or config.no_repeat_ngram_size or config.suppress_tokens
    return not special and model.adapter.gapless


def _shared_length(model: VideoModel, asked: Asked, strategy: Strategy) -> int:
    """Tokens up to the end of the video, if there all prompts are the same and the strategy does not look further."""
    if strategy.preferring(model.adapter.preferences).inside(len(model.adapter.layers)) is not None:
        return 0
    ids = [inputs[names.IDS][0] for inputs in asked.inputs]
    end = int((ids[0] == model.adapter.video_token).nonzero()[-1]) + 1
    return end if all(torch.equal(one[:end], ids[0][:end]) for one in ids) else 0


def _continue(model: VideoModel, inputs: dict[str, Tensor], output: Any, longest: int) -> str:
    """Greedy answer after a prompt has passed, while its strategy is still applied."""
    ends, answer = _ends(model), []
    mask = inputs[names.MASK]
    while (token := int(names.scores_of(output)[0, -1].argmax())) not in ends:
        answer.append(token)
        if len(answer) == longest:
            break
        position = mask.shape[1]
        mask = torch.cat((mask, mask.new_ones(1, 1)), dim=1)
        output = names.ask(
            model.model,
            ids=mask.new_tensor([[token]]),
            mask=mask,
            positions=mask.new_tensor([[position]]),
            cache=names.cache_of(output),
            caching=True,
        )
    return model.tokenizer.decode(answer, skip_special_tokens=True).strip()


@torch.inference_mode()
def _follow(model: VideoModel, asked: Asked, cache: Any, shared: int, strategy: Strategy, longest: int) -> list[str]:
    """Greedy answers to all prompts in one batch, after the video that they share.

    cache: of the first prompt, in which the first `shared` tokens of all prompts were shortened.
    """
    texts = [inputs[names.IDS][0, shared:] for inputs in asked.inputs]
    held = names.tokens_in(cache) - len(texts[0])
    keep_ids = strategy.preferring(model.adapter.preferences).keep_ids
    begin = shared if (model.adapter.keep_ids if keep_ids is None else keep_ids) else held
    names.drop_last(cache, len(texts[0]))
    names.repeat(cache, len(texts))
    lengths = torch.tensor([len(text) for text in texts], device=model.model.device)
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=model.tokenizer.pad_token_id or 0)
    mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
    mask = torch.cat((mask.new_ones(len(texts), held), mask), dim=1)
    positions = begin + torch.arange(ids.shape[1], device=ids.device).expand(len(texts), -1)
    ends, at = _ends(model), lengths - 1
    answers: list[list[int]] = [[] for _ in texts]
    done = [False] * len(texts)
    for step in range(longest):
        output = names.ask(model.model, ids=ids, mask=mask.long(), positions=positions, cache=cache, caching=True)
        chosen = names.scores_of(output)[torch.arange(len(texts)), at].argmax(dim=-1)
        for number, token in enumerate(chosen.tolist()):
            done[number] = done[number] or token in ends
            answers[number] += [] if done[number] else [token]
        if all(done):
            break
        ids, at = chosen[:, None], torch.zeros_like(lengths)
        mask = torch.cat((mask, mask.new_ones(len(texts), 1)), dim=1)
        positions = (begin + lengths + step)[:, None]
    return [model.tokenizer.decode(answer, skip_special_tokens=True).strip() for answer in answers]


def _ends(model: VideoModel) -> set[int]:
    """Tokens that end an answer."""
    ends = model.model.generation_config.eos_token_id
    return set(ends if isinstance(ends, list) else [ends]) - {None}
