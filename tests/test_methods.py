"""Detectors without learning: on drawn cracks, their settings chosen where they may be, the command as a whole."""

import json

import cv2
import numpy as np
import pytest
from conftest import draw_crack, painted, write_export
from test_evaluate import add_run

import dataset
import metrics
from command import BadInput
from evaluate import score_photo, score_sheet
from formats.coco import Photo, read_export
from report.evaluation import Scored
from results import methods

SETTINGS = {
    "adaptive threshold": {"smooth": 1, "block": 31, "below": 14, "least": 40},
    "Canny edges": {"smooth": 2, "strong": 4, "gap": 11, "least": 40},
    "black-hat": {"smooth": 1, "size": 17, "length": 9, "above": 10, "least": 40},
}


def noisy_road(rng, height=96, width=128):
    """(H, W, 3) uint8 even grey with grain, half in the light."""
    road = 130 + rng.normal(0, 8, (height, width, 1)) + np.linspace(0, 60, width)[:, None]
    return np.repeat(road, 3, axis=2).clip(0, 255).astype(np.uint8)


def little_method(**change):
    """The black-hat on a grid small enough to try by hand."""
    parts = {"of_first": {"smooth": (1, 2), "size": (9, 17), "length": (1,)}, "of_then": {"above": (3, 10)}}
    return methods.Method("", methods.black_hat, methods.far_above, **parts, least=(20, 40), **change)


@pytest.mark.parametrize("name", methods.METHODS)
def test_each_detector_finds_a_dark_line_and_leaves_a_plain_road_empty(name, rng):
    road = noisy_road(rng)
    cracked, truth = road.copy(), np.zeros(road.shape[:2], np.uint8)
    corners = np.round(np.reshape(draw_crack(cracked, rng), (-1, 2))).astype(np.int32)
    cv2.fillPoly(truth, [corners], 1)
    found, plain = (methods.METHODS[name].detect(photo, SETTINGS[name]) for photo in (cracked, road))
    assert found.dtype == np.uint8 and found.shape == truth.shape and set(np.unique(found)) == {0, 1}
    assert metrics.iou(metrics.counts(found, truth)) > 0.6 and not plain.any()


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_search_scores_the_very_masks_that_the_chosen_settings_give_later(name, rng):
    method, photo = methods.METHODS[name], noisy_road(rng, 48, 64)
    draw_crack(photo, rng)
    tried = list(method.masks(photo, method.of_first, method.of_then, method.least))
    assert len(tried) == len(method.grid) and 24 <= len(tried) <= 200
    for settings, mask in list(zip(method.grid, tried, strict=True))[::7]:
        assert (method.detect(photo, settings) == mask).all(), settings


def test_only_long_pieces_stay():
    mask = np.zeros((40, 60), np.uint8)
    mask[5, 5:35], mask[20:30, 5:15], mask[35, 50] = 1, 1, 1  # a line, a block with more pixels, a dot
    every, long, none = methods.long_pieces(mask, (0, 25, 31))
    assert (every == mask).all() and long.sum() == 30 == long[5].sum() and not none.any()


def test_a_short_dark_gap_is_no_line(rng):
    photo = noisy_road(rng)
    cv2.line(photo, (10, 20), (110, 30), (30, 30, 30), 3)
    cv2.circle(photo, (60, 70), 4, (30, 30, 30), -1)
    gap, line = (slice(62, 79), slice(52, 69)), (slice(15, 35), slice(10, 110))
    short, long = (methods.black_hat(photo, 1, 17, length)[0] for length in (1, 17))
    assert short[gap].max() > 60 and long[gap].max() < 30 and long[line].max() > 60


def test_the_chosen_settings_are_the_best_of_the_grid_on_photos_with_a_crack(export, monkeypatch):
    photos, method = read_export(export).photos[5:], little_method()  # 3 with a crack, 2 without
    monkeypatch.setattr(methods, "METHODS", {"little": method})
    choice = methods.choose(photos)["little"]
    by_hand = []
    for settings in method.grid:
        rows = [score_photo(method.detect(photo, settings), truth) for photo, truth in (p.read() for p in photos)]
        by_hand.append(score_sheet(rows)[0])
    for key, chosen in (("iou_cracked", "settings"), ("f1_2px", "settings_f1_2px")):
        values = [sheet[key] for sheet in by_hand]
        assert choice[f"train_{key}"] == pytest.approx(max(values)) and max(values) > min(values) + 0.01
        assert choice[chosen] == method.grid[int(np.argmax(values))]
    assert choice["combinations"] == len(method.grid) == 16


