"""`codecmeta run` as a user meets it."""

import json
import sys

import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta.cli import main
from codecmeta.cli.run import run
from codecmeta.compression import METHODS
from codecmeta.extraction.to_file import extract_to_file
from tests.support.asking import QUESTION


@pytest.fixture
def call(folder, clip):  # noqa: F811
    def invoke(*arguments, video=clip, question=QUESTION, model=folder):
        return CliRunner().invoke(
            run, [str(video), question, "--model", str(model), "--max-new-tokens", "3", *arguments]
        )

    return invoke


def test_the_answer_comes_first_then_what_it_cost(call):
    result = call()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1].startswith("Looked at 16 of ") and lines[2] == "" and lines[3].split() == ["replenish"]
    table = {line[: line.rindex("  ")].strip(): line.split()[-1] for line in lines[4:-1]}
    assert lines[-1].startswith("waited ") and "loading the model" in lines[-1]
    assert table["tokens, full"] == "256" and 0 < int(table["tokens, kept"]) <= 128
    assert table["kept of all"] == f"{int(table['tokens, kept']) / 256:.1%}" and table["budget"] == "50.0%"
    assert float(table["seconds, total"]) >= float(table["seconds until the first token"]) > 0


def test_json_is_one_object_with_the_promised_fields(call):
    result = call("--json", "--method", "uniform", "--budget", "0.25", "--set", "mode=spatial", "--frames", "8")
    row = json.loads(result.stdout)
    promised = "answer model method budget frames tokens_full tokens_kept tokens_llm_mean kv_bytes seconds"
    assert set(promised.split()) <= set(row)
    assert (row["method"], row["budget"], row["frames"]) == ("uniform", 0.25, 8)
    assert (row["tokens_full"], row["tokens_kept"], row["share_kept"]) == (128, 32, 0.25)
    stages = "probe choose metadata decode preprocess vision strategy prefill first_token total"
    assert set(stages.split()) == set(row["seconds"])


def test_the_same_goes_into_files(call, tmp_path):
    files = [tmp_path / name for name in ("a.json", "a.txt", "a.html")]
    result = call(*(part for one in files for part in ("-o", str(one))))
    assert result.exit_code == 0, result.output
    assert files[1].read_text() == result.stdout and "<html" in files[2].read_text()
    assert json.loads(files[0].read_text())["answer"] == result.stdout.splitlines()[0]
    assert "ends in .xml" in call("-o", str(tmp_path / "a.xml")).stderr


def test_compare_runs_the_plain_model_too(call):
    result = call("--compare")
    assert result.stdout.startswith("replenish: ")
    assert [line for line in result.stdout.splitlines() if "tokens, kept" in line][0].split()[-1] == "256"
    row = json.loads(call("--compare", "--json").stdout)
    assert row["plain"]["tokens_kept"] == row["tokens_full"] == 256 > row["tokens_kept"]


