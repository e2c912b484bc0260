"""The commands as a user types them, on a little drawn export: what they write, what they say, how they end."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ending, lines_with, table, write_export

import augment
import dataset
import evaluate
import inference
import metrics
import runs
import survey
import train
from command import signals_noted, write_csv
from formats.photo import read_photo
from model import predict

ROOT = Path(__file__).parent.parent
FLAGS = ["--size", "96", "--versions", "2", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--lr", "0.01"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(export folder, run folder) of a network that has seen a few epochs of drawn cracks."""
    base = tmp_path_factory.mktemp("trained")
    data = write_export(base / "roads", cracked=14, undamaged=6)
    train.main(["--data", str(data), "--epochs", "8", "--out", str(base / "runs" / "first"), *FLAGS])
    return data, base / "runs" / "first"


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def test_a_trained_network_beats_an_all_black_answer(trained, capsys):
    data, run = trained
    assert evaluate.main([str(run), "--device", "cpu"]) == 0
    sheet = scores(run / "roads-test")
    assert sheet["iou_cracked"] > 0.3 and sheet["photos"] == 4
    assert sheet["iou_cracked_interval"] == [None, None]
    assert "3 photos with a crack" in capsys.readouterr().out
    rows = table(run / "roads-test" / "photos.csv")
    mean = np.mean([float(row["iou"]) for row in rows if int(row["true_pixels"])])
    assert len(rows) == 4 and mean == pytest.approx(sheet["iou_cracked"], abs=1e-4)
    assert {"worst.png", "median.png", "best.png"} <= {path.name for path in (run / "roads-test").iterdir()}


def test_what_is_scored_is_what_ships(trained, tmp_path):
    """Masks that inference.py writes get the very scores that evaluate.py gives the run."""
    data, run = trained
    splits = run / "splits.json"
    photos = [str(data / name) for name in json.loads(splits.read_text())["test"]]
    evaluate.main([str(run), "--out", str(tmp_path / "run"), "--device", "cpu"])
    inference.main([*photos, "--checkpoint", str(run), "--out", str(tmp_path / "masks"), "--device", "cpu"])
    same = ["--data", str(data), "--splits", str(splits), "--split", "test"]
    evaluate.main(["--predictions", str(tmp_path / "masks"), *same, "--out", str(tmp_path / "masks2")])
    runs, masks = scores(tmp_path / "run"), scores(tmp_path / "masks2")
    assert runs.pop("warning") and not masks.pop("warning")  # two photos chose the run's threshold
    # a mask does not say what another threshold would give
    assert runs | dict.fromkeys(metrics.OPTIMISTIC) == masks


