"""The control of what merges before the vision encoder: regions from smooth random fields."""

from dataclasses import replace

import numpy as np

from codecmeta.compression import Layout, Metom
from codecmeta.compression.methods.metom.twins import smooth_noise


def test_smooth_noise_is_smooth_and_knows_nothing():
    """Neighbours are alike as in a density, frames are not; which patches are low is drawn evenly over the picture."""
    field = smooth_noise(400, (16, 16), seed=3)
    assert field.shape == (400, 16, 16) and field.dtype == np.float32
    assert np.array_equal(field, smooth_noise(400, (16, 16), seed=3))
    assert not np.array_equal(field, smooth_noise(400, (16, 16), seed=4))

    def alike(one, other):
        return np.corrcoef(one.ravel(), other.ravel())[0, 1]

    assert alike(field[:, 1:], field[:, :-1]) > 0.6 and alike(field[:, :, 1:], field[:, :, :-1]) > 0.6
    assert abs(alike(field[:, 6:], field[:, :-6])) < 0.1 and abs(alike(field[1:], field[:-1])) < 0.02
    low = (field <= np.quantile(field.reshape(400, -1), 0.2, axis=1)[:, None, None]).mean(axis=0)
    assert low[2:-2, 2:-2].std() < 0.05 and abs(low.mean() - 0.2) < 0.01


def test_regions_by_chance_join_as_many_patches_as_asked_and_others_than_the_codec():
    grid = Layout(16, (16, 16), (16, 16))
    noise = Metom(density_source="noise", btm=False, tau_mode="target", share=0.14, seed=1)
    assert not noise.needs_metadata and not noise.needs_pictures
    plan, other = noise.plan(grid), replace(noise, seed=2).plan(grid)
    assert abs(plan.encoder_tokens.sum() / (16 * 256) - 0.86) < 0.02
    assert not np.array_equal(plan.regions, other.regions)
