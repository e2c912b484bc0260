"""Submissions of a class: folders, zips and checkpoints in, places and remarks out."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import lines_with, table, write_export
from test_evaluate import add_run, speckled

import evaluate
import rank
from command import BadInput
from data.split import write_splits
from formats.coco import read_export
from formats.masks import MaskFolder
from report import evaluation
from report.comparison import SHARED_KEYS
from report.ranking import Entry, Problem, standings

CPU = torch.device("cpu")


def hand_in(folder, photos, cut=0.0, left_out=()):
    """A submission: the true masks without the upper share `cut` of each crack, and without some files."""
    folder.mkdir(parents=True)
    for i, photo in enumerate(photos):
        mask = photo.read()[1] * 255
        mask[: round(cut * len(mask))] = 0
        if i not in left_out:
            cv2.imwrite(str(folder / f"{photo.path.stem}.png"), mask)
    return folder


def redraw(folder, change):
    """Let `change` alter the pixels of each mask in a folder."""
    for file in folder.iterdir():
        cv2.imwrite(str(file), change(cv2.imread(str(file), 0)))


def ranking(out, submissions, data, *flags):
    """{submission: its row of ranking.csv} as the command writes it."""
    given = [str(path) for path in submissions]
    rank.main([*given, "--data", str(data), "--out", str(out), "--device", "cpu", *map(str, flags)])
    return {row["submission"]: row for row in table(out / "ranking.csv")}


def test_an_undamaged_photo_with_nothing_but_a_speck_is_left_empty_by_a_run_whose_masks_have_none(
    export, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluate, "predict", speckled)
    run, out = add_run(tmp_path / "run", export), tmp_path / "out"
    evaluate.main([str(run), "--split", "all", "--robustness", "--out", str(out), "--device", "cpu"])
    sheets = json.loads((out / "robustness.json").read_text())
    assert sheets["as it is"]["undamaged_correct"] == sheets["darker"]["undamaged_correct"] == 1
    dots = hand_in(tmp_path / "dots", photos, cut=1)
    for photo in photos:
        dot = speckled(None, None, photo.read()[0]) > 0
        cv2.imwrite(str(dots / f"{photo.path.stem}.png"), 255 * dot.astype(np.uint8))
    rows = ranking(tmp_path / "ranked", [run, dots], export)
    assert {name: float(row["undamaged_correct"]) for name, row in rows.items()} == {"run": 1, "dots": 0}


def test_submissions_are_ranked_by_iou_and_compared_with_the_first(export, photos, tmp_path):
    cuts = {"worst": 0.9, "worst too": 0.9, "exact": 0.0, "half": 0.5, "half too": 0.5}
    hidden = [hand_in(tmp_path / name, photos, cut) for name, cut in cuts.items()]
    rows = ranking(tmp_path / "out", hidden, export)
    assert list(rows) == ["exact", "half", "half too", "worst", "worst too"]
    assert [row["place"] for row in rows.values()] == ["1", "2", "2", "4", "4"]
    assert rows["half too"]["remarks"] == "the same masks as half" and not rows["exact"]["remarks"]
    iou = {name: float(row["iou_cracked"]) for name, row in rows.items()}
    assert iou["exact"] == 1 and float(rows["worst"]["difference"]) == pytest.approx(iou["worst"] - 1, abs=1e-5)
    assert float(rows["worst"]["difference_high"]) < 0 and rows["worst"]["verdict"] == "behind the first"
    assert float(rows["half"]["low"]) < iou["half"] < float(rows["half"]["high"])
    page = (tmp_path / "out" / "ranking.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in cuts) and "half too, worst: " in page
    assert str(tmp_path) not in page


class Fixed:
    """A scored submission of which only the IoU of each photo is known."""

    def __init__(self, name, *each):
        self.name, self.each = name, np.array(each)
        self.sheet = dict.fromkeys(evaluation.NAMES, float(self.each.mean()))
        self.interval, self.warnings, self.cracked = (0, 1), [], range(len(each))
        self.photos = [SimpleNamespace(name=f"{i}.jpg") for i in range(len(each))]
        self.rows = [{"mask": (name, value)} for value in each]

    def iou(self):
        return self.each


def verdicts(*submissions):
    """{name: (place, verdict)}, the first submission being the best."""
    rows = standings([Entry(one, []) for one in submissions])
    return {row["submission"]: (row["place"], row["verdict"]) for row in rows}


def test_a_difference_that_may_be_chance_is_said_to_be_so_and_too_few_photos_tell_nothing():
    mixed = [0.95, 0.85, 0.8] * 2 + [0.8, 0.95]
    found = verdicts(Fixed("a", *[0.9] * 8), Fixed("b", *mixed), Fixed("c", *[0.8] * 8))
    assert found == {"a": (1, "first"), "b": (2, "cannot be told from the first"), "c": (3, "behind the first")}
    assert verdicts(Fixed("a", 0.9, 0.9), Fixed("b", 0.2, 0.7))["b"] == (2, "too few photos to tell")


def test_equal_scores_share_a_place_and_the_next_is_counted_on():
    found = verdicts(Fixed("a", *[0.9] * 6), Fixed("b", *[0.9] * 6), Fixed("c", *[0.8] * 6))
    assert {name: place for name, (place, _) in found.items()} == {"a": 1, "b": 1, "c": 3}
    assert found["b"][1] == "cannot be told from the first"
    tiny = verdicts(Fixed("a", 0.1, 0.2, 0.3), Fixed("b", 0.3, 0.2, 0.1))  # the sums differ in the last digit
    assert {place for place, _ in tiny.values()} == {1}


def test_copies_of_masks_are_said_to_be_so_and_equal_scores_by_other_masks_are_not(export, photos, tmp_path, capsys):
    anna, other = (hand_in(tmp_path / name, photos, 0.5) for name in ("anna", "other"))
    lacking = [hand_in(tmp_path / name, photos, 0.5, left_out=(9,)) for name in ("x", "y")]
    undamaged = next(photo for photo in photos if not photo.cracked)
    cv2.imwrite(str(other / f"{undamaged.path.stem}.png"), np.full((undamaged.height, undamaged.width), 255, np.uint8))
    shutil.make_archive(str(anna), "zip", anna)
    rows = ranking(tmp_path / "out", [anna, anna.with_suffix(".zip"), other, *lacking], export)
    said = {name: row["remarks"].partition(";")[0] for name, row in rows.items()}
    assert said["anna"] == "the same masks as anna.zip"
    assert said["other"] == "the same score as anna, anna.zip, x and 1 more"
    assert said["x"] == "the same masks as y"  # not as anna, whose last mask is there
    assert "anna.zip: if one student handed in both" in capsys.readouterr().out


def test_the_folder_around_the_submissions_is_none(export, photos, tmp_path):
    for name in "abcd":
        hand_in(tmp_path / "in" / name, photos)
    with pytest.raises(BadInput, match=r"holds 4 submissions.*/in/\*"):
        ranking(tmp_path / "out", [tmp_path / "in"], export)
    assert set(ranking(tmp_path / "out", [tmp_path / "in" / "*"], export)) == set("abcd")  # as on Windows


def test_a_run_folder_with_masks_in_it_is_scored_as_a_network_and_says_so(export, tmp_path, capsys):
    run = add_run(tmp_path / "run", export)
    (run / "curves.png").touch()
    assert "the network is scored" not in ranking(tmp_path / "out", [run], export)["run"]["remarks"]
    (run / "road000.png").touch()
    assert "1 picture in it; the network is scored" in ranking(tmp_path / "out", [run], export)["run"]["remarks"]
    assert "1 picture in it" in capsys.readouterr().out


def test_a_missing_or_unusable_mask_counts_as_an_empty_one_and_is_said(export, photos, tmp_path, capsys):
    spoilt = hand_in(tmp_path / "spoilt", photos, left_out=(0,))
    names = [photo.path.stem for photo in photos]
    cv2.imwrite(str(spoilt / f"{names[1]}.png"), np.zeros((5, 5), np.uint8))
    (spoilt / f"{names[2]}.png").write_text("no picture")
    black = hand_in(tmp_path / "black", photos)
    for name in names[:3]:
        cv2.imwrite(str(black / f"{name}.png"), np.zeros((96, 128), np.uint8))
    (tmp_path / "broken.pt").write_text("no checkpoint")
    run = add_run(tmp_path / "run", export)
    rows = ranking(tmp_path / "out", [spoilt, black, tmp_path / "broken.pt", run], export)
    scored = [key for key in ("iou_cracked", "low", "high", *SHARED_KEYS) if key != "undamaged_correct"]
    scores = [[rows[name][key] for key in scored] for name in ("black", "spoilt")]
    assert scores[0] == scores[1]
    problems = {name: (row["missing"], row["unusable"]) for name, row in rows.items()}
    every = str(len(photos))
    assert problems == {"spoilt": ("1", "2"), "black": ("0", "0"), "broken": ("0", every), "run": ("0", "0")}
    assert float(rows["broken"]["recall"]) == 0 and not rows["broken"]["undamaged_correct"]
    assert rows["broken"]["remarks"] == "nothing in it could be scored"
    said, page = capsys.readouterr().out, (tmp_path / "out" / "ranking.html").read_text()
    empty = [(row["submission"], row["photo"], row["mask"]) for row in table(tmp_path / "out" / "counted_as_empty.csv")]
    kinds = ("missing", "unusable", "unusable")
    assert empty[:3] == [("spoilt", photo.name, kind) for photo, kind in zip(photos, kinds, strict=False)]
    (line,) = lines_with(said, f"no {names[0]}.png")
    assert re.findall(r"\d+", line.partition(names[0])[0]) == ["1"]
    for words in (f"no {names[0]}.png", "mask of 5×5", names[2]):
        assert words in page
    assert str(tmp_path) not in page  # no path of the teacher's machine


def test_every_missing_mask_stands_in_the_csv_file_and_that_of_an_undamaged_photo_costs_no_place(
    export, photos, tmp_path
):
    assert not photos[9].cracked
    whole, lacks = hand_in(tmp_path / "whole", photos, 0.5), hand_in(tmp_path / "lacks", photos, 0.5, left_out=(9,))
    few = hand_in(tmp_path / "few", photos, left_out=range(1, 10))
    rows = ranking(tmp_path / "out", [whole, lacks, few], export)
    assert [row["place"] for row in rows.values()] == ["1", "1", "3"] and rows["few"]["missing"] == "9"
    assert not rows["lacks"]["undamaged_correct"]  # no right answer either
    first, *_, last = table(tmp_path / "out" / "photos.csv")
    assert (last["whole"], last["lacks"]) == ("", "missing")
    assert int(first["true_pixels"]) == photos[0].read()[1].sum()
    empty = [row for row in table(tmp_path / "out" / "counted_as_empty.csv") if row["submission"] == "few"]
    assert [row["photo"] for row in empty] == [photo.name for photo in photos[1:]]
    assert all(row["mask"] == "missing" and row["photo"].removesuffix(".jpg") in row["reason"] for row in empty)


def test_what_nobody_hands_in_gets_no_place_and_alone_it_is_refused(export, photos, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("1.0")
    (tmp_path / "carla.rar").write_text("handed in, but packed as nobody can open it")
    hidden = [hand_in(tmp_path / name, photos) for name in ("anna", "ben")]
    rows = ranking(tmp_path / "out", [*hidden, tmp_path / "notes.txt", tmp_path / "carla.rar"], export)
    assert set(rows) == {"anna", "ben", "carla"} and rows["carla"]["unusable"] == str(len(photos))
    assert "notes.txt: left out" in capsys.readouterr().out
    assert "notes.txt" in (tmp_path / "out" / "ranking.html").read_text()
    with pytest.raises(BadInput, match="notes.txt: neither a folder"):
        ranking(tmp_path / "out2", [tmp_path / "notes.txt"], export)


def test_only_names_that_clash_get_the_folder_before_them_and_a_mistyped_one_stops(export, photos, tmp_path, capsys):
    hidden = [hand_in(tmp_path / name, photos) for name in ("anna/masks", "ben/masks", "carla")]
    assert set(ranking(tmp_path / "out", hidden, export)) == {"anna/masks", "ben/masks", "carla"}
    assert "if one student" not in capsys.readouterr().out
    with pytest.raises(BadInput, match="nobody"):
        ranking(tmp_path / "out2", [*hidden, tmp_path / "nobody"], export)
    assert rank.submission_names([tmp_path / "a/x/m", tmp_path / "b/x/m"]) == ["a/x/m", "b/x/m"]


def test_a_zip_and_masks_of_other_picture_types_are_submissions_like_any(export, photos, tmp_path):
    zipped = hand_in(tmp_path / "zipped", photos)
    shutil.make_archive(str(zipped), "zip", zipped)
    shutil.rmtree(zipped)
    other = hand_in(tmp_path / "other", photos)
    for file in other.iterdir():
        file.rename(file.with_suffix(".PNG"))
    rows = ranking(tmp_path / "out", [tmp_path / "zipped.zip", other], export)
    assert {name: float(row["iou_cracked"]) for name, row in rows.items()} == {"zipped": 1, "other": 1}


def test_masks_or_a_run_in_the_only_folder_are_found_zipped_or_not_and_among_others_they_are_named(
    export, photos, tmp_path
):
    deep = hand_in(tmp_path / "deep" / "a" / "masks", photos)
    (tmp_path / "deep" / "__MACOSX").mkdir()
    run = add_run(tmp_path / "run" / "runs" / "first", export)
    (run / "history.csv").write_text("epoch,iou_at_threshold\n1,0.02\n")
    for name in ("deep", "run"):
        shutil.make_archive(str(tmp_path / f"zip of {name}"), "zip", tmp_path / name)
    rows = ranking(tmp_path / "out", [*tmp_path.glob("*.zip"), tmp_path / "deep", tmp_path / "run"], export)
    assert rows["deep"]["iou_cracked"] == rows["zip of deep"]["iou_cracked"] == "1.0"
    assert {rows[name]["missing"] + rows[name]["unusable"] for name in ("run", "zip of run")} == {"00"}
    assert "trained on 4 of these photos" in rows["zip of run"]["remarks"]
    assert all("its masks mean nothing" in rows[name]["remarks"] for name in ("run", "zip of run"))
    assert "chosen on 2 of these photos" in rows["zip of run"]["remarks"]
    (tmp_path / "deep" / "b").mkdir()
    with pytest.raises(BadInput, match="a/masks"):
        MaskFolder(tmp_path / "deep")(photos[0], photos[0].read()[0])
    assert deep.is_dir() and not (tmp_path / "zip of deep").exists()


@pytest.mark.parametrize("inside", [".", "upload/final"])
def test_a_zip_alone_in_a_folder_is_opened_and_among_other_files_it_is_named(export, photos, tmp_path, inside):
    folder = tmp_path / "anna_4711"
    hand_in(tmp_path / "masks", photos)
    (folder / inside).mkdir(parents=True)
    archive = shutil.make_archive(str(folder / inside / "Masks"), "zip", tmp_path / "masks")
    assert float(ranking(tmp_path / "out", [folder], export)["anna_4711"]["iou_cracked"]) == 1
    evaluate.main(["--predictions", str(folder), "--data", str(export), "--out", str(tmp_path / "scores")])
    (folder / "report.pdf").touch()
    with pytest.raises(BadInput, match="no submission has a usable mask.*Masks.zip"):
        ranking(tmp_path / "out", [folder], export)
    (folder / "report.pdf").unlink()
    shutil.move(archive, folder / inside / "inner.zip")
    shutil.make_archive(archive.removesuffix(".zip"), "zip", folder / inside)
    (folder / inside / "inner.zip").unlink()
    with pytest.raises(BadInput, match="anna_4711.*inner.zip"):
        evaluate.main(["--predictions", str(folder), "--data", str(export)])


def test_masks_in_two_folders_and_a_checkpoint_of_another_name_are_named_where_none_was_found(photos, tmp_path):
    folder = tmp_path / "handed in"

    def hint():
        with pytest.raises(BadInput) as error:
            MaskFolder(folder)(photos[0], photos[0].read()[0])
        return str(error.value)

    for name in "ab":
        hand_in(folder / name, photos)
    assert "a, b" in hint()
    (folder / "my_model.pt").touch()
    assert "my_model.pt" in hint()


def test_a_zip_that_was_replaced_is_scored_anew(export, photos, tmp_path):
    masks = hand_in(tmp_path / "masks", photos, cut=0.9)
    shutil.make_archive(str(tmp_path / "mona"), "zip", masks)
    assert float(ranking(tmp_path / "out", [tmp_path / "mona.zip", masks], export)["mona"]["iou_cracked"]) < 0.5
    shutil.make_archive(str(tmp_path / "mona"), "zip", hand_in(tmp_path / "mona", photos))
    assert rank.submission_names([tmp_path / "mona.zip", tmp_path / "mona"]) == ["mona.zip", "mona"]
    assert float(ranking(tmp_path / "out", [tmp_path / "mona.zip", masks], export)["mona"]["iou_cracked"]) == 1


def test_an_inverted_submission_and_one_that_trained_on_the_photos_are_remarked(export, photos, tmp_path, capsys):
    inverted, good = (hand_in(tmp_path / name, photos) for name in ("inverted", "good"))
    run = add_run(tmp_path / "run", export)
    redraw(inverted, lambda mask: 255 - mask)
    write_splits(run / "splits.json", {"train": photos[:3], "valid": [], "test": []})
    alone = tmp_path / "alone.pt"
    alone.write_bytes((run / "best.pt").read_bytes())
    rows = ranking(tmp_path / "out", [inverted, good, run, alone], export)
    assert "inverted?" in rows["inverted"]["remarks"] and "trained on 3 of" in rows["run"]["remarks"]
    assert not rows["good"]["remarks"] and "alone: unknown whether" in capsys.readouterr().out
    assert "unknown whether it was trained on these photos" in rows["alone"]["remarks"]


def test_masks_with_the_splits_of_their_network_are_checked_like_the_network(export, photos, tmp_path):
    masks = hand_in(tmp_path / "masks", photos)
    write_splits(masks / "splits.json", {"train": photos[4:6], "valid": photos[:1], "test": []})
    assert "trained on 2 of these" in ranking(tmp_path / "out", [masks], export)["masks"]["remarks"]


def test_a_mask_whose_accents_are_stored_in_another_way_is_that_of_the_photo(tmp_path):
    names = ["Kr\u00fcmmung \u00c5.jpg", "Se\u0301lestat.jpg"]
    photos = read_export(write_export(tmp_path / "export", cracked=2, undamaged=0, names=names)).photos
    folder = hand_in(tmp_path / "masks", photos)
    (folder / "Kr\u00fcmmung \u00c5.png").rename(folder / "Kru\u0308mmung A\u030a_mask.png")
    (folder / "Se\u0301lestat.png").rename(folder / "s\u00e9lestat.png")
    masks = MaskFolder(folder)
    assert all((masks(photo, photo.read()[0])[0] == photo.mask()).all() for photo in photos)


def test_one_mask_is_never_scored_for_two_photos(export, photos, tmp_path):
    answer, (first, second) = MaskFolder(hand_in(tmp_path / "masks", photos)), photos[:2]
    twin = replace(second, name=f"other/{first.name}")
    answer(first, first.read()[0])
    answer(first, first.read()[0])
    with pytest.raises(BadInput, match="is the mask of .* and of"):
        answer(twin, first.read()[0])


def test_scoring_a_submission_leaves_it_as_it_was_handed_in(export, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = hand_in(tmp_path / "in" / "deep" / "masks", photos).parent
    shutil.make_archive(str(tmp_path / "in" / "zipped"), "zip", deep)
    before = sorted(tmp_path.glob("in/**/*"))
    for path in (deep, tmp_path / "in" / "zipped.zip", deep):
        evaluate.main(["--predictions", str(path), "--data", str(export)])
    assert sorted(tmp_path.glob("in/**/*")) == before
    assert json.loads((tmp_path / "scores" / "deep" / "scores.json").read_text())["iou_cracked"] == 1


@pytest.mark.parametrize("spoilt", ["{", '{"train": []}', {"before": {"before": None, "fingerprint": {}}}, "abc"])
def test_a_spoilt_splits_json_or_history_stops_nobody_and_makes_the_run_one_of_unknown_origin(
    export, photos, tmp_path, spoilt
):
    run = add_run(tmp_path / "run", export)
    content = json.loads((run / "splits.json").read_text())
    if spoilt == "abc":
        spoilt = {"fingerprint": dict.fromkeys(content["fingerprint"], spoilt)}
    text = spoilt if isinstance(spoilt, str) else json.dumps(content | {"fingerprint": {}} | spoilt)
    (run / "splits.json").write_text(text)
    (run / "history.csv").write_text('epoch,iou_at_threshold\n1,"' + 200_000 * "0")
    rows = ranking(tmp_path / "out", [run, hand_in(tmp_path / "good", photos)], export)
    assert "unknown whether it was trained on these photos" in rows["run"]["remarks"]


def test_where_no_mask_of_anybody_fits_the_data_is_doubted_and_nothing_ranked(export, photos, tmp_path):
    others = [hand_in(tmp_path / name, photos) for name in ("anna", "ben")]
    for file in [file for folder in others for file in folder.iterdir()]:
        file.rename(file.with_stem(f"overlay_{file.stem}"))
    with pytest.raises(BadInput, match="check --data.*10 pictures, such as overlay_road000.png"):
        ranking(tmp_path / "out", others, export)
    assert not (tmp_path / "out" / "ranking.csv").exists()


def test_what_cannot_be_opened_is_one_row_of_the_csv_file_and_said_on_the_screen(export, photos, tmp_path, capsys):
    (tmp_path / "marks.zip").write_text("no zip")
    rows = ranking(tmp_path / "out", [hand_in(tmp_path / "anna", photos), tmp_path / "marks.zip"], export)
    assert "nothing in it could be scored" in rows["marks"]["remarks"] and "unknown" not in rows["marks"]["remarks"]
    assert rows["marks"]["unusable"] == "10" and float(rows["marks"]["iou_cracked"]) == 0
    ((name, photo, kind, why),) = [row.values() for row in table(tmp_path / "out" / "counted_as_empty.csv")]
    assert (name, photo, kind) == ("marks", "all 10", "unusable") and "damaged" in why
    (line,) = lines_with(capsys.readouterr().out, why)
    assert re.findall(r"\d+", line.partition(why)[0]) == ["10"]


def test_every_photo_of_everyone_stands_in_a_table(export, photos, tmp_path):
    hidden = [hand_in(tmp_path / name, photos, cut) for name, cut in {"half": 0.5, "exact": 0}.items()]
    rows = ranking(tmp_path / "out", hidden, export)
    found = table(tmp_path / "out" / "photos.csv")
    assert [row["photo"] for row in found] == [photo.name for photo in photos]
    mean = np.mean([float(row["half"]) for row in found[:8]])
    assert mean == pytest.approx(float(rows["half"]["iou_cracked"]), abs=1e-5)
    assert {row["exact"] for row in found} == {"1.0", ""}


def test_a_submission_that_is_given_twice_is_refused(export, photos, tmp_path):
    anna = hand_in(tmp_path / "anna", photos)
    with pytest.raises(BadInput, match="anna.*twice"):
        ranking(tmp_path / "out", [anna, hand_in(tmp_path / "ben", photos), anna / ".." / "anna"], export)


def test_a_part_that_is_asked_for_of_an_export_without_parts_is_refused(export, photos, tmp_path, capsys):
    anna = hand_in(tmp_path / "anna", photos)
    given = ["--predictions", str(anna), "--data", str(export), "--out", str(tmp_path / "out")]
    for part in ("train", "test"):
        with pytest.raises(BadInput, match=f"no photo is {part}; give --splits"):
            evaluate.main([*given, "--split", part])
    for more in ([], ["--split", "all"]):
        evaluate.main([*given, *more])
        assert json.loads((tmp_path / "out" / "scores.json").read_text())["photos"] == 10


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_an_export_with_a_single_part_counts_as_a_whole(tmp_path, part):
    folder = write_export(tmp_path / "hidden" / part, cracked=7, undamaged=2).parent
    found = evaluate.choose_photos(data=folder)
    assert len(found.photos) == 9
    with pytest.raises(BadInput, match="hidden: has no splits, so no photo is"):
        evaluate.choose_photos(data=folder, part="valid" if part == "train" else "train")


@pytest.mark.parametrize("parts", [("train", "valid"), ("train", "test"), ("valid", "test")])
def test_a_part_that_an_export_lacks_is_never_drawn_from_its_others(tmp_path, parts):
    for seed, part in enumerate(parts):
        write_export(tmp_path / "hidden" / part, seed=seed)
    (lacking,) = {"train", "valid", "test"} - set(parts)
    with pytest.raises(BadInput, match=f"hidden: no photo in {lacking}"):
        evaluate.choose_photos(data=tmp_path / "hidden", part=lacking)


def test_a_splits_file_may_name_photos_for_scoring_only(export, photos, tmp_path):
    split = {"train": [], "valid": [], "test": [photo.name for photo in photos[:7]]}
    (tmp_path / "hidden.json").write_text(json.dumps(split))
    rows = ranking(tmp_path / "out", [hand_in(tmp_path / "anna", photos)], export, "--splits", tmp_path / "hidden.json")
    assert float(rows["anna"]["iou_cracked"]) == 1


def test_that_there_are_too_few_photos_is_said(tmp_path, capsys):
    few = write_export(tmp_path / "few", cracked=5)
    photos = read_export(few).photos
    ranking(tmp_path / "out", [hand_in(tmp_path / name, photos, cut) for name, cut in {"a": 0, "b": 0.5}.items()], few)
    words = "only 5 photos with a crack"
    assert words in capsys.readouterr().out and words in (tmp_path / "out" / "ranking.html").read_text()


def test_masks_that_are_odd_are_said_to_be_alone_too(export, photos, tmp_path, capsys):
    inverted, black = (hand_in(tmp_path / name, photos) for name in ("inverted", "black"))
    redraw(inverted, lambda mask: 255 - mask)
    redraw(black, lambda mask: 0 * mask)
    for folder, words in {inverted: "inverted?", black: "no crack in any usable mask"}.items():
        evaluate.main(["--predictions", str(folder), "--data", str(export), "--out", str(tmp_path / "out")])
        assert "WARNING: " in (said := capsys.readouterr().out) and words in said
        assert words in json.loads((tmp_path / "out" / "scores.json").read_text())["warning"]


def test_a_mask_may_keep_the_photos_whole_name_and_of_two_the_one_that_is_taken_is_said(photos, tmp_path, export):
    both = hand_in(tmp_path / "both", photos)
    for file in both.iterdir():
        cv2.imwrite(str(file.with_stem(f"{file.stem}_mask")), 0 * cv2.imread(str(file), 0))
    assert not MaskFolder(both)(photos[0], photos[0].read()[0])[0].any()
    assert "10 photos" in ranking(tmp_path / "out", [both], export)["both"]["remarks"]
    whole = hand_in(tmp_path / "whole", photos)
    for file in whole.iterdir():
        file.rename(file.with_name(f"{file.stem}.jpg.png"))
    assert (MaskFolder(whole)(photos[0], photos[0].read()[0])[0] == photos[0].mask()).all()
    assert not MaskFolder(whole).note()


def test_a_run_without_a_finished_epoch_and_a_cut_checkpoint_are_called_so(export, photos, tmp_path):
    run = add_run(tmp_path / "run", export)
    content = (run / "best.pt").read_bytes()
    (run / "best.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="best.pt: not a checkpoint, or damaged"):
        rank.open_submission("anna", run, CPU)
    (run / "best.pt").rename(run / "last.pt")
    with pytest.raises(BadInput, match="anna: a run folder without best.pt"):
        rank.open_submission("anna", run, CPU)


def test_photos_without_any_crack_rank_nobody(tmp_path):
    sound = write_export(tmp_path / "sound", cracked=0, undamaged=3)
    with pytest.raises(BadInput, match="no photo has a crack"):
        ranking(tmp_path / "out", [hand_in(tmp_path / "anna", read_export(sound).photos)], sound)


def test_a_problem_of_an_undamaged_photo_leaves_undamaged_correct_undefined():
    one = Fixed("a", *[0.9] * 6)
    assert np.isnan(Entry(one, [Problem("undamaged.jpg", "missing", "why")]).undamaged_correct())
    assert Entry(one, [Problem("0.jpg", "missing", "why")]).undamaged_correct() == pytest.approx(0.9)


@pytest.mark.parametrize("path", ["1", "."])
def test_a_submission_is_named_instead_of_its_path_and_no_other_word_of_a_message_changes(path):
    said = "1 picture is no mask; give masks. Do it again"
    assert str(rank.named(BadInput(f"{path}/mask.png: {said}"), [path], "anna")) == f"anna/mask.png: {said}"
