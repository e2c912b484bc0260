import math

import numpy as np
import pytest
import torch

from augment import augment
from coco import read_export
from command import BadInput
from dataset import CrackDataset, loader
from evaluate import best_threshold
from metrics import THRESHOLDS
from model import CrackNet, read_checkpoint
from photo import Preprocess
from train import arguments, dice_bce, loaders, main, optimisation, pace, rank, train_one_epoch

TINY = ["--size", "64", "--versions", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--lr", "0.01"]


def test_the_loss_is_the_one_worked_out_by_hand():
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)  # probabilities 0.5 and 0.75
    mask = torch.tensor([0, 1]).reshape(1, 1, 1, 2)
    dice = 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)
    bce = -(math.log(0.5) + math.log(0.75)) / 2
    assert dice_bce(logits, mask).item() == pytest.approx(dice + bce)
    assert dice_bce(logits, mask, dice_weight=3, bce_weight=0).item() == pytest.approx(3 * dice)


def test_dice_is_taken_over_the_batch_so_that_an_undamaged_photo_changes_little():
    mask = torch.zeros(2, 1, 8, 8)
    mask[1, 0, 3] = 1
    logits = 8 * (2 * mask - 1)
    assert dice_bce(logits, mask, 1, 0) < 0.01
    assert dice_bce(logits[:1], mask[:1], 1, 0) < 0.05  # left empty and undamaged: right
    both = torch.stack([logits[0], -logits[1]])  # the crack missed, everything else called crack
    assert dice_bce(both, mask, 1, 0) > 0.9


def test_a_perfect_answer_costs_less_than_any_other():
    mask = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    perfect = dice_bce(20 * (2 * mask - 1), mask)
    assert perfect < 1e-3 < dice_bce(torch.full_like(mask, -20), mask) and perfect < dice_bce(20 * (1 - 2 * mask), mask)


def test_training_learns(export, tmp_path, capsys):
    assert main(["--data", str(export), "--epochs", "12", "--out", str(tmp_path / "run"), *TINY]) == 0
    history = read_checkpoint(tmp_path / "run" / "last.pt")["training"]["history"]
    assert len(history) == 12 and history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
    assert max(row["iou_cracked"] for row in history) > 0.3
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"best.pt", "last.pt", "history.csv", "curves.png", "splits.json", "arguments.json"}
    assert "best epoch" in capsys.readouterr().out


def weights(folder, name="last.pt"):
    return read_checkpoint(folder / name)["weights"]


def history(folder):
    rows = read_checkpoint(folder / "last.pt")["training"]["history"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_a_resumed_run_ends_bit_for_bit_like_one_that_was_never_stopped(export, tmp_path, monkeypatch):
    flags = ["--data", str(export), "--epochs", "4", "--dropout", "0.2", *TINY]
    main([*flags, "--out", str(tmp_path / "whole")])

    import train

    save = train.save_epoch

    def power_cut(*arguments):
        save(*arguments)
        if len(arguments[4]) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "save_epoch", power_cut)
    with pytest.raises(KeyboardInterrupt):
        main([*flags, "--out", str(tmp_path / "cut")])
    monkeypatch.setattr(train, "save_epoch", save)
    torch.manual_seed(99)
    main(["--resume", str(tmp_path / "cut"), "--workers", "0", "--device", "cpu"])
    assert history(tmp_path / "whole") == history(tmp_path / "cut")
    for name in ("last.pt", "best.pt"):
        whole, cut = weights(tmp_path / "whole", name), weights(tmp_path / "cut", name)
        assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(export, tmp_path):
    flags = ["--data", str(export), "--epochs", "1", *TINY]
    for name, seed, workers in (("a", "3", "0"), ("b", "3", "2"), ("c", "4", "0")):
        main([*flags, "--out", str(tmp_path / name), "--seed", seed, "--workers", workers])
    assert history(tmp_path / "a") == history(tmp_path / "b") != history(tmp_path / "c")


def test_a_loss_that_is_not_finite_stops_with_the_names_of_the_photos(export):
    photos = read_export(export).photos[:2]
    batches = loader(CrackDataset(photos, Preprocess(size=64)), 2, 0)
    model, device = CrackNet(), torch.device("cpu")
    torch.nn.init.constant_(model.head.weight, math.nan)
    state = optimisation(model, arguments([]), 1, device)
    with pytest.raises(FloatingPointError, match="road000.jpg, road001.jpg.*--lr"):
        train_one_epoch(model, batches, dice_bce, **state, device=device)


def test_only_train_photos_are_augmented(export):
    photos = read_export(export).photos
    train_batches, valid_batches = loaders({"train": photos[:6], "valid": photos[6:]}, Preprocess(64), arguments([]))
    assert train_batches.dataset.augment is augment and train_batches.dataset.versions == 6
    assert valid_batches.dataset.augment is None and len(valid_batches.dataset) == 4


def test_the_base_model_is_trained_without_weight_decay():
    state = optimisation(CrackNet(), arguments([]), 10, torch.device("cpu"))
    assert all(group["weight_decay"] == 0 for group in state["optimizer"].param_groups)


def test_the_threshold_is_the_one_with_the_best_iou_over_cracked_photos():
    counts = np.zeros((3, len(THRESHOLDS), 4), int)
    counts[:2] = [1, 9, 9, 0]
    counts[:2, 6] = [9, 1, 1, 0]
    counts[2, 3] = [0, 500, 0, 0]  # an undamaged photo has no say
    assert best_threshold(counts) == THRESHOLDS[6]
    assert best_threshold(counts[2:]) == 0.5


def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing():
    for steps in (2, 10, 137):
        paces = [pace(step, steps) for step in range(steps + 1)]
        assert 0 < paces[0] <= 1 and max(paces) == 1 and paces[-1] == pytest.approx(0, abs=1e-9)
        top = paces.index(1)
        assert paces[: top + 1] == sorted(paces[: top + 1]) and paces[top:] == sorted(paces[top:], reverse=True)
        assert top <= max(1, steps / 10)


def test_the_best_epoch_is_that_of_the_best_iou_and_of_the_loss_where_there_is_no_iou():
    assert rank({"iou_cracked": 0.3, "valid_loss": 9}) > rank({"iou_cracked": 0.2, "valid_loss": 1})
    assert rank({"iou_cracked": math.nan, "valid_loss": 1}) > rank({"iou_cracked": math.nan, "valid_loss": 2})


def test_a_mistyped_resume_is_refused_and_a_finished_run_is_not_overwritten(export, tmp_path):
    with pytest.raises(BadInput, match="--resume .*nowhere"):
        main(["--resume", str(tmp_path / "nowhere")])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"")
    with pytest.raises(BadInput, match="holds a run already"):
        main(["--data", str(export), "--out", str(tmp_path / "run"), *TINY])
