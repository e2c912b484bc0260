"""The benchmark: all networks answer in the same form."""

import pytest
import torch

from results.contenders import CONTENDERS, available


@pytest.mark.parametrize("name", available(None))
def test_every_network_gives_a_logit_for_each_pixel(name):
    model = CONTENDERS[name]().eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)
