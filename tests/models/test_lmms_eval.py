"""lmms-eval: its real evaluator where it is installed, and everywhere a stand-in with its names and signatures."""

import importlib
import json
import os
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from codecmeta.errors import VideoError  # noqa: E402
from codecmeta.models import load  # noqa: E402
from codecmeta.models.evaluation import Answers, evaluate, make_settings, read_dataset  # noqa: E402
from codecmeta.models.lmms_eval import manifests  # noqa: E402
from codecmeta.models.lmms_eval.arguments import read_arguments  # noqa: E402
from codecmeta.models.lmms_eval.requests import Question  # noqa: E402
from tests.support.clips import real_clip  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {"pretrained": "small", "method": "metom", "budget": 0.3, "choose": "events"}
ASKED = [  # videos in turn: an order in which every video would be read several times
    ("shapes.mp4", "What colour is the cross?", "blue"),
    ("arrivals.mp4", "Which way does the blue square go?", "down"),
    ("openh264_cabac_bframes.264", "How many objects does the video show?", "one"),
    ("shapes.mp4", "How many objects does the video show?", "three"),
    ("vpng_vp9.mp4", "What is the shape of the red object?", "square"),
    ("arrivals.mp4", "Which is seen first, the purple object or the blue object?", "blue"),
    ("openh264_cabac_bframes.264", "What is the shape of the red object?", "square"),
]


def questions(folder):
    """The same questions for `codecmeta eval` and for the task in tests/support/lmms_task: rows, and the two files."""
    rows = []
    for name, question, answer in ASKED:
        sample = ROOT / "data_samples" / name
        rows.append({"video": str(sample if sample.is_file() else real_clip(name)), "question": question})
        rows[-1]["answer"] = answer
    rows.append({**rows[0], "options": ["blue", "red"], "answer": "A"})
    own, theirs = folder / "own.jsonl", folder / "theirs.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked, _ = read_dataset(own)
    lines = [{"video": str(row.video), "prompt": row.prompt, "answer": row.answer} for row in asked]
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return asked, theirs


def own_replies(rows, arguments):
    """What `codecmeta eval` answers, by the place of the question."""
    _, setting = make_settings([arguments["method"]], [arguments["budget"]])
    answers = Answers()
    assert evaluate(load(arguments["pretrained"]), rows, [setting], answers, choose=arguments["choose"]) == []
    return [answers.replies[setting.keys[0], row.id] for row in rows]


def same(row, reply):
    """Whether both took the same. Answers that went together have the bytes of the first one."""
    taken = [row["answer"], row["tokens_full"], row["tokens_kept"], round(row["tokens_llm_mean"], 3)]
    own = [reply.text, reply.tokens_full, reply.tokens_kept, reply.tokens_llm_mean]
    return taken == own and (reply.seconds is None or row["kv_bytes"] == reply.kv_bytes)


# With the harness