def test_seeds_are_one_row_and_the_photos_give_its_interval():
    truth = painted((10, 40), np.s_[4:6])
    runs = []
    for name, cuts in {"one": (0, 10) * 3, "two": (20, 30) * 3}.items():  # columns that each seed misses on each photo
        masks = [np.where(np.arange(40) >= cut, truth, 0).astype(np.uint8) for cut in cuts]
        rows = [score_photo(mask, truth) | {"size": (40, 10)} for mask in masks]
        runs.append(Scored(name, "drawn", [None] * 6, rows, *score_sheet(rows)))
    found = methods.results({"other": runs[1:], methods.OURS: runs})
    ours, other = found[methods.OURS], found["other"]
    assert ours["iou_cracked"] == pytest.approx((1 + 0.75 + 0.5 + 0.25) / 4)
    assert ours["lowest_highest"]["iou_cracked"] == pytest.approx([0.375, 0.875])
    low, high = ours["iou_cracked_interval"]
    photos = np.mean([run.iou() for run in runs], axis=0)  # each photo's mean over the seeds
    assert (low, high) == metrics.interval(photos) and low < ours["iou_cracked"] < high
    assert ours["scored"] == ["one", "two"]
    assert other["ours_ahead"] == {"difference": 0.25, "interval": (0.25, 0.25)} and "ours_ahead" not in ours
    lines = methods.table(found).splitlines()
    assert lines[2].startswith("| other | 0.375 | 0.231 to 0.519 |")
    assert lines[3].startswith(f"| ours | 0.625 (0.375 to 0.875) | {low:.3f} to {high:.3f} |")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """(folder of results, what was read in which order, names by part) of the command with two untrained runs."""
    folder = tmp_path_factory.mktemp("methods")
    data = write_export(folder / "mine")
    runs = [add_run(folder / name, data, seed, (4, 2, 4)) for seed, name in enumerate(("one", "two"))]
    order, read, choose = [], Photo.read, methods.choose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "SAMPLE", write_export(folder / "drawn", seed=1))
        patch.setattr(Photo, "read", lambda photo: order.append(photo.path) or read(photo))
        patch.setattr(methods, "choose", lambda photos: [choose(photos), order.append("chosen")][0])
        given = ["--data", str(data), "--splits", str(runs[0] / "splits.json"), "--run", *map(str, runs)]
        assert methods.main([*given, "--out", str(folder / "out"), "--device", "cpu"]) == 0
    splits = json.loads((runs[0] / "splits.json").read_text())
    return folder / "out", order, {part: {data / name for name in splits[part]} for part in ("train", "test")}


def test_no_test_photo_is_read_before_the_settings_are_chosen(command):
    _, order, parts = command
    assert set(order[: order.index("chosen")]) == parts["train"]
    assert set(order[order.index("chosen") + 1 :]) >= parts["test"]


def test_the_command_writes_every_score_of_every_method_and_a_picture(command):
    out, *_ = command
    found = json.loads((out / "methods.json").read_text())
    assert (found["train"], found["test"], found["title"]) == (4, 4, "mine, test, 4 photos") and found["seconds"] > 0
    *fixed, by_f1, ours = found["scores"]
    assert fixed == ["all black", *methods.METHODS] and by_f1.endswith(", by f1_2px") and ours == "ours"
    assert all(set(metrics.MEANING) <= set(row) for row in found["scores"].values())
    black = found["scores"]["all black"]
    assert (black["iou_cracked"], black["iou_all"], black["undamaged_correct"]) == (0, 0.5, 1)
    assert found["scores"]["ours"]["scored"] == ["one", "two"]
    for name, choice in found["chosen"].items():
        assert choice["settings"].keys() == choice["grid"].keys()
        assert found["scores"][name]["iou_cracked"] > 0.5, name  # black bands on a grey road are no riddle
    assert cv2.imread(str(out / "methods.jpg")).shape[1] == 1320


def test_without_a_crack_among_the_test_photos_nothing_is_chosen(tmp_path):
    data = write_export(tmp_path / "mine")
    folder = add_run(tmp_path / "run", data, parts=(4, 4, 2))  # the last two are undamaged
    with pytest.raises(BadInput, match="splits.json: no test photo has a crack"):
        methods.main(["--data", str(data), "--splits", str(folder / "splits.json"), "--out", str(tmp_path)])
