"""The benchmark: all networks answer in the same form, and the stages of a photo are shares of its time."""

import pytest
import torch

from results import benchmark
from results.contenders import CONTENDERS, available


@pytest.mark.parametrize("name", available(None))
def test_every_network_gives_a_logit_for_each_pixel(name):
    model = CONTENDERS[name]().eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_the_stages_of_a_photo_are_shares_of_its_time(tmp_path):
    shares = benchmark.stages(benchmark.drawn_file(tmp_path, 0.25))
    assert list(shares)[0] == "read" and len(shares) == 7
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0
