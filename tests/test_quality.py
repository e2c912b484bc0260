"""Networks trained for the same time: what is trained, what is repeated, and what happens after an interruption."""

import json

import numpy as np
import pytest
import torch

from dataset import read_export
from inference import crack_mask
from metrics import counts, summary
from model import predict
from results import quality
from results.quality import Budget, Quality, Training

COST = {"cost": {"CrackNet": {"training_photos_per_second": 20.0}}, "photos": {"loader": {"loader": 100.0}}}
SCORES = dict.fromkeys(quality.SHOWN, 0.5)


def test_a_budget_of_minutes_is_as_many_steps_as_training_and_loader_need():
    steps = Budget(10, 512).steps("CrackNet", COST)
    assert steps == round(600 / (1 / 20 + 1 / 100) / quality.BATCH)
    assert Budget(10, 1024).steps("CrackNet", COST) == pytest.approx(steps / 4, abs=1)


class Noted:
    """A training that is only noted: its IoU on validation is ten times the rate."""

    made = []

    def __init__(self, name, parts, size, steps, rate, seed):
        Noted.made.append((rate, seed))
        self.valid, self.device, self.curve = 10 * rate, "cpu", [[steps // 2, 5 * rate], [steps, 10 * rate]]

    def learn(self, saved):
        saved.parent.mkdir(parents=True, exist_ok=True)
        saved.touch()


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """compare(minutes, seeds): CrackNet on the set "roads" -> the noted trainings as (rate, seed)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality, "Training", Noted)
    monkeypatch.setattr(quality, "scores_of", lambda training, test: {"valid": training.valid, "test": SCORES})
    (tmp_path / "all.json").write_text(json.dumps(COST))

    def run(minutes, seeds, name="roads"):
        Noted.made = []
        Quality(Budget(minutes, 512), name, {"test": []}, tmp_path / "all.json").compare(["CrackNet"], seeds)
        return Noted.made

    return run


def test_a_score_that_is_undefined_does_not_stop_the_report(compare, monkeypatch, capsys):
    """Where no crack is up to 3 pixels wide, JSON has null for its recall."""
    monkeypatch.setitem(SCORES, "recall_to_3px", None)
    compare(10, [0])
    assert "recall_to_3px nan" in capsys.readouterr().out


def test_a_finished_training_is_stored_at_once_and_not_repeated(compare, tmp_path):
    assert compare(10, [0, 1]) == [(0.001, 0), (0.003, 0), (0.003, 1)]  # both rates, then the better one
    assert len(json.loads((tmp_path / "all.json").read_text())["quality"]["roads"]) == 3
    assert not list((tmp_path / quality.UNFINISHED).iterdir())
    assert compare(10, [0, 1]) == []
    assert compare(10, [0, 1], "another set") != []


def test_a_training_that_another_process_has_added_is_kept(compare, tmp_path, monkeypatch):
    file = tmp_path / "all.json"

    def another(training, test):
        stored = json.loads(file.read_text())
        stored.setdefault("quality", {}).setdefault("roads", {})["U-Net 16, 10 min, rate 0.001, seed 0"] = {"valid": 1}
        file.write_text(json.dumps(stored))
        return {"valid": training.valid, "test": SCORES}

    monkeypatch.setattr(quality, "scores_of", another)
    compare(10, [0])
    stored = json.loads(file.read_text())
    assert stored["quality"]["roads"].keys() > {"U-Net 16, 10 min, rate 0.001, seed 0"} and stored["cost"]


def test_the_better_rate_of_a_shorter_budget_is_taken(compare):
    compare(10, [0])
    assert compare(30, [0]) == [(0.003, 0)]


def test_an_interrupted_training_ends_with_the_same_network(export, tmp_path, monkeypatch):
    """It stops in the middle of the second epoch: 10 photos and their versions are 15 batches."""
    monkeypatch.setattr(quality, "POINTS", 2)
    photos = read_export(export).photos
    parts = {"train": photos, "valid": photos[:3]}

    def training():
        return Training("CrackNet", parts, 64, 40, 0.003, 1)

    whole = training()
    whole.learn(tmp_path / "whole.pt")
    stopped, validated, seen = training(), Training.validated, []

    def stop(self):
        seen.append(self)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return validated(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "validated", stop)
        stopped.learn(tmp_path / "stopped.pt")
    again = training()
    again.learn(tmp_path / "stopped.pt")
    assert [step for step, _ in again.curve] == [20, 40] and again.curve == whole.curve
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key]), key


def test_the_figure_has_a_line_for_each_network_of_its_longest_training_at_the_better_rate(tmp_path, monkeypatch):
    def row(network, minutes, rate, valid):
        curve = [[50, valid / 2], [100, valid]]
        about = {"network": network, "rate": rate, "minutes": minutes, "steps": 100, "valid": valid, "curve": curve}
        return about | {"test": {"iou_cracked": valid - 0.05}}

    drawn = []
    monkeypatch.setattr(quality, "save_figure", lambda path, fig: drawn.append((path, fig)))
    rows = [row("A", 30, 0.003, 0.4), row("A", 10, 0.001, 0.3), row("A", 10, 0.003, 0.35), row("B", 10, 0.001, 0.2)]
    rows += [row("B", 10, 0.003, 0.1), row("C, an older one", 10, 0.001, 0.3) | {"curve": []}]
    quality.draw(tmp_path / "all.json", "roads", dict(enumerate(rows)))
    [(path, fig)] = drawn
    lines = {line.get_label(): line.get_xydata().tolist() for line in fig.axes[0].lines}
    dots = sorted(line.get_xydata().tolist() for line in fig.axes[0].lines if line.get_marker() == "D")
    assert path.name == "quality-roads.png"
    assert lines["A"] == [[15, 0.2], [30, 0.4]] and lines["B"] == [[5, 0.1], [10, 0.2]] and len(lines) == 5
    assert dots == [[], [[10, pytest.approx(0.15)]], [[30, pytest.approx(0.35)], [10, pytest.approx(0.3)]]]


def test_costs_that_nobody_measured_are_asked_for_and_a_damaged_file_of_results_is_named(tmp_path, export):
    with pytest.raises(quality.BadInput, match="benchmark.py cost"):
        quality.main(["--json", str(tmp_path / "none.json"), "--data", str(export)])
    (tmp_path / "all.json").write_text('{"cost": {')
    with pytest.raises(quality.BadInput, match="all.json"):
        quality.main(["--json", str(tmp_path / "all.json")])


def test_the_scores_are_those_of_the_masks_that_inference_writes(export, monkeypatch):
    photos = read_export(export).photos
    training = Training("CrackNet", {"train": photos, "valid": photos}, 64, 4, 0.003, 1)
    pixels = [item.read() for item in photos]
    threshold = float(np.median(predict(training.model, training.preprocess, pixels[0][0])))  # half of it is crack
    monkeypatch.setattr(training, "validated", lambda: (0.25, threshold))
    found = quality.scores_of(training, photos)
    assert (found["valid"], found["threshold"]) == (0.25, threshold)
    for flips, key in ((False, "test"), (True, "flips")):
        photo_counts = []
        for photo, truth in pixels:
            mask, _ = crack_mask(predict(training.model, training.preprocess, photo, flips=flips), threshold)
            photo_counts.append(counts(mask, truth))
        by_hand = summary(photo_counts)
        assert {name: found[key][name] for name in ("iou_cracked", "recall")}.items() <= by_hand.items()
    assert found["test"]["recall"] != found["flips"]["recall"] > 0
