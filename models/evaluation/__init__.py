"""Methods compared on a dataset of questions about videos: what each costs in answers, in tokens and in seconds."""

from codecmeta.models.evaluation.dataset import BadRow, DatasetRow, read_dataset
from codecmeta.models.evaluation.matching import Split, match_tokens
from codecmeta.models.evaluation.report import markdown, summarise_replies
from codecmeta.models.evaluation.runner import Answers, evaluate
from codecmeta.models.evaluation.settings import Setting, make_settings

__all__ = [
    "Answers",
    "BadRow",
    "DatasetRow",
    "Setting",
    "Split",
    "evaluate",
    "make_settings",
    "markdown",
    "match_tokens",
    "read_dataset",
    "summarise_replies",
]