def test_the_video_is_decoded_once_whatever_is_compared(call, monkeypatch):
    import codecmeta as package

    reads, real = [], package.read
    monkeypatch.setattr(package, "read", lambda *one, **more: reads.append(1) or real(*one, **more))
    row = json.loads(call("--compare", "--json").stdout)
    assert len(reads) == 1
    plain = row["plain"]
    for stage in ("probe", "decode"):
        assert row["seconds"][stage] == plain["seconds"][stage] > 0
    for one in (row["seconds"], plain["seconds"]):
        stages = ("probe", "decode", "metadata", "preprocess", "vision", "strategy", "prefill")
        assert one["total"] >= one["first_token"] >= 0.9 * sum(one[stage] for stage in stages)
    waited = row["waited"]
    assert waited["all"] >= waited["imports"] + waited["model"] + waited["kernels"] + row["seconds"]["decode"] - 0.01


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--method", "magic"], "no method 'magic'; there are: none, uniform, random, replenish, metom, metok"),
        (["--method", "metmo"], "no method 'metmo' (did you mean 'metom'?); there are"),
        (
            ["--method", "metom", "--set", "tau=2"],
            "method 'metom': option tau has no effect (it needs rpm=true and tau_mode=fixed)",
        ),
        (
            ["--method", "metom", "--set", "matm_layer=2"],
            "method 'metom': option matm_layer has no effect (it needs matm=true)",
        ),
        (["--method", "none", "--budget", "0.3"], "method 'none': option budget has no effect (it keeps everything)"),
        (["--method", "metok", "--budget", "0.3"], "method 'metok': option budget has no effect (how many tokens"),
        (["--method", "none", "--compare"], "option compare has no effect"),
        (["--method", "metok", "--set", "combine=mean"], "option combine has no effect (it needs --text-model)"),
        (["--method", "metom", "--set", "speed=9"], "no option 'speed'"),
        (["--method", "metom", "--set", "tau_mode=9"], "expected quantile or target or fixed"),
    ],
)
def test_failures_are_one_clear_line_and_exit_code_1(call, arguments, reason):
    result = call(*arguments)
    assert result.exit_code == 1 and result.stdout == ""
    assert reason in result.stderr and result.stderr.count("\n") == 1


def test_choosing_by_the_question_needs_a_text_model(call):  # noqa: F811
    result = call("--choose", "query")
    assert result.exit_code == 2 and "--choose query needs --text-model" in result.stderr


def test_an_empty_question_is_no_question(call, model, clip):  # noqa: F811
    result = call(question=" \n")
    assert result.exit_code == 1 and result.stderr == "failed: the question is empty; ask something about the video\n"
    with pytest.raises(ValueError, match="is empty"):
        model.ask(clip, "")


def test_a_model_that_does_not_exist_is_one_line_at_once_without_a_network(call, monkeypatch):
    from codecmeta.models.hub import found, hub_answers

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert not hub_answers()
    result = call(model="nobody/nothing")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "model 'nobody/nothing' cannot be loaded: it is no folder and was not downloaded before" in result.stderr
    with pytest.raises(ValueError, match="did you mean 'small'?"):
        found("smal", ["small"])
    monkeypatch.setattr("codecmeta.models.hub.hub_answers", lambda: True)
    assert found("nobody/nothing", ["small"]) == "nobody/nothing"
    with pytest.raises(ValueError, match="it is no folder"):
        found("./nothing", ["small"])


