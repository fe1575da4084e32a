from __future__ import annotations

import numpy as np
import pytest
import torch

from fervit.training.data import DeviceLatents
from tests.conftest import latent_set


@pytest.mark.parametrize("rows", [None, [3, 5, 8, 13, 21]])
def test_statistics_are_those_of_the_rows(rows: list[int] | None) -> None:
    latents = latent_set(30)
    latents.codes[:, 2] += 100  # far from 0
    latents.codes[:, 0, 0] = 1  # never changes
    chosen = np.arange(len(latents)) if rows is None else np.array(rows)
    mean, deviation = DeviceLatents(latents).statistics(torch.from_numpy(chosen))
    expected = latents.codes[chosen].astype(np.float64)
    np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(deviation[1:], expected.std(axis=0)[1:], rtol=1e-3)
    assert 0 < deviation[0, 0] < 0.01
