"""Scoring without any training: answers made by hand, or networks as they are before their first step."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from conftest import write_export

import evaluate
from command import BadInput
from data.split import write_splits
from evaluate import score, score_photo, score_sheet
from formats.coco import read_export
from formats.photo import Preprocess, write_image
from metrics import MEANING, OPTIMISTIC, WIDTHS
from model import CrackNet, save_checkpoint
from report import evaluation
from report.comparison import TOO_FEW, compare, difference, most_different
from report.robustness import CHANGES
from runs import RUNS, SHIPPED, Run


def darkness(item, photo):
    """A predictor for `score`: the drawn crack has grey level 30, the road about 128."""
    probability = (photo[..., 0] < 70).astype(np.float32) * 0.9
    return (probability >= 0.5).astype(np.uint8), probability


def nothing(item, photo):
    return np.zeros(photo.shape[:2], np.uint8), np.zeros(photo.shape[:2], np.float32)


def add_run(folder, data, seed=0, parts=(4, 2, 3)):
    """A run folder of an untrained network that would have used the photos of `data` in this order."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    save_checkpoint(folder / "best.pt", CrackNet(width=4), asdict(Preprocess(size=96)), 0.5)
    photos = read_export(data).photos
    edges = np.cumsum([0, *parts])
    named = {part: photos[edges[i] : edges[i + 1]] for i, part in enumerate(("train", "valid", "test"))}
    write_splits(folder / "splits.json", named)
    (folder / "arguments.json").write_text(json.dumps({"data": str(data), "seed": 0}))
    return folder


def test_the_sheet_of_three_little_photos_is_the_one_worked_out_by_hand():
    truth, prediction = np.zeros((2, 12, 20), np.uint8)
    truth[5:8, 2:16] = 1  # a strip of 3 × 14 pixels
    prediction[5:7, 2:16] = 1  # the upper two of its three rows
    prediction[0, 0] = 1
    empty = np.zeros_like(truth)
    probability = 0.6 * prediction + 0.2 * (truth & (1 - prediction))
    rows = [score_photo(prediction, truth, probability), score_photo(empty, empty, empty.astype(float))]
    rows.append(score_photo(prediction, empty, 0.6 * prediction))
    sheet, (low, high) = score_sheet(rows)
    assert set(sheet) == set(MEANING)
    assert sheet["iou_cracked"] == pytest.approx(28 / 43) and np.isnan([low, high]).all()  # one cracked photo
    assert sheet["iou_all"] == pytest.approx((28 / 43 + 1 + 0) / 3)
    assert sheet["iou_pooled"] == pytest.approx(28 / (28 + 1 + 29 + 14))
    assert sheet["dice_cracked"] == pytest.approx(56 / 71)
    assert (sheet["precision"], sheet["recall"]) == pytest.approx((28 / 58, 28 / 42))
    assert sheet["f1_2px"] == pytest.approx(2 * (28 / 58) / (28 / 58 + 1))  # all of truth lies near the prediction
    assert (sheet["recall_to_3px"], sheet["undamaged_correct"]) == pytest.approx((28 / 42, 1 / 2))
    assert np.isnan([sheet["recall_3_to_10px"], sheet["recall_over_10px"]]).all()
    assert sheet["undamaged_area"] == pytest.approx((0 + 29 / 240) / 2)
    assert sheet["all_black"] == pytest.approx(2 / 3)
    assert sheet["ods"] == sheet["ois"] == pytest.approx(84 / 85)  # at 0.05 to 0.2 the third row is found too
    assert sheet["label_noise_1px"] == pytest.approx((42 / 60 + 26 / 42) / 2)  # 4 × 15 and 2 × 13 pixels
    assert sheet["label_noise_2px"] == pytest.approx((42 / (5 * 16 - 4) + 12 / 42) / 2)  # no corners; 1 × 12 pixels


