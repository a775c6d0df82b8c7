"""All methods on an accelerator that is pretended (see `pretend_device`): nothing meets across devices."""

import numpy as np
import pytest
import torch

from codecmeta.compression import METHODS, Metok, Metom, apply, make
from tests.support import published, tiny
from tests.support.pretend_device import OnDevice, on_device, pretend, spread, to_device

STRATEGIES = {
    **{name: make(name) for name in METHODS},
    "metok": Metok(layers=(1, 2, 3), codec_weight=1.0),
    "metok, codec": Metok(layers=(1, 2, 3), boundaries="codec", pooling="average"),
    "metom, all": Metom(budget=0.4, matm=True, matm_layer=2, q=0.6, tau_tem=0.2, chain=True, temporal_radius=1),
    "metom, ragged": Metom(budget=0.5, ragged=True, q=0.6, tau_tem=0.2, fold="size_weighted"),
    "metom, twins": Metom(budget=0.5, density_source="pixels", weights="curvature", fold="sequential"),
    "fastv, text": make("fastv", queries="text"),
    "dycoke, evict": make("dycoke", evict=0.5, evict_layer=2),
    "holitom, inner": make("holitom", inner=0.5, inner_layer=2),
    "sttm, before": make("sttm", layer=0, budget=0.4),
    "uniform, pooled": make("uniform", mode="pool"),
}


def test_the_pretended_device_refuses_what_cuda_refuses():
    with pretend():
        there = torch.zeros(3, device="cuda")
        assert isinstance(there, OnDevice) and there.is_cuda and there.cpu().numpy().sum() == 0
        with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
            there + torch.zeros(3)
        with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
            torch.zeros(3)[torch.as_tensor(np.array([1]), device=there.device)]
        for convert in (lambda: there.numpy(), lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="can't convert"):
                convert()
        assert there[np.array([0, 2])].shape == (2,) and (there + torch.tensor(1.0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("family, names", [("llava", list(STRATEGIES)), ("qwen2.5", list(METHODS))])
def test_answers_are_those_of_the_cpu(family, names):
    """Of the two generations of Qwen-VL the later one, whose encoder has windows besides."""
    llava = family == "llava"
    model = (tiny.llava() if llava else tiny.qwen(windowed=True)).bfloat16()
    inputs = tiny.llava_inputs() if llava else tiny.qwen_inputs()
    inputs = {name: one.bfloat16() if one.is_floating_point() else one for name, one in inputs.items()}
    pictures = tiny.FRAMES * (1 if llava else 2)
    meta, rows = tiny.metadata(pictures), np.arange(pictures)

    def answers(inputs):
        said = {}
        for name in names:
            with torch.no_grad(), apply(model, STRATEGIES[name], meta, frames=rows) as session:
                ids = model.generate(
                    **inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False,
                    suppress_tokens=[tiny.VIDEO, tiny.IMAGE],
                )  # fmt: skip
            said[name] = (ids[0, -2:].tolist(), session.counts.tolist(), session.kv_bytes)
        return said

    want = answers(inputs)
    with pretend():
        to_device(model)
        got = answers({name: on_device(one) for name, one in inputs.items()})
    assert got == want


def said(model, inputs, name):
    """Two new tokens, and everything that is counted."""
    with torch.no_grad(), apply(model, STRATEGIES[name], tiny.metadata(), frames=np.arange(tiny.FRAMES)) as session:
        ids = model.generate(
            **inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False, suppress_tokens=[tiny.VIDEO]
        )
    counts = session.counts.tolist(), session.newlines_kept, session.layer_tokens, session.kv_bytes
    return ids[0, -2:].tolist(), counts, session.kept.tolist()


def test_layers_on_two_devices_answer_as_on_one():
    """A model that is larger than one device, as LLaVA-Video-72B is: tokens are taken out at the entry of layers before
    and behind the border, what the layers share (mask, angles) stays on the first device."""
    names = ["metom, all", "metok, codec", "fastv, text", "sttm"]
    model = published.unwritten("LLaVA-Video")
    inputs = published.inputs(model, video=tiny.VIDEO)
    want = {name: said(model, inputs, name) for name in names}
    language_model = model.model.language_model
    with pretend():
        spread(list(language_model.layers), [language_model.norm], 2)
        got = {name: said(model, inputs, name) for name in names}
    assert got == want
