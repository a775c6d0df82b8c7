"""`models.load` hands on what transformers' `from_pretrained` takes; stand-ins for what this machine has not."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from codecmeta.models import load, loading  # noqa: E402


@pytest.fixture
def given(monkeypatch):
    """What reaches `from_pretrained` of the built-in model's class, and where the model is moved then."""
    seen = {"to": []}
    stock = loading.model_class

    def model_class(config):
        cls = stock(config)

        class Recording:
            @staticmethod
            def from_pretrained(where, **kwargs):
                own = ("device_map", "quantization_config")
                seen.update(kwargs)
                model = cls.from_pretrained(where, **{key: one for key, one in kwargs.items() if key not in own})
                move = model.to
                model.to = lambda device: seen["to"].append(device) or move(device)
                return model

        return Recording

    monkeypatch.setattr(loading, "model_class", model_class)
    return seen


def test_defaults_are_float32_and_sdpa_on_a_cpu(given):
    model = load()
    assert (given["dtype"], given["attn_implementation"], given["device_map"]) == (torch.float32, "sdpa", None)
    assert given["to"] == ["cpu"] and given["trust_remote_code"] is False and given["use_safetensors"] is True
    assert model.model.dtype == torch.float32


def test_type_and_attention_are_handed_on(given):
    model = load(dtype="bfloat16", attn_implementation={"text_config": "eager", "vision_config": "sdpa"})
    assert model.model.dtype == torch.bfloat16
    assert model.model.config.text_config._attn_implementation == "eager"
    assert model.model.config.vision_config._attn_implementation == "sdpa"


def test_where_layers_go_is_the_device_maps_affair_alone(given):
    load(device_map="auto")
    assert given["device_map"] == "auto" and given["dtype"] == "auto" and given["to"] == []


def test_quantised_weights_are_made_where_they_stay(given):
    asked = {"load_in_4bit": True, "quant_method": "bitsandbytes"}
    load(quantization_config=asked)
    assert given["quantization_config"] == asked and given["device_map"] == {"": "cpu"}
    assert given["dtype"] == "auto" and given["to"] == []
    load(quantization_config=asked, device_map="balanced")
    assert given["device_map"] == "balanced"


def test_what_transformers_lacks_is_one_line(monkeypatch):
    class Lacking:
        @staticmethod
        def from_pretrained(where, **kwargs):
            raise ImportError("Using `bitsandbytes` 4-bit quantization requires accelerate\nand a second line")

    monkeypatch.setattr(loading, "model_class", lambda config: Lacking)
    with pytest.raises(ValueError, match="model 'small' cannot be loaded: Using `bitsandbytes` .* accelerate$"):
        load(quantization_config={"load_in_4bit": True})