def test_centre_line_dice_and_recall_by_width_in_the_sheet_are_those_worked_out_by_hand():
    truth, prediction = np.zeros((2, 16, 20), np.uint8)
    truth[5, 2:16] = 1  # 14 pixels, of which 7 are found
    prediction[5, 2:9] = prediction[9, 3:7] = 1  # 11 pixels, of which 7 are right
    empty = score_photo(np.zeros_like(truth), truth)
    sheet, _ = score_sheet([score_photo(prediction, truth), empty])
    assert sheet["cldice"] == pytest.approx((2 * (7 / 11) * (7 / 14) / (7 / 11 + 7 / 14) + 0) / 2)
    truth, prediction = np.zeros((2, 70, 200), np.uint8)
    for top, width, found in ((5, 2, 50), (20, 6, 80), (45, 13, 150)):
        truth[top : top + width] = 1
        prediction[top : top + width, :found] = 1
    sheet, _ = score_sheet([score_photo(prediction, truth)])
    assert [sheet[key] for key in WIDTHS] == pytest.approx([50 / 200, 80 / 200, 150 / 200])


def speckled(model, preprocess, photo, flips=False):
    """A `predict` that sees nothing but one pixel, in the middle of the photo."""
    probability = np.zeros(photo.shape[:2], np.float32)
    probability[photo.shape[0] // 2, photo.shape[1] // 2] = 0.9
    return probability


def test_averaging_over_mirror_images_is_recorded_and_has_results_of_its_own(export, tmp_path, monkeypatch):
    asked, run = [], add_run(tmp_path / "run", export)
    monkeypatch.setattr(evaluate, "predict", lambda *what, flips: asked.append(flips) or speckled(*what))
    for flags in ([], ["--flips", "--robustness"]):
        evaluate.main([str(run), *flags, "--device", "cpu"])
    assert asked == [False] * 3 + [True] * 3 * len(CHANGES)  # of three test photos
    folders = {folder.name: folder for folder in run.iterdir() if folder.is_dir()}
    assert set(folders) == {"export-test", "export-test-flips"}
    sheets = {name: json.loads((folder / "scores.json").read_text()) for name, folder in folders.items()}
    assert not sheets["export-test"]["flips"] and sheets["export-test-flips"]["flips"]
    harder = json.loads((folders["export-test-flips"] / "robustness.json").read_text())
    assert all(sheet["flips"] for sheet in harder.values())
    said = {name: "three mirror images" in (folder / "report.html").read_text() for name, folder in folders.items()}
    assert said == {"export-test": False, "export-test-flips": True}  # a fact that the reader of the page needs


def test_masks_alone_say_nothing_about_other_thresholds(photos, tmp_path):
    scored = score(photos, lambda item, photo: (darkness(item, photo)[0], None), "masks", "drawn")
    assert np.isnan([scored.sheet[key] for key in OPTIMISTIC]).all() and scored.sheet["iou_cracked"] > 0.8
    evaluate.write_results(scored, tmp_path)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert [written[key] for key in OPTIMISTIC] == [None] * 3
    assert "Precision and recall" not in (tmp_path / "report.html").read_text()


def test_every_photo_is_predicted_once_for_sheet_report_and_overlays(photos, tmp_path):
    asked = []

    def answer(item, photo):
        asked.append(item.name)
        return darkness(item, photo)

    scored = score(photos, answer, "dark", "drawn")
    evaluate.write_results(scored, tmp_path)
    assert asked == [photo.name for photo in photos]
    kept = [scored.mask(i) for i in range(len(photos))]
    assert all((mask == darkness(p, p.read()[0])[0]).all() for mask, p in zip(kept, photos, strict=True))


def test_comparison_says_which_run_is_better_and_what_is_noise(photos, tmp_path, capsys):
    def half(item, photo):  # every second photo gets its mask
        return darkness(item, photo) if item.name[-5] in "02468" else nothing(item, photo)

    runs = [score(photos, predictor, predictor.__name__, "drawn") for predictor in (half, darkness, nothing, half)]
    runs[3] = replace(runs[3], name="again")
    compare(runs, tmp_path)
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert "verdict" not in content["half"]
    assert [content[run.name]["verdict"] for run in runs[1:]] == ["better", "worse", "within noise"]
    gain = runs[1].sheet["iou_cracked"] - runs[0].sheet["iou_cracked"]
    assert content["darkness"]["difference"] == pytest.approx(gain)
    low, high = content["darkness"]["difference_interval"]
    assert low < gain < high
    said, html = capsys.readouterr().out, (tmp_path / "comparison.html").read_text()
    assert all(name in said and name in html for name in content) and (tmp_path / "comparison.png").is_file()


def test_of_five_photos_nobody_can_tell(tmp_path):
    photos = read_export(write_export(tmp_path / "few", cracked=5)).photos
    runs = [score(photos, predictor, predictor.__name__, "drawn") for predictor in (darkness, nothing)]
    assert difference(runs[1], runs[0]).verdict == TOO_FEW and np.isnan(difference(*runs).interval).all()


def test_the_comparison_shows_the_photos_on_which_the_runs_differ_most(photos):
    def all_but_three(item, photo):
        return nothing(item, photo) if item.name[-5] in "257" else darkness(item, photo)

    runs = [score(photos, predictor, predictor.__name__, "drawn") for predictor in (darkness, all_but_three)]
    assert sorted(photos[i].name[-5] for i in most_different(runs, 3)) == ["2", "5", "7"]


def test_runs_are_compared_on_one_test_set_and_refused_on_two(export, tmp_path, capsys):
    one, two = (add_run(tmp_path / name, export, seed) for seed, name in enumerate(("one", "two")))
    evaluate.main([str(one), str(two), "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"one", "two", "comparison.html", "comparison.json"}
    for name in ("one", "two"):
        assert (tmp_path / "out" / name / "report.html").is_file()
    other = add_run(tmp_path / "three", export, parts=(4, 3, 2))
    with pytest.raises(BadInput, match="three.*one"):
        evaluate.main([str(one), str(other), "--out", str(tmp_path / "refused"), "--device", "cpu"])
    assert not (tmp_path / "refused").exists()


def test_the_order_in_a_splits_file_does_not_matter_but_the_labels_do(export, tmp_path):
    runs = [add_run(tmp_path / name, export) for name in ("one", "two")]
    split = json.loads((runs[1] / "splits.json").read_text())
    (runs[1] / "splits.json").write_text(json.dumps(split | {"test": split["test"][::-1]}))
    network = evaluate.open_network(runs[0], torch.device("cpu"))
    one, two = (evaluate.run_job(run, evaluate.choose_photos(Run(run)), network) for run in runs)
    evaluate.check_jobs([one, two])
    relabelled = [replace(photo, annotations=()) for photo in two.test.photos]
    with pytest.raises(BadInput, match="two.*one"):
        evaluate.check_jobs([one, replace(two, test=replace(two.test, photos=relabelled))])


def test_a_run_whose_splits_are_damaged_is_refused_by_name(export, tmp_path):
    run = add_run(tmp_path / "run", export)
    content = json.loads((run / "splits.json").read_text())
    (run / "splits.json").write_text(json.dumps(content | {"sha1": ["0"]}))
    with pytest.raises(BadInput, match="splits.json"):
        evaluate.choose_photos(Run(run))


def test_robustness_writes_the_sheet_under_every_change(export, tmp_path):
    run = add_run(tmp_path / "run", export)
    evaluate.main([str(run), "--robustness", "--out", str(tmp_path / "out"), "--device", "cpu"])
    sheets = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert list(sheets) == list(CHANGES) and all(set(MEANING) <= set(sheet) for sheet in sheets.values())
    assert sheets["as it is"] == json.loads((tmp_path / "out" / "scores.json").read_text())
    assert sheets["double resolution"]["size"] == "256×192" and sheets["rotated 90°"]["size"] == "96×128"
    assert (tmp_path / "out" / "robustness.png").is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(name in page for name in CHANGES) and str(tmp_path) not in page  # no path of this machine


def test_an_answer_that_turns_with_the_photo_scores_the_same_turned(photos):
    upright = score(photos, darkness, "upright", "drawn")
    turned = score(photos, darkness, "turned", "drawn", change=CHANGES["rotated 90°"])
    assert turned.counts.tolist() == upright.counts.tolist()


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_repeatable_leaves_its_input_alone_and_the_mask_where_the_crack_is(name, photos):
    photo, mask = photos[0].read()
    before = photo.copy(), mask.copy()
    results = [CHANGES[name](photo, mask, np.random.default_rng(3)) for _ in range(2)]
    assert all((one == other).all() for one, other in zip(*results, strict=True))
    assert (photo == before[0]).all() and (mask == before[1]).all()
    changed, new = results[0]
    assert changed.dtype == new.dtype == np.uint8 and changed.shape == (*new.shape, 3) and set(np.unique(new)) == {0, 1}
    if new.shape == mask.shape:
        assert (new == mask).all() and (name == "as it is" or (changed != photo).any())
    assert changed[new > 0].mean() < changed[new == 0].mean() - 15  # the drawn crack stays dark, where the mask says


def test_changes_go_where_their_names_say(photos):
    photo, mask = photos[0].read()
    after = {name: change(photo, mask, np.random.default_rng(0))[0].astype(float) for name, change in CHANGES.items()}
    assert after["darker"].mean() < 0.6 * photo.mean() < photo.mean() + 20 < after["brighter"].mean()
    assert np.ptp(after["low contrast"]) < np.ptp(photo) / 2
    for sigma in (10, 20):
        assert (after[f"noise σ {sigma}"] - photo).std() == pytest.approx(sigma, rel=0.05)
    assert np.abs(np.diff(after["blur"], axis=1)).mean() < np.abs(np.diff(photo.astype(float), axis=1)).mean()
    ratio = after["shadow edge"] / np.maximum(photo, 1)
    assert 0.1 < (ratio > 0.95).mean() < 0.9 and 0.1 < ((ratio > 0.4) & (ratio < 0.55)).mean() < 0.9
    assert after["half resolution"].shape == (48, 64, 3) and after["double resolution"].shape == (192, 256, 3)


def test_that_photos_trained_the_network_stands_wherever_the_score_does(export, photos, tmp_path, capsys):
    run, twin = (add_run(tmp_path / name, export) for name in ("run", "twin"))
    (twin / "splits.json").unlink()
    evaluate.main([str(run), str(twin), "--data", str(export), "--split", "all", "--out", str(tmp_path / "out")])
    words = "trained on 4 of these photos; its epoch and threshold were chosen on 2 of these photos"
    assert words in json.loads((tmp_path / "out" / "run" / "scores.json").read_text())["warning"]
    report = (tmp_path / "out" / "run" / "report.html").read_text()
    assert all(part.capitalize()[1:] in report or part[1:] in report for part in words.split("; "))
    assert words in (tmp_path / "out" / "comparison.html").read_text()
    assert "unknown whether it was trained on these photos" in (tmp_path / "out" / "comparison.html").read_text()
    assert "was trained on 4 of these 10 photos" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 30])
def test_no_photo_is_among_the_worst_and_the_median_or_the_best_too(count):
    rows = [{"counts": (i, 1, 1, 100)} for i in range(1, count + 1)]
    chosen = evaluation.selection(evaluation.Scored("a", "b", [], rows, {}, (0, 1)))
    shown = chosen["worst"] + chosen["median"] + chosen["best"]
    assert len(shown) == len(set(shown)) and chosen["worst"][0] == 0 and (count == 1 or chosen["best"][0] == count - 1)
    assert len(shown) == min(count, 9) if count in (1, 3, 30) else len(shown) <= count


def test_a_run_is_scored_on_its_own_photos_or_on_those_that_are_asked_for_never_on_others_in_silence(export, tmp_path):
    run = add_run(tmp_path / "run", export)
    evaluate.main([str(run), "--device", "cpu"])
    before = (run / "export-test" / "scores.json").read_text()
    shutil.rmtree(export)
    with pytest.raises(BadInput, match="run: was trained on .*export, which is not here; give --data"):
        evaluate.main([str(run), "--device", "cpu"])
    write_export(export, seed=9)  # other photos of the same names
    with pytest.raises(BadInput, match="export: other photos than .*run was trained with; give --data"):
        evaluate.main([str(run), "--device", "cpu"])
    assert (run / "export-test" / "scores.json").read_text() == before
    evaluate.main([str(run), "--data", str(export), "--device", "cpu"])
    assert json.loads((run / "export-all" / "scores.json").read_text())["photos"] == 10


def test_a_run_that_learnt_nothing_is_doubted_on_the_screen_and_on_its_page(export, tmp_path, capsys):
    run = add_run(tmp_path / "run", export)
    (run / "history.csv").write_text("epoch,iou_at_threshold\n1,0.02\n")
    evaluate.main([str(run), "--device", "cpu"])
    assert "WARNING: " in (said := capsys.readouterr().out) and "0.020 on validation: its masks mean nothing" in said
    assert "its masks mean nothing" in (run / "export-test" / "report.html").read_text()


NOT_SCORED = [
    ("export", "export.*--data"),
    ("runs", "runs: not a run; .*runs/first is one"),
    ("begun", "train.py --resume .*begun"),
    ("runs/first runs/first", "first: given twice"),
    ("runs/first deep/first", "two runs of one name"),
    ("runs/first --predictions export --data export", "--predictions"),
    ("--predictions runs/first --data export", "without --predictions"),
    ("--predictions runs/first/best.pt --data export", "without --predictions"),
    ("--predictions notes.txt --data export", "notes.txt"),
    ("--predictions export --data export --robustness", "--robustness"),
    ("--predictions export --data export --flips", "--flips"),
]


@pytest.mark.parametrize("words, says", NOT_SCORED)
def test_what_cannot_be_scored_is_told_where_it_goes(export, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/first", "deep/first"):
        add_run(tmp_path / name, export)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "last.pt").touch()
    with pytest.raises(BadInput, match=says):
        evaluate.main([*words.split(), "--device", "cpu"])


def test_results_of_last_pt_and_of_the_shipped_weights_lie_where_no_other_results_are(export, tmp_path):
    run, device = add_run(tmp_path / "run", export), torch.device("cpu")
    (run / "last.pt").write_bytes((run / "best.pt").read_bytes())
    test, network = evaluate.choose_photos(Run(run)), evaluate.open_network(run, device)
    jobs = [evaluate.run_job(path, test, network) for path in (run, run / "best.pt", run / "last.pt", SHIPPED)]
    folders = [job.out for job in jobs]
    assert folders == [run / "export-test", run / "export-test", run / "export-test-last", RUNS / "crack/export-test"]
    assert [job.name for job in jobs] == ["run", "run", "run-last", "crack"]


def test_the_sheet_on_the_page_shows_every_score_once():
    shown = [key for group in evaluation.GROUPS.values() for key in group]
    assert sorted(shown) == sorted(MEANING)


def test_several_runs_get_a_line_each_and_their_comparison_a_folder_of_its_own(export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "RUNS", tmp_path / "runs")
    one, two = (add_run(tmp_path / "runs" / name, export, seed) for seed, name in enumerate(("one", "two")))
    evaluate.main([str(one), "--device", "cpu"])
    assert "cldice" in capsys.readouterr().out
    evaluate.main([str(one), str(two), "--device", "cpu"])
    said = capsys.readouterr().out
    assert "cldice" not in said and all(f"{run}/export-test/report.html" in said for run in (one, two))
    assert (tmp_path / "runs" / "comparison" / "export-test" / "comparison.html").is_file()
    assert len(list(tmp_path.rglob("comparison.html"))) == 1


def test_masks_without_data_are_scored_on_the_sample_and_the_first_line_says_so(export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "SAMPLE", export)
    monkeypatch.setattr("dataset.SAMPLE", export)
    masks = tmp_path / "masks"
    masks.mkdir()
    for photo in read_export(export).photos:
        write_image(masks / f"{photo.path.stem}.png", 255 * photo.mask())
    evaluate.main(["--predictions", str(masks), "--out", str(tmp_path / "out")])
    assert str(export) in capsys.readouterr().out.splitlines()[0]
    evaluate.main(["--predictions", str(masks), "--data", str(export), "--out", str(tmp_path / "out")])
    assert "note:" not in capsys.readouterr().out
