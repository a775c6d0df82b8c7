"""`codecmeta eval`: rows, statistics against slow ones, answers against `ask`, resuming."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from click.testing import CliRunner  # noqa: E402

from codecmeta import models  # noqa: E402
from codecmeta.cli.eval import evaluate as command  # noqa: E402
from codecmeta.compression import make  # noqa: E402
from codecmeta.models.evaluation import evaluate, make_settings, read_dataset  # noqa: E402
from codecmeta.models.evaluation.answering import Asked, Reply, replies_to  # noqa: E402
from codecmeta.models.evaluation.dataset import DatasetRow  # noqa: E402
from codecmeta.models.evaluation.report import markdown, summarise_replies  # noqa: E402
from codecmeta.models.evaluation.runner import Answers  # noqa: E402
from codecmeta.models.video_model import VideoModel  # noqa: E402
from tests.support import tiny  # noqa: E402

TEXTS = ["Which shape is the red object?", "How many objects are there?", "Tell me the colour of the square."]


@pytest.fixture
def dataset(tmp_path, clip):  # noqa: F811
    """Two names of one clip, three questions each."""
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
    rows = [
        {"video": str(video), "question": text, "answer": answer, "type": answer, "strata": {"clip": str(number)}}
        for number, video in enumerate((clip, "other.mp4"))
        for text, answer in zip(TEXTS, ("square", "one", "red"), strict=True)
    ]
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def call(dataset, folder):  # noqa: F811
    def invoke(*arguments):
        common = [str(dataset), "--model", str(folder), "--max-new-tokens", "3"]
        return CliRunner().invoke(command, common + [str(one) for one in arguments])

    return invoke


METHODS = ("--method", "random", "--method", "metok", "--method", "metom tau_tem=2", "--budget", "0.3")


# Answers


@pytest.fixture(scope="module")
def talkative(folder):  # noqa: F811
    """Larger random weights: answers of several tokens that depend on what was seen and where."""
    loaded = models.load(str(folder))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in loaded.model.named_parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn_like(weight) * (0.35 if "embed_tokens" in name else 0.15))
    return loaded


@pytest.mark.parametrize("name", ["none", "random", "metom", "metok", "dycoke", "holitom"])
def test_questions_answered_together_are_answered_as_alone(talkative, clip, name):  # noqa: F811
    options = {} if name in ("none", "metok") else {"budget": 0.4}
    for keep_ids in (True, False):
        strategy = make(name, keep_ids=keep_ids, **options)
        asked = Asked(talkative, talkative.clip(clip), TEXTS)
        alone = [talkative.ask(clip, text, strategy=strategy, max_new_tokens=6) for text in TEXTS]
        assert len({one.text for one in alone}) > 1
        for timed in (True, False):
            replies = replies_to(talkative, asked, strategy, timed=timed, max_new_tokens=6)
            assert [one.seconds is not None for one in replies] == [timed, False, False]
            assert [one.text for one in replies] == [one.text for one in alone]
            for one, reply in zip(alone, replies, strict=True):
                assert reply.tokens_kept == one.tokens_kept
                assert reply.tokens_llm_mean == pytest.approx(one.tokens_llm_mean, abs=1e-3)
                assert (reply.encoder_tokens, reply.encoder_full) == (one.encoder_tokens, one.encoder_full)
            assert replies[0].kv_bytes == alone[0].kv_bytes


def test_models_with_rules_of_their_own_generate_every_answer_alone(talkative, clip, monkeypatch):  # noqa: F811
    asked, strategy = Asked(talkative, talkative.clip(clip), TEXTS), make("random")
    before = [one.text for one in replies_to(talkative, asked, strategy, max_new_tokens=6)]
    monkeypatch.setattr(talkative.model.generation_config, "repetition_penalty", 3.0)
    alone = [talkative.ask(clip, text, strategy=strategy, max_new_tokens=6).text for text in TEXTS]
    assert [one.text for one in replies_to(talkative, asked, strategy, max_new_tokens=6)] == alone != before


@pytest.mark.parametrize("rules", [False, True], ids=["the likeliest token", "generate of its own"])
def test_the_right_answers_probability_is_the_stock_models(clip, monkeypatch, rules):  # noqa: F811
    """together, the first alone, one alone, and otherwise where most tokens are gone"""
    model, answers = models.load(), ["square", "two", "green"]
    asked = Asked(model, model.clip(clip), TEXTS, answers)
    first = [model.tokenizer(answer, add_special_tokens=False)["input_ids"][0] for answer in answers]
    with torch.inference_mode():
        scores = [model.model(**inputs).logits[0, -1].double().softmax(-1) for inputs in asked.inputs]
    expected = [float(one[token]) for one, token in zip(scores, first, strict=True)]
    assert len(set(np.round(expected, 4))) == 3
    if rules:
        monkeypatch.setattr(model.model.generation_config, "repetition_penalty", 1.0001)
    for timed in (True, False):
        replies = replies_to(model, asked, make("none"), timed=timed, max_new_tokens=2)
        assert [reply.soft for reply in replies] == pytest.approx(expected, abs=1e-4)
    alone = replies_to(model, asked, make("none"), only=1, max_new_tokens=2)
    assert [one.soft for one in alone] == pytest.approx(expected[1:2], abs=1e-4)
    fewer = replies_to(model, asked, make("random", budget=0.1), max_new_tokens=2)
    assert [one.soft for one in fewer] != pytest.approx(expected, abs=1e-4)
    untold = replies_to(model, Asked(model, asked.clip, TEXTS), make("none"), max_new_tokens=2)
    assert [one.soft for one in untold] == [None] * 3


def test_the_encoder_runs_once_for_methods_that_leave_it_alone(model, clip):  # noqa: F811
    runs = []
    tower = model.adapter.vision[0]
    layer = [one for one in tower.modules() if type(one).__name__ == "SiglipEncoderLayer"][0]
    replies_to(model, Asked(model, model.clip(clip), TEXTS), make("none"))  # installs hooks of transformers' own
    handle = layer.register_forward_pre_hook(lambda *_: runs.append(1))
    asked = Asked(model, model.clip(clip), TEXTS)
    try:
        for strategy in (make("random"), make("uniform"), make("metok")):
            replies_to(model, asked, strategy)
        assert len(runs) == 1
        replies_to(model, asked, make("metom", budget=0.5))
        replies_to(model, asked, make("metom", budget=0.2))
        assert len(runs) == 2
        replies_to(model, asked, make("metom", q=0.5))
        assert len(runs) == 3
    finally:
        handle.remove()
    assert "forward" not in vars(tower)


# Rows


def test_answers_are_found_in_what_models_say(tmp_path):
    row = DatasetRow(1, tmp_path, "Who?", "B", ("the cat", "the dog"))
    assert row.prompt.splitlines()[1:3] == ["A. the cat", "B. the dog"]
    for text in ("B", "B.", "(B) the dog", "b: no" and "The answer is B.", "the dog", "The dog."):
        assert row.parse(text) == "B", text
    for text in ("", "A cat, I think" and "neither", "Both of them"):
        assert row.parse(text) == "", text
    assert DatasetRow(1, tmp_path, "?", "red").parse(" Red.\n") == "red"


@pytest.mark.parametrize(
    "line, said",
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: expected an object"),
        ('{"video": "VIDEO", "question": "?"}', "line 2: 'answer' must be a text; got None"),
        ('{"video": "gone.mp4", "question": "?", "answer": "x"}', "line 2: no such video"),
        (
            '{"video": "VIDEO", "question": "?", "answer": "z", "options": ["a", "b"]}',
            "line 2: 'answer' must be one of",
        ),
        ('{"video": "VIDEO", "question": "?", "answer": "a", "options": ["a"]}', "line 2: 'options' must be 2 to 26"),
    ],
)
def test_a_bad_row_is_a_row_with_its_line_and_reason(dataset, clip, line, said):  # noqa: F811
    rows = dataset.read_text().splitlines()
    dataset.write_text("\n".join([rows[0], line.replace("VIDEO", str(clip)), *rows[1:]]))
    good, bad = read_dataset(dataset)
    assert [row.line for row in good] == [1, 3, 4, 5, 6, 7]
    assert [f"line {row.line}: {row.reason}"[: len(said)] for row in bad] == [said]
    dataset.write_text(line.replace("VIDEO", str(clip)))
    with pytest.raises(ValueError, match="no questions in it; 1 bad lines, the first is line 1"):
        read_dataset(dataset)


def test_a_broken_video_costs_its_own_rows_and_nothing_else(call, dataset, clip, tmp_path):  # noqa: F811
    """Rows and videos may come and go: what was answered once is not asked again."""
    out = tmp_path / "r.json"
    (tmp_path / "other.mp4").write_text("no video")
    with dataset.open("a") as file:
        file.write("{\n")
    result = call("--method", "uniform", "--out", out)
    failed = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert result.exit_code == 1 and len(failed) == 4 and "other.mp4" in failed[0] and "| uniform |" in result.stdout
    found = json.loads(out.read_text())
    assert [row["line"] for row in found["failed"]] == [4, 5, 6, 7] and found["questions"] == 3
    kept = (tmp_path / "r.answers.jsonl").read_bytes()
    assert kept.count(b"\n") == 1 + 2 * 3
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes())
    rows = dataset.read_text().splitlines()
    dataset.write_text("\n".join([rows[4], rows[0], rows[2]]))  # mended, one line taken out, others moved
    result = call("--method", "uniform", "--out", out)
    assert result.exit_code == 0, result.stderr
    after = (tmp_path / "r.answers.jsonl").read_bytes()
    assert after.startswith(kept) and after.count(b"\n") == 1 + 2 * 4
    (tmp_path / "other.mp4").write_bytes(clip.read_bytes() + b"another version")
    assert call("--method", "uniform", "--out", out).exit_code == 0
    assert (tmp_path / "r.answers.jsonl").read_bytes().count(b"\n") == 1 + 2 * 5


def test_answers_of_other_options_are_others(call, tmp_path):
    out = tmp_path / "r.json"
    for options in ((), ("--set", "mode=spatial"), ("--set", "mode=temporal")):
        assert call("--method", "uniform", *options, "--out", out).exit_code == 0
    assert (tmp_path / "r.answers.jsonl").read_bytes().count(b"\n") == 1 + 6 * 3  # none, temporal, spatial


# The command


def without_times(path):
    result = json.loads(path.read_text())
    for one in result["methods"]:
        del one["seconds"]
    return result


def test_what_was_killed_goes_on_and_gives_the_same(call, tmp_path):
    """Cut the file of answers in the middle of a line, as a kill would, and run again; then add a method."""
    whole, again = tmp_path / "whole.json", tmp_path / "again.json"
    done = call(*METHODS, "--out", whole)
    assert done.exit_code == 0, done.output
    kept = (tmp_path / "whole.answers.jsonl").read_bytes()
    assert kept.count(b"\n") == 1 + 6 * (1 + 3 + 1 + 1)  # none, random three times, metok, metom
    (tmp_path / "again.answers.jsonl").write_bytes(kept[: int(len(kept) * 0.6)])
    assert call(*METHODS, "--out", again).exit_code == 0
    assert without_times(again) == without_times(whole)
    first = kept[: int(len(kept) * 0.5)].splitlines()[:-1]
    assert (tmp_path / "again.answers.jsonl").read_bytes().splitlines()[: len(first)] == first
    (tmp_path / "again.answers.jsonl").write_bytes(kept)
    assert call(*METHODS, "--method", "uniform", "--out", again).exit_code == 0
    assert (tmp_path / "again.answers.jsonl").read_bytes().startswith(kept)
    assert [one["label"] for one in json.loads(again.read_text())["methods"]] == [
        "none", "random", "metok", "metom tau_tem=2", "uniform",
    ]  # fmt: skip


def test_answers_of_other_weights_are_refused(call, folder, tmp_path):  # noqa: F811
    """A model that was trained further has the same name."""
    arguments = ("--method", "uniform", "--out", tmp_path / "r.json")
    assert call(*arguments).exit_code == 0
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    try:
        weights.write_bytes(before[:-20_000] + bytes(20_000))
        result = call(*arguments)
    finally:
        weights.write_bytes(before)
    assert result.exit_code == 1 and "(weights_sha256 differ)" in result.stderr
    assert call(*arguments).exit_code == 0


def test_the_json_says_everything_and_the_table_is_drawn(call, tmp_path):
    import cv2

    result = call(*METHODS, "--json", "--plot", tmp_path / "p.png", "--markdown", tmp_path / "t.md", "--note", "a note")
    found = json.loads(result.stdout)
    assert (found["questions"], found["videos"], found["note"]) == (6, 2, "a note")
    assert {"torch", "transformers", "codecmeta"} <= set(found["versions"])
    none, random, metok, metom = found["methods"]
    assert (none["share_kept"], none["agreement"][0], none["difference"]) == (1.0, 1.0, [0, 0, 0])
    assert 0 < none["soft"][0] < 1 and none["soft_difference"] == [0, 0, 0] and len(random["soft_difference"]) == 3
    assert random["seeds"] == [0, 1, 2] and len(random["accuracy_by_seed"]) == 3
    assert random["share_kept"] == pytest.approx(76 / 256, abs=1e-4) and metok["budget"] is None
    assert metom["options"]["tau_tem"] == 2 and metom["options"]["q"] == 0.2 and metom["share_encoder"] < 1
    assert metok["share_llm_mean"] < metok["share_kept"]
    assert none["seconds"]["metadata"] == random["seconds"]["metadata"] == 0 < metom["seconds"]["metadata"]
    stages = ("probe", "decode", "metadata", "preprocess", "vision", "strategy", "prefill")
    assert metom["seconds"]["first_token"] >= 0.5 * sum(metom["seconds"][one] for one in stages)
    assert (tmp_path / "t.md").read_text().count("\n") == 2 + 4
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert (picture == (0, 94, 213)).all(axis=2).sum() > 50  # the first method's colour is on it


def test_matched_budgets_and_chance_from_the_command(call, dataset, tmp_path):
    """merging over time leaves less than the budget: matched, metom keeps what it is asked to, on average"""
    tuning = Path(shutil.copy(dataset, dataset.with_name("tuning.jsonl")))
    arguments = ("--method", "metom rpm=false", "--match-tokens", "0.2", "--calibrate-on", tuning)
    same = call(*arguments[:-1], dataset)
    assert same.exit_code == 2 and "wants another dataset than the one that is evaluated" in same.output
    done = call(*arguments, "--reference", "random", "--seed", "5", "--out", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "r.json").read_text())
    none, metom = result["methods"]
    assert 0.17 <= metom["share_llm_mean"] <= 0.2 < metom["budget"] and result["chance_seeds"] == [5]
    assert len(metom["against_chance"]) == 3 and none["against_chance"] == [0, 0, 0]
    assert "against_chance" in metom["strata"]["clip: 0"]
    size = (tmp_path / "r.answers.jsonl").stat().st_size
    assert call(*arguments, "--reference", "random", "--seed", "5", "--out", tmp_path / "r.json").exit_code == 0
    assert (tmp_path / "r.answers.jsonl").stat().st_size == size, "nothing was asked again"
    wrong = call("--method", "metom", "--match-tokens", "0.2")
    assert wrong.exit_code == 2 and "--match-tokens goes with --calibrate-on" in wrong.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--method", "magic"), "no method 'magic'"),
        (("--method", "uniform mode=diagonal"), "expected temporal or spatial"),
        (("--method", "uniform", "--set", "speed=9"), "none of the methods has an option 'speed'"),
        (("--method", "metok", "--budget", "0.3"), "method 'metok': option budget has no effect"),
        (("--method", "metom", "--set", "tau=2"), "option tau has no effect on any of the methods"),
        (
            ("--method", "metom tau=2"),
            "method 'metom': option tau has no effect (it needs rpm=true and",
        ),
        (("--method", "uniform", "--note", "x"), "option note has no effect (it needs --output or --json)"),
        (("--method", "uniform", "--out", "/nowhere/r.json"), "there is no folder /nowhere"),
    ],
)
def test_failures_are_one_clear_line(call, arguments, said):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_settings_take_common_options_where_they_fit():
    settings = make_settings(
        ["metom q=0.5", "uniform mode=spatial", "none"], [0.5, 0.2], options=["q=0.3", "mode=temporal"]
    )
    assert [one.label for one in settings] == ["none", *["metom q=0.5"] * 2, *["uniform mode=spatial"] * 2]
    assert {one.options.get("q") for one in settings} == {None, 0.5}  # a method's own option wins
    for one, budget in zip(settings[1:3], (0.5, 0.2), strict=True):
        assert one.keys[0].startswith("metom ") and {f"budget={budget}", "q=0.5"} <= set(one.keys[0].split())
    own = make_settings(["metom q=0.5 budget=0.7,0.1"], [0.5, 0.2])
    assert [(one.label, one.budget) for one in own[1:]] == [("metom q=0.5", 0.7), ("metom q=0.5", 0.1)]


def test_a_file_of_answers_without_its_end(tmp_path):
    path = tmp_path / "a.jsonl"
    answers = Answers(path, {"model": "m"})
    rows = [DatasetRow(n, tmp_path / "a.mp4", f"{n}?", "x") for n in (1, 2)]
    answers.add("none", rows, [Reply("x", 4, 4, 4.0, 4, 4, 1), Reply("y", 4, 4, 4.0, 4, 4, 1, {"vision": 0.5})])
    answers.close()
    whole = path.read_bytes()
    for cut in (len(whole), len(whole) - 1, len(whole) - 40):
        path.write_bytes(whole[:cut])
        again = Answers(path, {"model": "m"})
        assert set(again.replies) == {("none", row.id) for row in (rows if cut == len(whole) else rows[:1])}
        again.close()
    with pytest.raises(ValueError, match="model differ"):
        Answers(path, {"model": "other"})


def test_rows_are_read_with_their_lines(dataset):
    rows, _ = read_dataset(dataset)
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[3].video == dataset.parent / "other.mp4" and rows[3].strata == {"clip": "1"}


def test_the_choice_of_frames_belongs_to_the_answers(call, dataset, tmp_path):
    """eval shows the frames that choose_frames names, and answers of other frames are another run."""
    out = tmp_path / "out.json"
    methods = ("--method", "none", "--frames", "4", "-o", out)
    assert call(*methods, "--choose", "keyframes").exit_code == 0
    assert json.loads(out.read_text())["dataset"]["choose"] == "keyframes"
    done = call(*methods)
    assert done.exit_code == 1 and "choose differ" in done.stderr, done.output
    done = call(*methods, "--choose", "query")
    assert done.exit_code == 2 and "--text-model" in done.stderr


class Scorer:
    """Takes the place of a text-image model."""

    name = "scorer"

    def scores(self, pictures, question):
        return np.random.default_rng(len(question)).random(len(pictures))


def test_with_query_every_question_sees_its_own_frames(model, dataset, monkeypatch):  # noqa: F811
    rows = read_dataset(dataset)[0][:2]
    shown = []
    stock = VideoModel.clip

    def clip(self, video, frames=None, **options):
        made = stock(self, video, frames, **{**options, "text_model": None, "choose": "uniform"})
        shown.append((options["choose"], options["question"], options["text_model"]))
        return made

    monkeypatch.setattr(VideoModel, "clip", clip)
    answers = Answers()
    evaluate(model, rows, make_settings(["none"], []), answers, frames=4, choose="query", text_model=Scorer())
    assert [question for _, question, _ in shown[1:]] == [row.question for row in rows]
    assert all(choose == "query" and isinstance(scorer, Scorer) for choose, _, scorer in shown)
    assert {row_id for _, row_id in answers.replies} == {row.id for row in rows}


def test_with_a_text_model_metok_is_the_published_one(model, dataset, clip, tmp_path):  # noqa: F811
    """Every question is answered as `ask` answers it with that text model, and its seconds hold the scoring."""
    tiny.text_image(tmp_path, False, " ".join(TEXTS).lower(), limit=16)
    text = models.load_text_image(str(tmp_path))
    rows = [row for row in read_dataset(dataset)[0] if row.video.name == clip.name]
    settings, answers = make_settings(["metok alpha=0.2"], []), Answers()
    evaluate(model, rows, settings, answers, text_model=text, max_new_tokens=3)
    strategy, key = settings[1].strategies[0], settings[1].keys[0]
    for number, row in enumerate(rows):
        want = model.ask(clip, row.question, choose="uniform", strategy=strategy, text_model=text, max_new_tokens=3)
        got = answers.replies[key, row.id]
        assert (got.text, got.tokens_kept, got.kv_bytes) == (want.text, want.tokens_kept, want.kv_bytes)
        assert (got.seconds is not None) == (number == 0)
    replies = answers.replies | {(settings[0].keys[0], row.id): answers.replies[key, row.id] for row in rows}
    result = summarise_replies(rows, settings, replies, draws=10)
    assert "metok alpha=0.2 (no text model)" in markdown(result)
    assert "no text model" not in markdown({**result, "dataset": {"text_model": text.name}})


def test_a_text_model_that_nobody_asks_is_refused(call):
    done = call("--method", "evs", "--text-model", "small")
    assert (
        done.exit_code == 1 and "--text-model has no effect (it needs --choose query or --method metok)" in done.stderr
    )
