"""What natural features say of a choice, by hand, and the network that they come from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from benchmarks.lite_network import STRIDE, WIDTH, LiteNetwork, SameConv2d  # noqa: E402
from benchmarks.natural import measures  # noqa: E402


class Votes(nn.Module):
    """The class of some features is the direction that most of them have."""

    def classes(self, features):
        return features.sum(dim=1)


def test_measures_by_hand():
    """Ten places in two frames: all show x, and two of them y in the second frame, which is what changed."""
    x, y = torch.eye(2)
    tokens = x.repeat(2, 10, 1)
    tokens[1, :2] = y
    kept = {"all": np.arange(20), "one x": np.array([3]), "one y": np.array([10]), "both": np.array([3, 10])}
    found = {name: measures(Votes(), tokens, slots) for name, slots in kept.items()}
    assert found["all"] == {"kept": 1.0, "coverage": 0.0, "changed": 0.0, "same class": 1.0}
    assert found["one x"] == pytest.approx({"kept": 0.05, "coverage": 0.1, "changed": 1.0, "same class": 1.0})
    assert found["one y"] == pytest.approx({"kept": 0.05, "coverage": 0.9, "changed": 0.0, "same class": 0.0})
    assert found["both"]["coverage"] == found["both"]["changed"] == 0.0


def test_the_network_has_the_published_size_and_a_feature_for_every_cell():
    """4.7 million parameters (EfficientNet-lite0); 320 features for each 32x32 pixels"""
    network = LiteNetwork().eval()
    assert sum(value.numel() for value in network.parameters()) == 4_652_008
    with torch.inference_mode():
        assert network.features(torch.zeros(1, 96, 64, 3, dtype=torch.uint8)).shape == (1, 3 * 2, WIDTH)
    assert STRIDE == 32


@pytest.mark.parametrize("side, kernel, first", [(8, 3, 0), (7, 3, -1), (8, 5, -1), (7, 5, -2)])
def test_padding_is_tensorflows(side, kernel, first):
    """ "same" with stride 2: the first filter begins max((ceil(side / 2) - 1) * 2 + kernel - side, 0) // 2 outside"""
    layer = SameConv2d(1, 1, kernel, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 1.0  # shows the pixel where each filter begins
        rows = torch.arange(1.0, side + 1)[:, None].expand(side, side)[None, None]
        shown = layer(rows)[0, 0]
    begins = first + 2 * np.arange(-(-side // 2))
    expected = [at + 1 if 0 <= at else 0 for at in begins]
    inside = int((begins < 0).sum())  # left of the picture there is nothing to show either
    assert shown[:, inside].tolist() == expected