def test_a_torchvision_that_does_not_fit_is_one_line(call, monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    result = call()
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert "torchvision::nms does not exist); it is not needed" in result.stderr


def test_a_ready_cache_takes_the_place_of_reading_metadata_again(call, clip, tmp_path):  # noqa: F811
    cache = tmp_path / "clip.codecmeta.h5"
    extract_to_file(clip, cache, frames=16)
    plain, cached = (
        json.loads(call("--choose", "uniform", "--json", *more).stdout) for more in ([], ["--cache", str(cache)])
    )
    for name in ("answer", "tokens_kept", "encoder_tokens", "kv_bytes", "frames"):
        assert plain[name] == cached[name]
    compared = json.loads(call("--json", "--compare", "--cache", str(cache)).stdout)
    assert compared["plain"]["tokens_kept"] == 256 > compared["tokens_kept"] == plain["tokens_kept"]


def test_a_cache_that_does_not_fit_is_refused_and_both_sides_are_named(call, clip, tmp_path):  # noqa: F811
    cache, other = tmp_path / "clip.codecmeta.h5", tmp_path / "other.mp4"
    extract_to_file(clip, cache, frames=5)
    result = call("--cache", str(cache))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "clip.codecmeta.h5: made with frames=5 (uniform), but 16 frames (uniform) are to be shown" in result.stderr
    five, shown = (set(codecmeta.extract(clip, frames=count).residual.frame.tolist()) for count in (5, 16))
    assert f"{len(shown - five)} of them are not in it (the first is row {min(shown - five)})" in result.stderr
    assert call("--cache", str(cache), "--frames", "5").exit_code == 0
    assert call("--cache", str(cache), "--method", "uniform").exit_code == 0, "it plans without metadata"
    other.write_bytes(clip.read_bytes() + b"more")
    result = call("--cache", str(cache), video=other)
    assert result.exit_code == 1 and "made from another video than" in result.stderr
    assert "no such cache file" in call("--cache", str(tmp_path / "missing.h5")).stderr
    assert "not a readable HDF5 file" in call("--cache", str(clip)).stderr


def test_a_page_never_takes_the_place_of_the_cache(call, clip, tmp_path):  # noqa: F811
    cache = tmp_path / "metadata.html"
    extract_to_file(clip, cache, frames=16)
    before = cache.read_bytes()
    result = call("--cache", str(cache), "--html", str(cache))
    assert (result.exit_code, result.stdout) == (1, "") and "is not overwritten" in result.stderr
    assert cache.read_bytes() == before


def test_files_that_are_no_videos(call, tmp_path):
    result = call(video=tmp_path / "missing.mp4")
    assert (result.exit_code, result.stdout) == (1, "") and "missing.mp4: no such file" in result.stderr
    (tmp_path / "text.mp4").write_text("hello")
    result = call(video=tmp_path / "text.mp4")
    assert (result.exit_code, result.stdout) == (1, "") and "text.mp4" in result.stderr


def test_wrong_usage_is_exit_code_2(call):
    assert call("--budget", "0").exit_code == 2
    assert call("--set", "tau_mode").exit_code == 2


def test_a_plain_install_is_told_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = call()
    assert result.exit_code == 1
    assert 'pip install "codecmeta[models]"' in result.stderr and "transformers" in result.stderr


def test_what_the_built_in_model_cannot_know_is_part_of_the_answer(folder, clip, monkeypatch):  # noqa: F811
    monkeypatch.setattr("codecmeta.models.loading.builtin_folder", lambda name: folder)
    for question, told in (
        ("Why is the dog barking?", "cannot be trusted here"),
        (QUESTION, "shapes and nothing else"),
    ):
        arguments = [str(clip), question, "--max-new-tokens", "1"]
        result = CliRunner().invoke(run, arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[1].startswith("Note: the built-in model") and told in result.stdout
        assert told in json.loads(CliRunner().invoke(run, [*arguments, "--json"]).stdout)["note"]
    other = CliRunner().invoke(run, [str(clip), "Why?", "--model", str(folder), "--json", "--max-new-tokens", "1"])
    assert other.stderr == "" and json.loads(other.stdout)["note"] == ""


def test_help_has_one_line_on_every_method():
    shown = CliRunner().invoke(run, ["--help"], terminal_width=100).stdout
    lines = shown[shown.index("Methods:") :].splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(METHODS)
    assert all(len(line.split()) > 4 for line in lines)


def test_a_method_whose_share_is_an_outcome_has_no_budget(call):
    row = json.loads(call("--method", "metok", "--json", "--compare", "--frames", "8").stdout)
    assert row["budget"] is None and row["share_kept"] < 1 and row["plain"]["budget"] == 1


def test_a_folder_whose_config_names_no_architecture_says_so(call, tmp_path, folder):  # noqa: F811
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = call("--model", str(tmp_path))
    assert result.exit_code == 1 and "its config.json names no architectures (model_type" in result.stderr


def test_a_dataset_that_is_not_there_is_said_with_what_one_is(tmp_path):
    result = CliRunner().invoke(
        main, ["eval", str(tmp_path / "no.jsonl"), "--method", "evs", "--out", str(tmp_path / "o.json")]
    )
    assert result.exit_code == 1 and "no.jsonl: no such file; a dataset has a row of JSON" in result.stderr
    assert result.stderr.count("\n") == 1 and "Errno" not in result.stderr
