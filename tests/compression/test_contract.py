"""What strategies rely on in transformers is in one file, and a model that is wired otherwise is refused in words."""

import ast
import copy
import functools
from pathlib import Path
from types import MethodType

import numpy as np
import pytest
import torch
import transformers
from transformers import DynamicCache

from codecmeta.compression import ContractError, FastV, Metok, Metom, Plain, RandomKeep, apply
from codecmeta.compression.engine import contract
from codecmeta.compression.engine import transformers_names as names
from tests.support import tiny

ROOT = Path(__file__).parents[2]
ROWS = np.arange(tiny.FRAMES)
KNOWS = "compression/engine/transformers_names.py"
ONLY_THERE = {
    "past_key_values", "DynamicCache", "get_seq_length", "position_embeddings", "attention_mask", "position_ids",
    "inputs_embeds", "input_ids", "hidden_states", "use_cache", "mm_token_type_ids", "cu_seqlens", "max_seqlen",
    "grid_thw", "video_grid_thw", "pixel_values", "pixel_values_videos", "self_attn", "attn", "q_proj", "k_proj", "qkv",
    "num_heads", "head_dim", "scaling", "layer_idx", "rotary_emb", "rope_parameters", "mrope_section",
    "_attn_implementation", "rope_deltas", "logits", "pooler_output", "batch_repeat_interleave",
}  # fmt: skip
"""Written down here once more: what nobody else may read from a model, a layer, a cache, a call or an output."""
TRAINING = "models/small/training/"
"""Runs the layers of the built-in model in a loop of its own, and no strategy on them."""