def test_the_mask_has_the_photos_own_size_and_lies_on_the_crack(trained, tmp_path, rng):
    data, run = trained
    photo = cv2.resize(cv2.imread(str(data / "road000.jpg")), (311, 205))
    cv2.imwrite(str(tmp_path / "Straße 1.png"), photo)
    assert inference.main([str(tmp_path / "Straße 1.png"), "--checkpoint", str(run), "--out", str(tmp_path)]) == 0
    mask = cv2.imread(str(tmp_path / "Straße 1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (205, 311) and set(np.unique(mask)) == {0, 255}
    assert photo[mask > 0].mean() < photo[mask == 0].mean() - 20  # the drawn crack is dark
    assert read_photo(tmp_path / "Straße 1_overlay.jpg").shape == (205, 311, 3)
    assert (tmp_path / "Straße 1_figure.png").is_file()


def test_the_threshold_moves_the_mask(trained, tmp_path):
    data, run = trained
    areas = []
    for threshold in ("0", "0.5", "1"):
        flags = ["--checkpoint", str(run), "--out", str(tmp_path), "--threshold", threshold]
        inference.main([str(data / "road001.jpg"), *flags])
        areas.append((cv2.imread(str(tmp_path / "road001_mask.png"), 0) > 0).mean())
    assert areas[0] == 1 > areas[1] > areas[2]


def test_the_newest_run_is_taken_and_named(trained, tmp_path, monkeypatch, capsys):
    data, run = trained
    monkeypatch.setattr(runs, "RUNS", run.parent)
    inference.main([str(data / "road000.jpg"), "--out", str(tmp_path)])
    assert str(run) in capsys.readouterr().out


def test_the_newest_run_is_the_one_that_learnt_last_even_if_its_best_epoch_lies_far_back(tmp_path, monkeypatch):
    times = {"early-best": (100, 900), "short": (500, 500), "old": (50, 60)}
    for name, (best, last) in times.items():
        run = runs.Run(tmp_path / name)
        run.folder.mkdir()
        for file, time in ((run.best, best), (run.last, last)):
            file.touch()
            os.utime(file, (time, time))
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    assert runs.newest_run() == tmp_path / "early-best"


@pytest.mark.parametrize(("iou", "warned"), [(0.02, True), (0.4, False)])
def test_a_run_that_learnt_nothing_is_doubted(tmp_path, monkeypatch, capsys, iou, warned):
    (tmp_path / "runs" / "short").mkdir(parents=True)
    (tmp_path / "runs" / "short" / "best.pt").touch()
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    assert runs.newest_run().name == "short" and not capsys.readouterr().out
    assert not runs.warning_about(tmp_path / "runs" / "short")  # nobody knows
    (tmp_path / "runs" / "short" / "history.csv").write_text(f"epoch,iou_at_threshold\n1,0.01\n2,{iou}\n")
    for named in (tmp_path / "runs" / "short", tmp_path / "runs" / "short" / "best.pt"):
        assert ("its masks mean nothing" in runs.warning_about(named)) == warned


def test_the_folder_one_stands_in_gives_runs_and_scores_its_name(trained, tmp_path, monkeypatch):
    data, run = trained
    monkeypatch.chdir(data)
    assert runs.new_run(data=".").folder.name.startswith(data.name)
    assert evaluate.choose_photos(runs.Run(run), ".").folder.startswith(data.name)


def test_scoring_photos_that_were_trained_on_warns(trained, tmp_path, capsys, monkeypatch):
    data, run = trained
    monkeypatch.setattr(evaluate, "write_results", lambda *_, **__: None)  # the reports take seconds
    evaluate.main([str(run), "--split", "train", "--out", str(tmp_path / "a")])
    assert "13 of these 13" in capsys.readouterr().out
    evaluate.main([str(run), "--out", str(tmp_path / "b")])
    assert "WARNING" not in capsys.readouterr().out
    other = write_export(tmp_path / "other", cracked=2, undamaged=0, seed=9)  # the same names, other photos
    evaluate.main([str(run), "--data", str(other), "--out", str(tmp_path / "c")])
    said = capsys.readouterr().out
    assert "WARNING" not in said and "other, all, 2 photos" in said


def test_an_export_that_is_all_test_is_scored_whole(trained, tmp_path):
    data, run = trained
    write_export(tmp_path / "hidden" / "test", cracked=3, undamaged=1, seed=5)
    evaluate.main([str(run), "--data", str(tmp_path / "hidden"), "--out", str(tmp_path / "out")])
    assert scores(tmp_path / "out")["photos"] == 4


def test_the_audit_says_what_is_there_and_saves_a_picture(export, tmp_path, capsys):
    (export / "road009.jpg").write_bytes((export / "road008.jpg").read_bytes())
    assert dataset.main([str(export), "--out", str(tmp_path / "audit.png")]) == 0
    said = capsys.readouterr().out
    assert "10 photos, 8 cracked, 2 undamaged" in said
    assert any("road009.jpg" in line for line in lines_with(said, "road008.jpg"))
    assert read_photo(tmp_path / "audit.png").shape[1] > 1000


def test_the_augmented_export_has_five_versions_of_train_photos_and_of_no_others(export, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert augment.main([str(export), "--out", str(tmp_path / "more")]) == 0
    written = dataset.read_export(tmp_path / "more")
    names = {part: [p.name for p in written.photos if p.part == part] for part in ("train", "valid", "test")}
    originals = [name for name in names["train"] if "_v" not in name]
    assert len(names["train"]) == 6 * len(originals)
    assert not any("_v" in name for part in ("valid", "test") for name in names[part])
    assert len(originals) + len(names["valid"]) + len(names["test"]) == 10
    assert (tmp_path / "augment-export.png").is_file() and (tmp_path / "augment-export-distribution.png").is_file()
    for photo in written.photos:
        photo.read()  # sizes agree


@pytest.mark.parametrize(
    "main,arguments,says",
    [
        (dataset.main, ["nowhere"], "nowhere"),
        (train.main, ["--data", "nowhere"], "nowhere"),
        (train.main, ["--resume", "nowhere"], "nowhere"),
        (train.main, ["--seed", "-1"], "--seed"),
        (train.main, ["--lr", "nan"], "--lr"),
        (train.main, ["--epoch", "many"], "--epoch"),
        (dataset.main, ["EXPORT", "--out", "picture.foo"], "picture.foo"),
        (evaluate.main, ["nowhere"], "nowhere"),
        (evaluate.main, ["--predictions", "nowhere", "--data", "nowhere"], "nowhere"),
        (inference.main, ["nowhere.jpg"], "nowhere.jpg"),
        (inference.main, ["https://roads.example/a.jpg"], "https://roads.example/a.jpg"),
        (inference.main, [], "PHOTO"),
        (inference.main, ["x.jpg", "--scale", "0"], "--scale"),
        (inference.main, ["x.jpg", "--scale", "nan"], "--scale"),
        (inference.main, ["x.jpg", "--threshold", "2"], "--threshold"),
        (inference.main, ["x.jpg", "--threshold", "half"], "--threshold: half"),
        (inference.main, ["EXPORT/road000.jpg", "--coco", "to-correct.txt"], "to-correct.txt"),
        (survey.main, ["nowhere.jpg"], "nowhere.jpg"),
        (survey.main, ["EXPORT", "--mm-per-pixel", "1", "--prices", "nowhere.csv"], "nowhere.csv"),
        (survey.main, ["EXPORT", "--every", "0"], "--every"),
        (inference.main, ["EXPORT/road000.jpg", "--checkpoint", "EXPORT/road000.jpg"], "not a checkpoint"),
        (augment.main, ["nowhere"], "nowhere"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(export, tmp_path, monkeypatch, capsys, main, arguments, says):
    monkeypatch.chdir(tmp_path)
    arguments = [argument.replace("EXPORT", str(export)) for argument in arguments]
    code, (line,) = ending(lambda: main(arguments), capsys)
    assert code == 2 and says in line
    assert [path.name for path in tmp_path.iterdir()] == ["export"]  # nothing half-written


def test_a_bad_photo_in_a_worker_is_one_line_too(export, tmp_path, capsys):
    splits = {"train": [f"road{i:03d}.jpg" for i in range(6)], "valid": ["road006.jpg"], "test": ["road007.jpg"]}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    (export / "road002.jpg").write_text("no photo")
    flags = ["--data", str(export), "--splits", str(tmp_path / "splits.json"), "--out", str(tmp_path / "run")]
    code, said = ending(lambda: train.main([*flags, *FLAGS, "--workers", "2"]), capsys)
    assert code == 2 and said[-1].startswith("error: ") and "road002.jpg" in said[-1]
    assert not any("Traceback" in line for line in said)


def test_ctrl_c_is_answered_at_once_and_once_and_only_noted(capfd):
    before = signal.getsignal(signal.SIGINT)
    with signals_noted() as asked:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert capfd.readouterr().err == "\nstopping: saving first ...\n"
    assert asked == [signal.SIGINT, signal.SIGTERM, signal.SIGINT] and signal.getsignal(signal.SIGINT) is before


def test_predictions_are_probabilities_of_the_photos_size(trained):
    data, run = trained
    model, preprocess, threshold = inference.open_model(run, "cpu")
    probability = predict(model, preprocess, read_photo(data / "road000.jpg"))
    assert probability.shape == (96, 128) and probability.dtype == np.float32
    assert 0 <= probability.min() < threshold < probability.max() <= 1


def test_ctrl_c_ends_a_command_with_exit_code_130_and_what_was_saved(capsys):
    def interrupted():
        raise KeyboardInterrupt("saved")

    code, said = ending(interrupted, capsys)
    assert code == 130 and "interrupted: saved" in said[-1]


def test_a_reader_that_has_seen_enough_gets_no_complaint(export):
    command = [sys.executable, "dataset.py", str(export), "--out", str(export.parent / "a.png")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert "Broken pipe" not in said and "Traceback" not in said


def test_a_table_opens_in_a_spreadsheet_with_its_letters_and_computes_nothing(tmp_path):
    cells = ["Straße, 1.jpg", '=HYPERLINK("http://x")', "+1 a", "-2 b", "@c", "-3.5", -4, 0.25, None, float("nan")]
    write_csv(tmp_path / "a.csv", ["photo", *"123456789"], [cells])
    assert (tmp_path / "a.csv").read_bytes().startswith(b"\xef\xbb\xbf")  # the mark by which Excel knows UTF-8
    with open(tmp_path / "a.csv", newline="", encoding="utf-8-sig") as file:
        head, row = csv.reader(file)
    assert head[0] == "photo" and row[0] == cells[0]
    assert row[1:] == ["'" + cells[1], "'+1 a", "'-2 b", "'@c", "-3.5", "-4", "0.25", "", ""]


@pytest.mark.parametrize(("cracked", "doubted"), [(0, True), (2, True), (3, False), ("many", False)])
def test_a_run_that_few_cracked_validation_photos_chose_is_doubted(tmp_path, cracked, doubted):
    assert not runs.warning_about(tmp_path)
    (tmp_path / "arguments.json").write_text(json.dumps({"cracked": {"train": 9, "valid": cracked}}))
    assert bool(runs.warning_about(tmp_path)) == doubted


def test_a_run_notes_how_many_of_its_photos_are_cracked(trained):
    _, run = trained
    assert json.loads((run / "arguments.json").read_text())["cracked"] == {"train": 9, "valid": 2, "test": 3}
    assert "2 cracked" in runs.warning_about(run)
