import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import painted, write_export

import evaluate
import inference
import runs
from command import BadInput
from data.split import PARTS, trained_on, write_splits
from data.synthesize import draw_photo
from formats.coco import read_export
from formats.photo import write_image
from model import CrackNet, load_checkpoint, predict, save_checkpoint
from weights import average, mine, train_weights, variety

SEEDS = range(90000, 90004)  # photos that the weights were not trained on


@pytest.fixture
def no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(evaluate, "RUNS", tmp_path / "runs")
    return tmp_path


def test_the_weights_that_ship_find_cracks_that_they_never_saw():
    model, preprocess, threshold = inference.open_model(runs.SHIPPED, "cpu")
    hits = union = 0
    for seed in SEEDS:
        photo, mask = draw_photo(np.random.default_rng(seed), (480, 640), True)
        found = predict(model, preprocess, photo) >= threshold
        hits, union = hits + (found & (mask > 0)).sum(), union + (found | (mask > 0)).sum()
    assert hits / union > 0.45


def test_the_weights_are_small_and_say_which_photos_they_know():
    assert runs.SHIPPED.stat().st_size < 3e6
    splits = json.loads(runs.SHIPPED.with_name("splits.json").read_text())
    assert splits.keys() >= set(PARTS) and len(splits["train"]) > 300
    assert not any(word in name for part in PARTS for name in splits[part] for word in ("cfd", "deepcrack"))


def test_without_a_run_a_photo_is_segmented_by_the_weights_that_ship(no_run, capsys):
    photo, _ = draw_photo(np.random.default_rng(SEEDS[0]), (480, 640), True)
    write_image(no_run / "road.jpg", photo)
    assert inference.main(["road.jpg"]) == 0
    assert "crack.pt" in capsys.readouterr().out
    assert (no_run / "predictions" / "road_mask.png").is_file()


def test_the_scores_of_the_weights_that_ship_never_land_beside_them(no_run, monkeypatch):
    data = write_export(no_run / "data", cracked=2, undamaged=1)
    monkeypatch.chdir(runs.SHIPPED.parent.parent)
    before = sorted(runs.SHIPPED.parent.iterdir())
    evaluate.main(["weights/crack.pt", "--data", str(data)])
    assert sorted(runs.SHIPPED.parent.iterdir()) == before
    evaluate.main(["weights/crack.pt", "--data", str(data), "--flips"])
    kept = {part.name for part in (no_run / "runs" / "crack").iterdir()}
    assert kept == {"data-all", "data-all-flips"}  # neither overwrites the other