def names_read(source):
    """Attributes, keyword arguments, imported names and whole strings in a file, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.keyword):
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.alias):
            yield node.name, 0
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno


def test_one_file_knows_the_names_of_transformers():
    spelled = {name for names_ in (*names.SPELLINGS.values(), *names.ATTRIBUTES.values()) for name in names_}
    only_there = ONLY_THERE | spelled - {"cache", "scale", "attention"}  # words that other things are called by, too
    found, files = [], 0
    for package in ("compression", "models", "cli"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if name == KNOWS or name.startswith(TRAINING):
                continue
            files += 1
            found += [f"{name}:{line} {word}" for word, line in names_read(file.read_text()) if word in only_there]
    assert not found
    assert files > 50
    own = {word for word, _ in names_read((ROOT / KNOWS).read_text())}
    assert {"past_key_values", "position_embeddings", "layer_idx", "crop"} <= own


def refuses(model, strategy, *words, **options):
    """Raises ContractError with these words, the version and the tested range; nothing is answered."""
    with pytest.raises(ContractError) as error, apply(model, strategy, tiny.metadata(), frames=ROWS):
        tiny.generate(model, tiny.llava_inputs(), new=3, **options)
    text = str(error.value)
    for word in (*words, f"transformers {transformers.__version__}", "tested with transformers 5.10 to 5.24"):
        assert word in text
    assert "\n" not in text


def test_a_renamed_argument_is_refused_when_the_block_begins():
    model = tiny.llava()
    decoder = model.model.language_model
    stock = decoder.forward

    def renamed(self, attention_mask=None, position_ids=None, inputs_embeds=None, kv_store=None, **kwargs):
        raise AssertionError("not called")

    decoder.forward = MethodType(renamed, decoder)
    with pytest.raises(ContractError, match="'cache' or 'past_key_values' among the arguments.*it takes.*kv_store"):
        with apply(model, RandomKeep()):
            raise AssertionError("the block must not begin")
    decoder.forward = stock
    layer = model.model.language_model.layers[1]
    layer.forward = MethodType(lambda self, hidden_states, mask=None, position_embeddings=None: None, layer)
    with pytest.raises(ContractError, match="'attention_mask'.*among the arguments of Qwen2DecoderLayer"):
        with apply(model, FastV(layer=2)):
            raise AssertionError("the block must not begin")


def test_a_renamed_output_is_refused():
    model = tiny.llava()
    decoder = model.model.language_model
    stock = decoder.forward

    class Other(dict):
        pass

    def renamed(self, *args, **kwargs):
        output = stock(*args, **kwargs)
        return Other(last_hidden_state=output.last_hidden_state, kv_store=names.cache_of(output))

    decoder.forward = MethodType(functools.wraps(type(decoder).forward)(renamed), decoder)
    refuses(model, RandomKeep(), "'cache' or 'past_key_values' among the outputs", "kv_store")


@pytest.mark.parametrize("part", ["language model", "vision encoder"])
def test_a_layer_that_ignores_its_mask_is_refused(part):
    model = tiny.llava()
    layers = model.model.language_model.layers if part == "language model" else model.model.vision_tower.encoder.layers
    attention = layers[1].self_attn
    stock = type(attention).forward

    def blind(self, hidden_states, position_embeddings=None, attention_mask=None, **kwargs):
        angles = {} if position_embeddings is None else {"position_embeddings": position_embeddings}
        mask = None if attention_mask is None else torch.zeros_like(attention_mask)
        return stock(self, hidden_states=hidden_states, attention_mask=mask, **angles, **kwargs)

    if part == "vision encoder":
        attention.forward = MethodType(
            lambda self, hidden_states, attention_mask=None, **kwargs: blind(
                self, hidden_states, attention_mask=attention_mask, **kwargs
            ),
            attention,
        )
    else:

        def blind_with_cache(
            self, hidden_states, position_embeddings, attention_mask, cache=None, past_key_values=None, **kwargs
        ):
            return blind(self, hidden_states, position_embeddings, attention_mask, **kwargs)

        attention.forward = MethodType(blind_with_cache, attention)
    strategy = FastV(layer=2) if part == "language model" else Metom(q=0.6)
    refuses(model, strategy, "to leave out what its mask", "changed it")


class ShowsCopies(DynamicCache):
    """What can be seen of its layers are copies, so that nothing can be taken out."""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        return (
            copy.deepcopy(value) if name == "layers" and super().__getattribute__("__dict__").get("sealed") else value
        )

    def update(self, *args, **kwargs):
        self.__dict__["sealed"] = False
        out = super().update(*args, **kwargs)
        self.__dict__["sealed"] = True
        return out


class DropsTheLast(DynamicCache):
    """Its last layer holds one token less than it was given."""

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        out = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if layer_idx == 3:
            held = self.layers[3]
            held.keys, held.values = held.keys[:, :, 1:], held.values[:, :, 1:]
        return out


def test_a_model_that_copies_its_cache_is_refused():
    model = tiny.llava()
    decoder = model.model.language_model
    cls = type(decoder)

    class Copies(cls):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            name = next(name for name in ("cache", "past_key_values") if name in output)
            setattr(output, name, copy.deepcopy(output[name]))
            return output

    Copies.forward = functools.wraps(cls.forward)(Copies.forward)
    decoder.__class__ = Copies
    refuses(model, RandomKeep(), "DynamicCache that was given to be filled and returned")


def test_a_cache_class_that_shows_copies_is_refused():
    model = tiny.llava()
    options = tiny.given(model, ShowsCopies())
    refuses(
        model, Metok(layers=(1, 2, 3)), "to hold [50, 10, 10, 10] tokens", "after layers forgot the video", **options
    )


def test_a_cache_that_holds_less_than_planned_is_refused():
    model = tiny.llava()
    refuses(
        model, RandomKeep(), "to hold [33, 33, 33, 33] tokens", "after the prompt", **tiny.given(model, DropsTheLast())
    )


def test_a_cache_that_was_filled_elsewhere_is_refused():
    model = tiny.llava()
    with apply(model, RandomKeep()), torch.no_grad():
        cache = names.cache_of(model(**tiny.llava_inputs(), use_cache=True))
        with pytest.raises(ContractError, match="was never seen before"):
            model(input_ids=torch.tensor([[3]]), **tiny.given(model, copy.deepcopy(cache)))


def test_hooks_that_never_fire_are_noticed():
    model = tiny.llava()
    decoder = model.model.language_model
    layer = decoder.layers[1]
    inputs = tiny.llava_inputs()
    with torch.no_grad(), apply(model, FastV(layer=2)):

        class Around(type(layer)):
            def __call__(self, *args, **kwargs):  # as a compiled layer that leaves hooks out
                return self.forward(*args, **kwargs)

        layer.__class__ = Around
        with pytest.raises(ContractError, match="the hook of layer 1 to run before its attention; it did not run"):
            model(**inputs, use_cache=True)


def test_a_newer_version_is_told_in_one_line_once(monkeypatch, capsys):
    monkeypatch.setattr(contract, "_said", set())
    monkeypatch.setattr(transformers, "__version__", "5.99.1")
    model = tiny.llava()
    plain = tiny.generate(model, tiny.llava_inputs())
    for _ in range(2):
        with apply(model, Plain()):
            got = tiny.generate(model, tiny.llava_inputs())
    assert torch.equal(plain[1], got[1])
    error = capsys.readouterr().err
    assert error.count("5.99.1 is newer than tested (transformers 5.10 to 5.24)") == 1
