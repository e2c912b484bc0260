"""The benchmark: what it trains, what it repeats, and that all networks answer in the same form."""

import json

import pytest
import torch

from results import benchmark
from results.contenders import CONTENDERS, available

COST = {"cost": {"CrackNet": {"training_photos_per_second": 20.0}}, "photos": {"loader": {"loader": 100.0}}}


@pytest.mark.parametrize("name", available(None))
def test_every_network_gives_a_logit_for_each_pixel(name):
    model = CONTENDERS[name]().eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_a_budget_of_minutes_is_as_many_steps_as_training_and_loader_need():
    steps = benchmark.Budget(10, 512).steps("CrackNet", COST)
    assert steps == round(600 / (1 / 20 + 1 / 100) / benchmark.BATCH)
    assert benchmark.Budget(10, 1024).steps("CrackNet", COST) == pytest.approx(steps / 4, abs=1)


def test_the_stages_of_a_photo_are_shares_of_its_time(tmp_path):
    shares = benchmark.stages(benchmark.drawn_file(tmp_path, 0.25))
    assert list(shares)[0] == "read" and len(shares) == 7
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) >= 0


@pytest.fixture
def quality(tmp_path, monkeypatch):
    """A Quality of 10 minutes whose trainings are only noted: the IoU on validation is ten times the rate."""
    noted = []

    def train_for(build, train_photos, size, steps, rate, seed):
        noted.append((rate, seed))
        return torch.nn.Linear(1, 1), rate

    sheet = dict.fromkeys(benchmark.SHOWN, 0.5)
    monkeypatch.setattr(benchmark, "train_for", train_for)
    monkeypatch.setattr(benchmark, "scores_of", lambda model, rate, parts: {"valid": 10 * rate, "test": sheet})
    made = benchmark.Quality(benchmark.Budget(10, 512), {"train": []}, tmp_path / "all.json", dict(COST))
    return made, noted


def test_a_finished_training_is_stored_at_once_and_not_repeated(quality):
    made, noted = quality
    made.compare(["CrackNet"], [0, 1])
    assert noted == [(0.001, 0), (0.003, 0), (0.003, 1)]  # both rates, then the better one with the other seed
    assert len(json.loads(made.file.read_text())["quality"]) == 3
    made.compare(["CrackNet"], [0, 1])
    assert len(noted) == 3


def test_the_better_rate_of_a_shorter_budget_is_taken(quality):
    made, noted = quality
    made.compare(["CrackNet"], [0])
    longer = benchmark.Quality(benchmark.Budget(30, 512), made.parts, made.file, made.results)
    longer.compare(["CrackNet"], [0])
    assert noted[2:] == [(0.003, 0)]
