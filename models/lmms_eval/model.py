"""The class that lmms-eval builds from `--model_args` and hands its requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from tqdm import tqdm

from codecmeta.compression.engine import transformers_names as names
from codecmeta.errors import CacheError, VideoError
from codecmeta.models.answer import Answer, Clip
from codecmeta.models.evaluation.chance import for_video
from codecmeta.models.lmms_eval.arguments import read_arguments
from codecmeta.models.lmms_eval.requests import Question, by_video, read_request
from codecmeta.models.lmms_eval.statistics import Statistics, seconds_of
from codecmeta.models.text_image import load_text_image


class Chat(lmms):
    """The harness's chat form: a task's messages hold the question and one video.

    Every video is read once per rank, whatever the order of the requests, the first one once more to warm up; every
    question is asked alone, so that its seconds are those of a user who asks one.
    """

    is_simple = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.arguments = read_arguments(arguments)
        self.strategy = self.arguments.strategy()
        self.video_model = self.arguments.load()
        self._device = self.video_model.model.device
        self.text_model = None
        if self.arguments.text_model is not None:
            self.text_model = load_text_image(self.arguments.text_model, self._device)
        self._warm = False

    @property
    def device(self) -> torch.device:
        """Where this rank computes; the harness gathers counts there."""
        return self._device

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Answers, in the order of the requests. Raises ValueError where one of them shows no video, before any is
        answered, unless unreadable=empty."""
        questions = [
            read_request(one, self.task_dict, self.is_simple, self.arguments.max_new_tokens) for one in requests
        ]
        odd = [one for one in questions if one.problem]
        if odd and self.arguments.unreadable == "stop":
            raise ValueError(
                f"{len(odd)} of {len(questions)} questions show no video that can be read (unreadable=empty leaves "
                f"them without answers); the first is {odd[0].task}, {odd[0].doc_id}: {odd[0].problem}"
            )
        statistics = Statistics(self.arguments.stats, self.rank)
        results: dict[tuple[Any, ...], GenerationResult] = {}
        try:
            with tqdm(total=sum(not one.padding for one in questions), disable=self.rank != 0, desc="codecmeta") as bar:
                for video, together in by_video(questions).items():
                    self._answer_all(video, together, results, statistics)
                    bar.update(len(together))
        finally:
            statistics.close()
        tokens, seconds = sum(row["tokens_generated"] for row in statistics.rows), seconds_of(statistics.rows)
        log_metrics(seconds, tokens, tokens / seconds if seconds else 0.0, {"rank": self.rank, **statistics.means()})
        # padding of a rank repeats its last question; where another rank has that one, nobody reads the answer
        return [results.get(one.asks, GenerationResult("", TokenCounts(output_tokens=0))) for one in questions]

    def _answer_all(
        self,
        video: str | None,
        together: Sequence[Question],
        results: dict[tuple[Any, ...], GenerationResult],
        statistics: Statistics,
    ) -> None:
        """Answer all questions about one video."""
        clip: Clip | None = None
        for one in together:
            answer, problem = None, one.problem
            if video is not None:
                try:
                    if not self._warm:  # compiling and starting count for nobody
                        self._ask(video, one, self._clip(video, one), 1)
                        self._warm = True
                    if clip is None or self.arguments.choose == "query":
                        clip = self._clip(video, one)
                    answer = self._ask(video, one, clip, one.longest)
                except (VideoError, CacheError) as error:
                    if self.arguments.unreadable == "stop":
                        raise
                    problem = " ".join(str(error).split())
            text = "" if answer is None else answer.text
            count = len(self.video_model.tokenizer(text, add_special_tokens=False)[names.IDS])
            statistics.add(one, answer, count, problem)
            for stop in one.until:
                text = text.split(stop)[0]
            results[one.asks] = GenerationResult(text, TokenCounts(output_tokens=count))

    def _clip(self, video: str, question: Question) -> Clip:
        return self.video_model.clip(
            video,
            self.arguments.frames,
            choose=self.arguments.choose,
            question=question.query,
            text_model=self.text_model,
        )

    def _ask(self, video: str, question: Question, clip: Clip, longest: int) -> Answer:
        return self.video_model.ask(
            video,
            question.text,
            strategy=for_video(self.strategy, Path(video)),
            choose=self.arguments.choose,
            max_new_tokens=longest,
            text_model=self.text_model,
            clip=clip,
        )

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Not served: the tasks of docs/lmms_eval.md all generate."""
        raise NotImplementedError("codecmeta answers generate_until tasks; take the task's generating twin")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[Any]:
        """Not served: a compressed video answers one question at a time here."""
        raise NotImplementedError("codecmeta answers generate_until tasks of one round")


class Simple(Chat):
    """The harness's simple form (`--force_simple`): the task's text and its list of visuals."""

    is_simple = True