# ------------------------------------------------------------------------------- how the weights that ship are made
def black_line(height=300, width=500, half=4):
    """A grey photo with a black horizontal line, and its mask."""
    photo = np.full((height, width, 3), 150, np.uint8)
    mask = painted((height, width), np.s_[height // 2 - half : height // 2 + half])
    photo[mask > 0] = 20
    return photo, mask


def test_the_mask_stays_on_its_crack_whatever_changes(monkeypatch):
    monkeypatch.setattr(variety, "CRACK_IN_CROP", 1.0)
    photo, mask = black_line()
    for seed in range(12):
        changed, label = variety.vary(photo, mask, np.random.default_rng(seed))
        assert changed.shape == (variety.CROP, variety.CROP, 3) and label.shape == changed.shape[:2]
        crack, road = changed[cv2.erode(label, np.ones((3, 3))) > 0], changed[cv2.dilate(label, np.ones((9, 9))) == 0]
        assert len(crack) and crack.mean() < road.mean() - 5


def test_a_crop_shows_the_photo_between_half_and_three_times_its_size(monkeypatch):
    monkeypatch.setattr(variety, "CRACK_IN_CROP", 1.0)
    photo, mask = black_line(half=8)
    widths = []
    for seed in range(60):
        _, label = variety.place(photo, mask, np.random.default_rng(seed))
        widths.append(2 * cv2.distanceTransform(label, cv2.DIST_L2, 5).max())
    assert 6 < min(widths) < 11 and 36 < max(widths) < 53


def test_fading_a_crack_changes_nothing_but_the_crack():
    photo, mask = black_line()
    for seed in range(5):
        faded = variety.fade_crack(photo.astype(np.float32), mask, np.random.default_rng(seed))
        far = cv2.dilate(mask, np.ones((15, 15))) == 0
        np.testing.assert_allclose(faded[far], photo[far], atol=0.5)
    assert np.abs(faded - photo)[mask > 0].max() > 5


@pytest.mark.parametrize("seed", range(6))
def test_a_blackened_crack_is_dark_and_smooth_and_nothing_else_changes(rng, seed):
    photo = rng.normal(140, 25, (120, 160, 3)).clip(0, 255).astype(np.float32)
    mask = painted((120, 160), np.s_[50:75])
    black = variety.blacken_crack(photo, mask, np.random.default_rng(seed))
    middle = black[58:67]
    assert middle.mean() < 100 and middle.std() < 0.6 * photo[58:67].std()
    assert (black <= photo + 1e-3).all()  # a crack that is darker already stays so
    np.testing.assert_allclose(black[:35], photo[:35], atol=0.5)
    np.testing.assert_allclose(black[90:], photo[90:], atol=0.5)


def test_local_contrast_keeps_large_areas_and_scales_detail(rng):
    photo = np.full((200, 200, 3), 100, np.float32) + 20 * rng.standard_normal((200, 200, 1), dtype=np.float32)
    photo[:, 100:] += 80
    changed = variety.local_contrast(photo, np.random.default_rng(2))
    assert abs(np.mean(changed[:, 150:]) - np.mean(photo[:, 150:])) < 3
    assert not np.isclose(changed[:, :50].std(), photo[:, :50].std(), rtol=0.02)


def make(data, out, steps):
    train_weights.main(
        ["--data", f"{data}=1", "--out", str(out), "--width", "4", "--steps", str(steps), "--batch-size", "2",
         "--workers", "0"]
    )  # fmt: skip


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_training_that_was_stopped_gives_the_same_weights(tmp_path, monkeypatch):
    data = write_export(tmp_path / "data", cracked=11, undamaged=2)
    monkeypatch.setattr(train_weights, "SAVE_EVERY", 2)
    make(data, tmp_path / "whole", 4)
    save = train_weights.save_checkpoint
    monkeypatch.setattr(train_weights, "save_checkpoint", interrupted)  # after the state of step 2 was saved
    with pytest.raises(KeyboardInterrupt):
        make(data, tmp_path / "stopped", 4)
    monkeypatch.setattr(train_weights, "save_checkpoint", save)
    make(data, tmp_path / "stopped", 4)
    whole, stopped = (load_checkpoint(tmp_path / name / "best.pt")[0].state_dict() for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_validation_photos_are_never_learnt_from(tmp_path):
    data = write_export(tmp_path / "data", cracked=18, undamaged=2)
    exports, parts = train_weights.open_exports([f"{data}=1"], [])
    assert len(parts["valid"]) == 2 and len(parts["train"]) == 18
    assert not {item.name for item in parts["valid"]} & {item.name for photos, _ in exports for item in photos}


def test_splits_json_knows_the_photos_of_two_exports_that_have_the_same_names(tmp_path):
    data = []
    for seed, name in enumerate(("first", "second")):
        write_export(tmp_path / name, cracked=3, undamaged=1, seed=seed)
        data.append(f"{tmp_path / name}=1")
    _, parts = train_weights.open_exports(data, [])
    write_splits(tmp_path / "splits.json", parts)
    photos = [photo for name in ("first", "second") for photo in read_export(tmp_path / name).photos]
    assert len(trained_on(tmp_path / "splits.json", photos)) == 8


def test_of_undamaged_exports_no_cracked_photo_is_taken(tmp_path):
    data = write_export(tmp_path / "data", cracked=3, undamaged=4)
    exports, _ = train_weights.open_exports([], [f"{data}=1"])
    assert len(exports[0][0]) == 4 and not any(item.cracked for item in exports[0][0])


def test_the_learning_rate_rises_stays_and_falls():
    rates = [train_weights.learning_rate(step, 5000) for step in range(5000)]
    assert rates[0] < 0.01 and rates[1000] == 1 and rates[-1] < 0.01
    assert max(rates) == 1 and all(rate > 0 for rate in rates)


def test_the_average_of_two_networks_lies_halfway(tmp_path):
    for number, name in enumerate(("one", "other")):
        torch.manual_seed(number)
        (tmp_path / name).mkdir()
        save_checkpoint(tmp_path / name / "best.pt", CrackNet(width=4), {"size": 64}, 0.4 + number / 10)
        (tmp_path / name / "splits.json").write_text(f'"{name}"')
    average.main([*(str(tmp_path / name / "best.pt") for name in ("one", "other")), "--out", str(tmp_path / "mean")])
    one, other, mean = (load_checkpoint(tmp_path / name / "best.pt") for name in ("one", "other", "mean"))
    for name, tensor in mean[0].state_dict().items():
        expected = (one[0].state_dict()[name].float() + other[0].state_dict()[name].float()) / 2
        torch.testing.assert_close(tensor.float(), expected)
    assert mean[1:] == other[1:] and (tmp_path / "mean" / "splits.json").read_text() == '"other"'


def test_hard_negatives_are_the_undamaged_photos_in_which_the_network_finds_a_crack(tmp_path, monkeypatch):
    data = write_export(tmp_path / "data", cracked=2, undamaged=3)
    undamaged = sorted(Path(photo.path).name for photo in read_export(data).photos if not photo.cracked)
    answers = iter([0.35, 0.2, 0.9])  # of the three, in this order
    monkeypatch.setattr(mine, "predict", lambda model, preprocess, photo: np.full(photo.shape[:2], next(answers)))
    mine.main([str(data), "--checkpoint", str(runs.SHIPPED), "--out", str(tmp_path / "hard")])
    found = read_export(tmp_path / "hard").photos
    assert sorted(Path(photo.path).name for photo in found) == [undamaged[0], undamaged[2]]
    assert not any(photo.cracked for photo in found)
    with pytest.raises(BadInput, match="--out"):  # it would replace the photos that are copied
        mine.main([str(data), "--checkpoint", str(runs.SHIPPED), "--out", str(data)])
