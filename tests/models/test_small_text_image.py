"""The built-in text-image model: which pictures its training calls right, and whether the shipped weights find them."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import codecmeta  # noqa: E402
from codecmeta import models  # noqa: E402
from codecmeta.models.small.model import SIZE  # noqa: E402
from codecmeta.models.small.text_image.evaluate import ranked, texts_about  # noqa: E402
from codecmeta.models.small.text_image.model import TEXT_LENGTH, build_text_image  # noqa: E402
from codecmeta.models.small.text_image.texts import DESCRIPTIONS, NAMES, draw_text, shown_objects  # noqa: E402
from codecmeta.models.small.text_image.train import batch, padded, start_from_the_video_model  # noqa: E402
from codecmeta.models.small.tokenizer import build_tokenizer  # noqa: E402
from codecmeta.models.small.world.questions import TEMPLATES  # noqa: E402
from codecmeta.models.small.world.scenes import COLOURS, HELD_OUT, SHAPES, make_scene, render, shrink  # noqa: E402
from codecmeta.models.text_image import FOLDER  # noqa: E402

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def small():
    return models.load_text_image()


def named(text):
    """(colour, shape) words that a text names, in order, either of them None: by its words."""
    words, found = text.lower().replace("?", "").replace(".", "").replace(",", "").split(), []
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word in COLOURS:
            found.append((word, after if after in SHAPES else None))
        elif word in SHAPES and (not found or found[-1][1] != word):
            found.append((None, word))
    return found or [(None, None)]


def test_a_picture_fits_a_text_if_it_shows_what_the_words_name():
    rng = np.random.default_rng(0)
    texts = [draw_text(rng) for _ in range(60)]
    for seed in range(12):
        scene, times = make_scene(seed, nameless=0.3), np.linspace(0, 1, 5)
        shown = shown_objects(scene, times)
        for text in texts:
            for time, fits in zip(times, text.fits(shown), strict=True):
                there = [item for item in scene.objects if item.appears <= time < item.disappears or
                         (time == 1 and item.disappears == 1)]  # fmt: skip
                want = any(
                    colour in (None, item.colour) and shape in (None, item.shape)
                    for item in there for colour, shape in named(text.text)
                )  # fmt: skip
                assert fits == want, (text, scene.objects, time)


def test_training_texts_never_name_a_held_out_pair_nor_use_the_last_wording():
    rng = np.random.default_rng(1)
    last = {wordings[-1].split("{}")[0] for kind, wordings in TEMPLATES.items() if kind != "after_cut"}
    last.add(DESCRIPTIONS[-1].split("{}")[0])
    pairs, started = set(), set()
    for _ in range(600):
        text = draw_text(rng).text
        pairs |= {pair for pair in named(text) if None not in pair}
        assert not any(text.startswith(one) for one in last if one not in ("The ", "")), text
        started.add(text.split()[0])
    assert len(pairs) == 24 - len(HELD_OUT) and not pairs & HELD_OUT and len(started) > 8
    unseen = {draw_text(rng, unseen_wording=True).text for _ in range(100)}
    assert all(any(text.startswith(one) for one in last) for text in unseen)


def test_every_wording_fits_into_the_text_tower():
    tokenizer = build_tokenizer()
    longest = [text.format("yellow triangle", "yellow triangle") for texts in TEMPLATES.values() for text in texts]
    assert max(len(tokenizer(text).input_ids) for text in longest) <= TEXT_LENGTH
    assert padded(["red"], tokenizer).shape == (1, TEXT_LENGTH)


def test_a_batch_repeats_and_starts_from_the_video_models_tower():
    options = argparse.Namespace(scenes=3, pictures=2, texts=5, encoded=1.0)
    tokenizer = build_tokenizer()
    first, again = (batch(7, options, tokenizer) for _ in range(2))
    assert [tuple(one.shape) for one in first] == [(6, 3, SIZE, SIZE), (5, TEXT_LENGTH), (6, 5)]
    assert torch.equal(first[1], again[1]) and torch.equal(first[2], again[2])
    model = build_text_image(tokenizer)
    start_from_the_video_model(model)
    pixels = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE))).float()
    tower = models.load().model.model.vision_tower
    with torch.no_grad():
        want = tower(pixels, output_hidden_states=True).last_hidden_state
        got = model.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_the_shipped_weights_find_objects_that_training_never_showed(small):
    """Pictures of evaluation scenes, and for each object the three ways to name it: right pictures above wrong ones.
    By chance the order is right in half of the pairs."""
    pictures, shows, texts = [], [], []
    for seed in range(16):
        scene = make_scene(seed, split="eval", held_out=seed % 2 == 0)
        times = np.array([0.1, 0.9])
        pictures += list(shrink(render(scene, times, width=96, height=96), SIZE))
        shows.append(shown_objects(scene, times))
        texts += texts_about(scene, seed)
    shown = np.concatenate(shows)
    for said in (0, 1):
        scores = [(text[said], np.array(small.scores(pictures, text[said].text))) for text in texts]
        results = [ranked(score, text.fits(shown)) for text, score in scores]
        best, auc, chance = np.mean(results, axis=0)
        assert auc > 0.95 and best > 0.9 and chance < 0.4, (said, best, auc, chance)
    held_out = [
        ranked(np.array(small.scores(pictures, text.text)), text.fits(shown))[1]
        for text, _ in texts
        if any(
            (NAMES[colour], SHAPES[shape]) in HELD_OUT for colour, shape in text.wanted if None not in (colour, shape)
        )
    ]
    assert len(held_out) >= 8 and np.mean(held_out) > 0.8


def test_frames_chosen_by_the_question_show_what_it_asks_about(small):
    """arrivals.mp4: by its truth the triangle comes last."""
    path, truth = SAMPLES / "arrivals.mp4", json.loads((SAMPLES / "truth.json").read_text())["arrivals.mp4"]
    triangle = next(item for item in truth["objects"] if item["shape"] == "triangle")
    chosen = codecmeta.choose_frames(
        path, 2, policy="query", question="Which way does the yellow triangle go?", scorer=small
    )
    assert (chosen.rows / (truth["frames"] - 1) >= triangle["appears"]).all()
    answer = models.load().ask(path, "Which way does the yellow triangle go?", strategy="metok", text_model=small)
    assert not answer.query_agnostic


def test_the_folder_is_what_the_trainer_writes():
    settings = json.loads((FOLDER / "config.json").read_text())
    assert settings["architectures"] == ["SiglipModel"] and settings["dtype"] == "bfloat16"
    assert sum(one.stat().st_size for one in FOLDER.iterdir()) < 2_000_000
