"""A task for lmms-eval: questions about clips of this machine, listed in the file that CLIPS_QUESTIONS names."""

import os

data_file = os.environ["CLIPS_QUESTIONS"]


def to_visual(doc):
    return [doc["video"]]


def to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]


def score(doc, results):
    return {"accuracy": float(results[0].strip().lower() == doc["answer"])}


def accuracy(results):
    return sum(results) / len(results)