def entry_points(folder):
    """What an installed package would declare, taken from setup.cfg."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    info = folder / "codecmeta_declared-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: codecmeta-declared\nVersion: 0\n")
    lines = config["options.entry_points"]["lmms_eval.models"].strip()
    (info / "entry_points.txt").write_text(f"[lmms_eval.models]\n{lines}\n")
    return folder


@pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed")
@pytest.mark.parametrize(("processes", "form"), [(1, []), (2, []), (1, ["--force_simple"])])
def test_its_evaluator_says_what_codecmeta_eval_says(processes, form, tmp_path):
    rows, file = questions(tmp_path)
    rows = rows[: len(rows) - 1] if processes == 2 else rows  # 7 on two processes: one is padding
    file.write_text("".join(file.read_text().splitlines(keepends=True)[: len(rows)]))
    given = ",".join(f"{name}={value}" for name, value in ARGUMENTS.items())
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"] if processes == 2 else []
    done = subprocess.run(
        [
            sys.executable, *launcher, "-m", "lmms_eval", "--model", "codecmeta", *form,
            "--model_args", f"{given},stats={tmp_path / 'stats.jsonl'}",
            "--include_path", str(ROOT / "tests" / "support" / "lmms_task"), "--tasks", "clips",
            "--batch_size", "1", "--output_path", str(tmp_path / "out"), "--log_samples",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(entry_points(tmp_path / "site"))]),
            "CLIPS_QUESTIONS": str(file), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )  # fmt: skip
    found = list((tmp_path / "out").rglob("*_results.json"))
    assert len(found) == 1, done.stderr[-3000:]  # its exit code is 0 when it failed
    results = json.loads(found[0].read_text())
    assert results["n-samples"]["clips"]["effective"] == len(rows)
    replies = own_replies(rows, ARGUMENTS)
    right = [reply.text.lower() == row.answer for reply, row in zip(replies, rows, strict=True)]
    assert results["results"]["clips"]["accuracy,none"] == pytest.approx(sum(right) / len(rows))
    assert sum(right) >= 4  # the drawn films, whose truth is known
    (samples,) = (tmp_path / "out").rglob("*_samples_clips.jsonl")
    said = {one["doc_id"]: one["filtered_resps"] for one in map(json.loads, samples.read_text().splitlines())}
    assert [said[number] for number in range(len(rows))] == [reply.text for reply in replies]
    taken = [json.loads(line) for rank in range(processes) for line in open(tmp_path / f"stats.rank{rank}.jsonl")]
    assert sorted(one["doc_id"] for one in taken) == list(range(len(rows)))  # no padding
    assert all(same(one, replies[one["doc_id"]]) for one in taken)


# With a stand-in


@dataclass
class Instance:
    """A request, as lmms_eval.api.instance has it."""

    args: tuple[Any, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


class Lmms:
    def __init__(self):
        self._rank, self._world_size, self.task_dict = 0, 1, {}

    @property
    def rank(self):
        return self._rank


@dataclass
class Counts:
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass
class Result:
    text: str
    token_counts: Counts | None = None


@dataclass(frozen=True)
class Manifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


@pytest.fixture
def harness(monkeypatch):
    """Modules of lmms-eval with what the model takes from them; yields what was logged."""
    logged = []

    def log_metrics(total_elapsed_time, total_gen_tokens, avg_speed, additional_metrics=None):
        logged.append({"tokens": total_gen_tokens, **(additional_metrics or {})})

    for name, values in {
        "lmms_eval": {}, "lmms_eval.api": {}, "lmms_eval.api.model": {"lmms": Lmms},
        "lmms_eval.api.instance": {"GenerationResult": Result, "TokenCounts": Counts},
        "lmms_eval.models": {}, "lmms_eval.models.registry_v2": {"ModelManifest": Manifest},
        "lmms_eval.models.model_utils": {},
        "lmms_eval.models.model_utils.gen_metrics": {"log_metrics": log_metrics},
    }.items():  # fmt: skip
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "codecmeta.models.lmms_eval.model", raising=False)
    yield logged
    sys.modules.pop("codecmeta.models.lmms_eval.model", None)


def made(simple=False, **arguments):
    """The class that the manifest names, built as the harness builds it."""
    (manifest,) = manifests()
    assert manifest.model_id == "codecmeta"
    module, _, name = (manifest.simple_class_path if simple else manifest.chat_class_path).rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert cls.is_simple == simple
    return cls(**{"batch_size": 1, **arguments})


def requests(model, rows, simple=False, **settings):
    model.task_dict = {"clips": {"test": [{"video": str(row.video), "prompt": row.prompt} for row in rows]}}
    settings = {"max_new_tokens": 16, "until": ["\n\n"], "do_sample": False, "temperature": 0, **settings}

    def messages(document):
        content = [{"type": "video", "url": document["video"]}, {"type": "text", "text": document["prompt"]}]
        return [{"role": "user", "content": content}]

    def one(number, row):
        where = (number, "clips", "test")
        if simple:
            return Instance((row.prompt, settings, lambda document: [document["video"]], *where))
        return Instance((row.prompt, messages, settings, *where))

    return [one(number, row) for number, row in enumerate(rows)]


@pytest.mark.parametrize("simple", [False, True])
def test_answers_are_those_of_codecmeta_eval_and_every_video_is_read_once(simple, harness, tmp_path, monkeypatch):
    rows, _ = questions(tmp_path)
    rows = [rows[0], rows[1], *([] if simple else [rows[2]]), rows[3], rows[-1]]
    model = made(simple, **ARGUMENTS, stats=str(tmp_path / "out" / "stats.jsonl"))
    model._rank = 3
    asked = requests(model, rows, simple)
    asked.append(Instance(asked[-1].args, {"__padding_only__": True}))
    read = []
    clip = model.video_model.clip
    monkeypatch.setattr(model.video_model, "clip", lambda video, *a, **k: read.append(video) or clip(video, *a, **k))
    results = model.generate_until(asked)
    warming, *read = read
    assert warming == read[0] and len(read) == len({row.video for row in rows}) == len(rows) - 2
    replies = own_replies(rows, ARGUMENTS)
    assert [one.text for one in results] == [one.text for one in [*replies, replies[-1]]]
    lines = [json.loads(line) for line in (tmp_path / "out" / "stats.rank3.jsonl").read_text().splitlines()]
    assert sorted(one["doc_id"] for one in lines) == list(range(len(rows)))
    assert all(same(one, replies[one["doc_id"]]) for one in lines)
    for one in lines:
        assert len(one["times"]) == one["frames"] and one["chosen"]["policy"] == "events" and one["rank"] == 3
        assert one["seconds"]["first_token"] >= one["seconds"]["decode"] + one["seconds"]["prefill"] > 0
    lettered = [one for one in lines if one["options"]]
    assert [one["doc_id"] for one in lettered] == [len(rows) - 1]
    assert lettered[0]["unparsable"] == (rows[-1].parse(lettered[0]["answer"]) == "")
    assert all(one["unparsable"] is None for one in lines if not one["options"])
    (log,) = harness
    assert log["total_requests"] == len(rows) and log["rank"] == 3
    assert log["tokens_kept"] == pytest.approx(sum(one.tokens_kept for one in replies) / len(rows))
    assert log["tokens"] == sum(one.token_counts.output_tokens for one in results[:-1])


def test_what_shows_no_video_stops_the_run_or_is_counted(harness, tmp_path):
    rows, _ = questions(tmp_path)
    model = made(pretrained="small", frames=4)
    asked = requests(model, rows[:1])
    pictures = [{"role": "user", "content": [{"type": "image", "url": object()}, {"type": "text", "text": "A?"}]}]
    odd = Instance(("", lambda document: pictures, {}, 0, "clips", "test"))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    content = [{"type": "video", "url": str(broken)}, {"type": "text", "text": "Which?\nA. this\nB. that"}]
    unreadable = Instance(("", lambda document: [{"role": "user", "content": content}], {}, 0, "clips", "test"))
    with pytest.raises(ValueError, match="1 of 2 questions show no video .* path of a video, got a object"):
        model.generate_until([*asked, odd])
    with pytest.raises(VideoError, match="broken.mp4"):
        model.generate_until([*asked, unreadable])
    model = made(pretrained="small", frames=4, unreadable="empty", stats=str(tmp_path / "stats.jsonl"))
    whole = requests(model, rows[:1])
    assert [bool(one.text) for one in model.generate_until([odd, *whole, unreadable])] == [False, True, False]
    lines = {one["video"]: one for one in map(json.loads, open(tmp_path / "stats.rank0.jsonl"))}
    assert lines[str(broken)]["unparsable"] and "broken.mp4" in lines[str(broken)]["problem"]
    assert harness[-1]["not_asked"] == 2 and harness[-1]["unparsable"] == 1


def test_what_it_cannot_serve_is_refused(harness, tmp_path):
    rows, _ = questions(tmp_path)
    model = made(pretrained="small")
    with pytest.raises(ValueError, match="do_sample"):
        model.generate_until(requests(model, rows[:1], do_sample=True))
    for served in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(NotImplementedError, match="generate_until"):
            served([])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budgets": 0.3}, r"--model_args has no 'budgets' \(did you mean 'budget'"),
        ({"method": "metmo"}, "did you mean 'metom'"),
        ({"method": "none", "budget": 0.3}, "option budget has no effect"),
        ({"method": "metom", "set_taus": 1}, "has no option 'taus'"),
        ({"choose": "evenly"}, "choose=evenly: expected one of uniform"),
        ({"choose": "query"}, "choose=query needs text_model"),
        ({"frames": 0}, "frames=0: expected a number of at least 1"),
        ({"frames": True}, "frames=True: expected a number"),
        ({"batch_size": "8"}, "--batch_size 8"),
        ({"unreadable": "skip"}, "expected stop or empty"),
    ],
)
def test_unknown_and_unfit_arguments_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        read_arguments(arguments)


def test_arguments_as_the_harness_parses_them():
    read = read_arguments(
        {"method": "metom", "set_keep_ids": True, "set_tau_tem": 0.8, "quantization_config": '{"load_in_4bit": true}'}
    )
    assert (read.strategy().keep_ids, read.strategy().tau_tem) == (True, 0.8)
    assert read.quantization_config == {"load_in_4bit": True}
    assert read_arguments({"load_pooling": "average", "load_time_instruction": True}).layout == {
        "pooling": "average", "time_instruction": "true",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "query"),
    [  # as VideoMME, MVBench, MLVU and NExT-QA spell them
        ("Select the best.\nWho wins?\nA. a cat\nB. a dog\nC. both\nD. none\nAnswer with a letter.", 4, "Who wins?"),
        ("Question:Who wins?\nOption:\n(A) a cat\n(B) a dog\nOnly give the best option.", 2, "Question:Who wins?"),
        ("Who wins?\n(A) a cat\n(B) a dog\n\nOnly give the best option.\nBest option: (", 2, "Who wins?"),
        ("who wins\nA. a\nB. b\nC. c\nD. d\nE. e", 5, "who wins"),
        ("What colour is the cross?", 0, "What colour is the cross?"),
        ("A. Lincoln was who?", 0, "A. Lincoln was who?"),
    ],
)  # fmt: skip
def test_options_and_the_question_alone_are_found_in_prompts(text, options, query):
    question = Question("", "", 0, "a.mp4", text, 16, (), False)
    assert (len(question.options), question.query) == (options, query)
    assert question.unparsable("It depends") == (True if options else None)
    assert question.unparsable("(B) a dog") == (False if options else None)


def test_the_manifest_imports_neither_torch_nor_the_harness_and_never_raises():
    code = (
        "import sys; sys.modules['lmms_eval'] = None\n"
        "from codecmeta.models.lmms_eval import manifests\n"
        "print(manifests(), [one for one in ('torch', 'transformers', 'numba', 'av') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[] []", done.stderr
