"""Submissions of a class: folders, zips and checkpoints in, places and remarks out."""

import csv
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import write_export
from test_evaluate import add_run, speckled

import evaluate
import submission
from command import BadInput
from data.split import write_splits
from formats.coco import read_export
from report.comparison import SHARED_KEYS
from report.ranking import in_order, places, remarks
from submission import facts_of, masks_from, open_submission


def hand_in(folder, photos, cut=0.0, left_out=()):
    """A submission: the true masks without the upper share `cut` of each crack, and without some files."""
    folder.mkdir(parents=True)
    for i, photo in enumerate(photos):
        mask = photo.read()[1] * 255
        mask[: round(cut * len(mask))] = 0
        if i not in left_out:
            cv2.imwrite(str(folder / f"{photo.path.stem}.png"), mask)
    return folder


def ranking(out, submissions, data):
    """{submission: its row of ranking.csv} as the command writes it."""
    given = [str(path) for path in submissions]
    evaluate.main(["--predictions", *given, "--data", str(data), "--out", str(out), "--device", "cpu"])
    with open(out / "ranking.csv", newline="", encoding="utf-8") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


def test_an_undamaged_photo_with_nothing_but_a_speck_is_left_empty_by_a_run_whose_masks_have_none(
    export, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(submission, "predict", speckled)
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


def test_submissions_are_ranked_and_one_that_is_within_noise_of_another_shares_its_place(export, photos, tmp_path):
    cuts = {"worst": 0.9, "worst too": 0.9, "exact": 0.0, "half": 0.5, "half too": 0.5}
    hidden = [hand_in(tmp_path / name, photos, cut) for name, cut in cuts.items()]
    rows = ranking(tmp_path / "out", hidden, export)
    assert [(row["place"], name) for name, row in rows.items()] == [
        ("1", "exact"), ("2", "half"), ("2", "half too"), ("4", "worst"), ("4", "worst too")
    ]  # fmt: skip
    assert rows["half too"]["remarks"] == "the same masks as half" and not rows["exact"]["remarks"]
    iou = {name: float(row["iou_cracked"]) for name, row in rows.items()}
    assert iou["exact"] == 1 and float(rows["worst"]["to the first"]) == pytest.approx(iou["worst"] - 1)
    assert float(rows["worst"]["to that one"]) == pytest.approx(iou["worst"] - iou["half"])
    assert [row["measured by"] for row in rows.values()] == ["", "exact", "exact", "half", "half"]
    page = (tmp_path / "out" / "ranking.html").read_text()
    assert "half too, worst: " in page
    assert (
        all(f"<td>{name}</td>" in page for name in cuts) and page.count("<img") == 2 * 4 + 1
    )  # exact is exact everywhere


class Fixed:
    """A scored submission, as far as its place and the remarks on it go."""

    def __init__(self, name, *each):
        self.name, self.iou, self.warning, self.counts = name, lambda: np.array(each), "", np.ones((1, 4))
        self.photos, self.rows = each, [{"mask": (name, each)}]


def placed(*submissions, lacking=""):
    """{name: (place, remarks)} where those whose names stand in `lacking` have no mask of one photo."""
    problems = {run.name: [("x.jpg", "missing", "why")] * (run.name in lacking) for run in submissions}
    ordered = in_order(submissions, problems)
    found = places(ordered, problems, 0)
    return {
        run.name: (found[run.name][0], remarks(i, ordered, found, problems, problems, 0))
        for i, run in enumerate(ordered)
    }


def just_places(*submissions, lacking=""):
    return [place for _, (place, _) in sorted(placed(*submissions, lacking=lacking).items())]


def test_submissions_of_one_score_are_said_to_be_equal_whoever_is_first():
    first, one, other = Fixed("a", *[0.9] * 6), Fixed("b", *[0.8] * 6), Fixed("c", *[0.8] * 6)
    assert placed(other, first, one) == {"a": (1, ""), "b": (2, "the same score as c"), "c": (2, "the same score as b")}


MIXED = [0.95, 0.85, 0.8] * 2 + [0.8, 0.95]


def test_a_place_is_shared_with_its_first_not_along_a_chain():
    a, b, c = Fixed("a", *[0.9] * 8), Fixed("b", *MIXED), Fixed("c", *[0.75, 0.95, 0.7, 0.7] * 2)
    assert placed(a, b, c) == {
        "a": (1, ""), "b": (1, "within noise of a"), "c": (3, "within noise of b, but not of a, the first of place 1")
    }  # fmt: skip


def test_nobody_stands_before_a_higher_score_and_who_is_kept_back_by_that_is_told():
    first, sure, unsure = Fixed("a", *[0.9] * 8), Fixed("b", *[0.8] * 8), Fixed("c", *[1.0, 0.54] * 4)
    assert placed(first, unsure)["c"] == (1, "within noise of a")
    said = "within noise of b; within noise of a, but b, who scores higher, is not within noise of a and closed place 1"
    assert placed(first, sure, unsure) == {"a": (1, ""), "b": (2, ""), "c": (2, said)}


def test_of_two_within_noise_a_complete_one_is_named_before_a_higher_one_that_lacks_masks():
    a, b = Fixed("a", *[0.9] * 8), Fixed("b", *MIXED)
    c, x = Fixed("c", *[0.75, 0.95, 0.7, 0.7] * 2), Fixed("x", *[1.0] * 7, 0.3)
    found = placed(a, b, c, x, lacking="x")
    assert list(found)[0] == "x" and found["c"][1] == "within noise of b, but not of a, the first of place 2"


def test_who_lacks_masks_shares_no_place_for_zeros_widen_the_interval():
    a, b, c = Fixed("a", *[0.9] * 6), Fixed("b", *[0.95] * 4, 0.95, 0.0), Fixed("c", *[0.6] * 6)
    for lacking, expected in (("", [1, 1, 3]), ("b", [1, 2, 3]), ("a", [1, 2, 2])):
        assert just_places(a, b, c, lacking=lacking) == expected, lacking


def test_one_more_submission_that_lacks_masks_parts_no_others_whatever_it_is_called():
    perfect, black = Fixed("perfect", *[1.0] * 10), Fixed("black", *[1.0] * 9, 0.0)
    together = {"perfect": (1, ""), "black": (1, "within noise of perfect")}
    assert placed(perfect, black) == together
    for name in ("amissing", "zmissing"):
        above = Fixed(name, *[1.0] * 9, 0.5)
        found = placed(perfect, black, above, lacking=name)
        said = f"within noise of perfect, but masks of {name} are missing or unusable, so they share no place"
        assert found == together | {name: (2, said)}
        same = placed(perfect, black, Fixed(name, *[1.0] * 9, 0.0), lacking=name)
        assert {key: place for key, (place, _) in same.items()} == {"perfect": 1, "black": 1, name: 2}
        assert list(same) == ["perfect", "black", name]  # of equals the complete one stands above
        assert same[name][1] == f"the same score as black; {said}"
        below = placed(perfect, Fixed(name, *[1.0] * 9, 0.0), Fixed("low", *[0.85] * 10), lacking=name)
        said = f"within noise of {name}, but not of perfect, the first of place 1"
        assert below["low"] == (3, said)  # behind the first place, whoever lacks a mask
    assert just_places(Fixed("a", *MIXED), Fixed("b", *[0.8] * 8), lacking="a") == [1, 2]


def test_of_equals_one_that_is_within_noise_takes_the_others_along_whatever_their_names():
    first, sure, unsure = [0.9] * 6, [0.8] * 6, [1.0, 0.6] * 3
    for one, other in ((sure, unsure), (unsure, sure)):
        assert just_places(Fixed("a", *first), Fixed("b", *one), Fixed("c", *other)) == [1, 1, 1]
    even, mixed = [0.9] * 6, [1.0, 0.8] * 3
    found = placed(Fixed("a", *even), Fixed("b", *mixed), Fixed("c", *even), Fixed("d", *[0.85] * 6))
    assert found["d"] == (1, "within noise of b")


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


def test_several_are_ranked_on_named_data_only_and_the_folder_around_them_is_no_submission(export, photos, tmp_path):
    hidden = [hand_in(tmp_path / "in" / name, photos) for name in "abcd"]
    with pytest.raises(BadInput, match="give --data"):
        evaluate.main(["--predictions", *map(str, hidden)])
    with pytest.raises(BadInput, match=r"4 folders or files hold masks or networks: to rank them give .*/in/\*"):
        evaluate.main(["--predictions", str(tmp_path / "in"), "--data", str(export)])


def test_a_run_folder_with_masks_in_it_is_scored_as_a_network_and_says_so(export, photos, tmp_path, capsys):
    run = add_run(tmp_path / "run", export)
    (run / "curves.png").touch()
    submission.open_submission(run, "cpu")
    assert not capsys.readouterr().out
    (run / "road000.png").touch()
    submission.open_submission(run, "cpu")
    assert "1 picture in it; the network is scored" in capsys.readouterr().out


def test_too_few_photos_tell_nothing_so_only_equals_share():
    assert just_places(Fixed("a", 0.9, 0.1), Fixed("b", 0.2, 0.7), Fixed("c", 0.7, 0.2)) == [1, 2, 2]


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
    scored = [key for key in ("iou_cracked", "95 % interval", *SHARED_KEYS) if key != "undamaged_correct"]
    scores = [[rows[name][key] for key in scored] for name in ("black", "spoilt")]
    assert scores[0] == scores[1]
    problems = {name: (row["missing"], row["unusable"]) for name, row in rows.items()}
    every = str(len(photos))
    assert problems == {"spoilt": ("1", "2"), "black": ("0", "0"), "broken": ("0", every), "run": ("0", "0")}
    assert float(rows["broken"]["recall"]) == 0 and not rows["broken"]["undamaged_correct"]
    assert rows["broken"]["remarks"] == "nothing in it could be scored"
    said, page = capsys.readouterr().out, (tmp_path / "out" / "ranking.html").read_text()
    assert (
        "missing masks counted as empty: 1" in said
        and f"no {names[0]}.png" in page
        and "mask of 5×5" in page
        and names[2] in page
    )


def test_a_missing_mask_of_an_undamaged_photo_costs_no_place_and_is_no_right_answer_either(export, photos, tmp_path):
    assert not photos[9].cracked
    whole, lacks = hand_in(tmp_path / "whole", photos, 0.5), hand_in(tmp_path / "lacks", photos, 0.5, left_out=(9,))
    rows = ranking(tmp_path / "out", [whole, lacks], export)
    assert [row["place"] for row in rows.values()] == ["1", "1"] and not rows["lacks"]["undamaged_correct"]
    with open(tmp_path / "out" / "photos.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[9]
    assert (last["whole"], last["lacks"]) == ("", "missing")
    with open(tmp_path / "out" / "photos.csv", newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert int(first["true_pixels"]) == photos[0].read()[1].sum()


def test_a_submission_with_many_missing_masks_takes_one_row_of_the_page_and_all_of_the_csv_file(
    export, photos, tmp_path
):
    few = hand_in(tmp_path / "few", photos, left_out=range(1, 10))
    whole = hand_in(tmp_path / "whole", photos)
    assert ranking(tmp_path / "out", [few, whole], export)["few"]["missing"] == "9"
    with open(tmp_path / "out" / "counted_as_empty.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == [photo.name for photo in photos[1:]]
    assert {(row["submission"], row["mask"]) for row in rows} == {("few", "missing")}
    page = (tmp_path / "out" / "ranking.html").read_text()
    table = page.partition("Counted as empty")[2].partition("</table>")[0]
    assert table.count("<tr>") == 2 and "road005.jpg and 4 more" in table and "road006" not in table


def test_what_nobody_hands_in_gets_no_place_and_alone_it_is_refused(export, photos, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("1.0")
    (tmp_path / "carla.rar").write_text("handed in, but packed as nobody can open it")
    hidden = [hand_in(tmp_path / name, photos) for name in ("anna", "ben")]
    rows = ranking(tmp_path / "out", [*hidden, tmp_path / "notes.txt", tmp_path / "carla.rar"], export)
    assert set(rows) == {"anna", "ben", "carla"} and rows["carla"]["unusable"] == str(len(photos))
    assert "notes.txt: left out, neither a folder" in capsys.readouterr().out
    assert "Left out, for they are no submissions" in (tmp_path / "out" / "ranking.html").read_text()
    with pytest.raises(BadInput, match="notes.txt: neither a folder"):
        ranking(tmp_path / "out2", [tmp_path / "notes.txt"], export)
    with pytest.raises(BadInput, match="--predictions"):
        evaluate.main([str(hidden[0]), "--predictions", str(hidden[1]), "--data", str(export)])


def test_submissions_in_folders_of_one_name_keep_their_whole_paths_and_a_mistyped_one_stops(
    export, photos, tmp_path, capsys
):
    hidden = [hand_in(tmp_path / student / "masks", photos) for student in ("anna", "ben")]
    assert set(ranking(tmp_path / "out", hidden, export)) == set(map(str, hidden))
    assert "if one student" not in capsys.readouterr().out
    with pytest.raises(BadInput, match="nobody"):
        ranking(tmp_path / "out2", [*hidden, tmp_path / "nobody"], export)


def test_only_the_names_that_clash_are_longer(export, photos, tmp_path):
    hidden = [hand_in(tmp_path / name, photos) for name in ("anna/masks", "ben/masks", "carla")]
    assert set(ranking(tmp_path / "out", hidden, export)) == {*map(str, hidden[:2]), "carla"}


def test_a_zip_and_masks_of_other_picture_types_are_submissions_like_any(export, photos, tmp_path):
    zipped = hand_in(tmp_path / "zipped", photos)
    shutil.make_archive(str(zipped), "zip", zipped)
    shutil.rmtree(zipped)
    other = hand_in(tmp_path / "other", photos)
    for file in other.iterdir():
        file.rename(file.with_suffix(".PNG"))
    (tmp_path / "no.zip").write_text("no zip")
    rows = ranking(tmp_path / "out", [tmp_path / "zipped.zip", other, tmp_path / "no.zip"], export)
    assert {name: float(row["iou_cracked"]) for name, row in rows.items()} == {"zipped": 1, "other": 1, "no": 0}
    assert rows["no"]["unusable"] == str(len(photos))


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
    assert all("masks mean nothing" in rows[name]["remarks"] for name in ("run", "zip of run"))
    assert "chosen on 2 of these photos" in rows["zip of run"]["remarks"]
    (tmp_path / "deep" / "b").mkdir()
    with pytest.raises(BadInput, match="nor any other picture in it, but a/masks/ holds some"):
        masks_from(tmp_path / "deep")(photos[0], photos[0].read()[0])
    assert deep.is_dir() and not (tmp_path / "zip of deep").exists()


def test_masks_in_two_folders_and_a_checkpoint_of_another_name_are_named_where_none_was_found(photos, tmp_path):
    folder = tmp_path / "handed in"

    def hint():
        with pytest.raises(BadInput) as error:
            masks_from(folder)(photos[0], photos[0].read()[0])
        return str(error.value)

    for name in "ab":
        hand_in(folder / name, photos)
    assert "but a/, b/ hold some: put all masks into one folder" in hint()
    (folder / "my_model.pt").touch()
    assert "but my_model.pt is a checkpoint: give that one" in hint()


def test_a_zip_that_was_replaced_is_scored_anew(export, photos, tmp_path):
    masks = hand_in(tmp_path / "masks", photos, cut=0.9)
    shutil.make_archive(str(tmp_path / "mona"), "zip", masks)
    assert float(ranking(tmp_path / "out", [tmp_path / "mona.zip", masks], export)["mona"]["iou_cracked"]) < 0.5
    submission.located.cache_clear()  # as in a new process
    shutil.make_archive(str(tmp_path / "mona"), "zip", hand_in(tmp_path / "mona", photos))
    assert set(evaluate.submission_names([tmp_path / "mona.zip", tmp_path / "mona"])) == {"mona.zip", "mona"}
    assert float(ranking(tmp_path / "out", [tmp_path / "mona.zip", masks], export)["mona"]["iou_cracked"]) == 1


def test_an_inverted_submission_and_one_that_trained_on_the_photos_are_remarked(export, photos, tmp_path, capsys):
    inverted, good = (hand_in(tmp_path / name, photos) for name in ("inverted", "good"))
    run = add_run(tmp_path / "run", export)
    for file in inverted.iterdir():
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), 0))
    write_splits(run / "splits.json", {"train": photos[:3], "valid": [], "test": []})
    alone = tmp_path / "alone.pt"
    alone.write_bytes((run / "best.pt").read_bytes())
    rows = ranking(tmp_path / "out", [inverted, good, run, alone], export)
    assert "inverted?" in rows["inverted"]["remarks"] and "trained on 3 of" in rows["run"]["remarks"]
    assert not rows["good"]["remarks"] and "nobody can tell" in capsys.readouterr().out
    assert "unknown whether these photos trained it" in rows["alone"]["remarks"]


def test_one_mask_is_never_scored_for_two_photos(export, photos, tmp_path):
    answer, (first, second) = masks_from(hand_in(tmp_path / "masks", photos)), photos[:2]
    twin = replace(second, name=f"other/{first.name}")
    answer(first, first.read()[0])
    answer(first, first.read()[0])
    with pytest.raises(BadInput, match="would be the mask of"):
        answer(twin, first.read()[0])


def test_scoring_a_submission_leaves_it_as_it_was_handed_in(export, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = hand_in(tmp_path / "in" / "deep" / "masks", photos).parent
    shutil.make_archive(str(tmp_path / "in" / "zipped"), "zip", deep)
    before = sorted(tmp_path.glob("in/**/*"))
    for path in (deep, tmp_path / "in" / "zipped.zip", deep):
        submission.located.cache_clear()
        evaluate.main(["--predictions", str(path), "--data", str(export)])
    assert sorted(tmp_path.glob("in/**/*")) == before
    assert json.loads((tmp_path / "ranking" / "deep" / "scores.json").read_text())["iou_cracked"] == 1


@pytest.mark.parametrize("spoilt", ["{", '{"train": []}', "before", "fingerprint"])
def test_a_spoilt_splits_json_of_a_student_stops_nobody_and_makes_the_run_one_of_unknown_origin(
    export, photos, tmp_path, spoilt
):
    run = add_run(tmp_path / "run", export)
    content = json.loads((run / "splits.json").read_text())
    content |= {"before": {"before": None, "fingerprint": {}}.get(spoilt, {})}
    content["fingerprint"] = dict.fromkeys(content["fingerprint"], "abc") if spoilt == "fingerprint" else {}
    text = json.dumps(content) if spoilt in content else spoilt
    (run / "splits.json").write_text(text)
    rows = ranking(tmp_path / "out", [run, hand_in(tmp_path / "good", photos)], export)
    assert "unknown whether these photos trained it" in rows["run"]["remarks"]


def test_where_no_mask_of_anybody_fits_the_data_is_doubted_and_nothing_ranked(export, photos, tmp_path):
    others = [hand_in(tmp_path / name, photos) for name in ("anna", "ben")]
    for file in [file for folder in others for file in folder.iterdir()]:
        file.rename(file.with_stem(f"overlay_{file.stem}"))
    with pytest.raises(BadInput, match="check --data.*among its 10 pictures, overlay_road000.png"):
        ranking(tmp_path / "out", others, export)
    assert not (tmp_path / "out" / "ranking.csv").exists()


def test_what_cannot_be_opened_is_one_row_of_the_csv_file_and_said_on_the_screen(export, photos, tmp_path, capsys):
    (tmp_path / "marks.zip").write_text("no zip")
    rows = ranking(tmp_path / "out", [hand_in(tmp_path / "anna", photos), tmp_path / "marks.zip"], export)
    assert "nothing in it could be scored" in rows["marks"]["remarks"] and "unknown" not in rows["marks"]["remarks"]
    with open(tmp_path / "out" / "counted_as_empty.csv", newline="", encoding="utf-8") as file:
        ((name, photo, kind, why),) = list(csv.reader(file))[1:]
    assert (name, photo, kind) == ("marks", "all 10", "unusable") and "damaged" in why
    assert f"unusable masks counted as empty: 10; first: {why}" in capsys.readouterr().out


def test_every_photo_of_everyone_stands_in_a_table(export, photos, tmp_path):
    hidden = [hand_in(tmp_path / name, photos, cut) for name, cut in {"half": 0.5, "exact": 0}.items()]
    rows = ranking(tmp_path / "out", hidden, export)
    with open(tmp_path / "out" / "photos.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["photo"] for row in table] == [photo.name for photo in photos]
    assert np.mean([float(row["half"]) for row in table[:8]]) == pytest.approx(float(rows["half"]["iou_cracked"]))
    assert {row["exact"] for row in table} == {"1.0", ""}


def test_nothing_is_scored_twice_under_one_name(export, photos, tmp_path):
    anna = hand_in(tmp_path / "anna", photos)
    with pytest.raises(BadInput, match="anna.*twice"):
        ranking(tmp_path / "out", [anna, hand_in(tmp_path / "ben", photos), anna / ".." / "anna"], export)
    run = add_run(tmp_path / "run", export)
    with pytest.raises(BadInput, match="run: given twice"):
        evaluate.main([str(run), str(run), "--device", "cpu"])
    other = add_run(tmp_path / "deep" / "run", export)
    with pytest.raises(BadInput, match="two runs of one name"):
        evaluate.main([str(run), str(other), "--device", "cpu"])


def test_a_part_that_is_asked_for_of_an_export_without_parts_is_refused(export, photos, tmp_path, capsys):
    anna = hand_in(tmp_path / "anna", photos)
    given = ["--predictions", str(anna), "--data", str(export), "--out", str(tmp_path / "out")]
    for part in ("train", "test"):
        with pytest.raises(BadInput, match=f"no photo is {part}; give --splits"):
            evaluate.main([*given, "--split", part])
    for more in ([], ["--split", "all"]):
        evaluate.main([*given, *more])
        assert json.loads((tmp_path / "out" / "scores.json").read_text())["photos"] == 10


def test_places_of_few_photos_are_said_to_be_of_scores_alone(tmp_path, capsys):
    few = write_export(tmp_path / "few", cracked=5)
    photos = read_export(few).photos
    ranking(tmp_path / "out", [hand_in(tmp_path / name, photos, cut) for name, cut in {"a": 0, "b": 0.5}.items()], few)
    words = "5 photos with a crack, 6 are needed to tell noise from merit"
    assert words in capsys.readouterr().out and words in (tmp_path / "out" / "ranking.html").read_text()


def test_masks_that_are_odd_are_said_to_be_alone_too(export, photos, tmp_path, capsys):
    inverted, black = (hand_in(tmp_path / name, photos) for name in ("inverted", "black"))
    for file in inverted.iterdir():
        cv2.imwrite(str(file), 255 - cv2.imread(str(file), 0))
    for file in black.iterdir():
        cv2.imwrite(str(file), 0 * cv2.imread(str(file), 0))
    for folder, words in {inverted: "inverted?", black: "no crack in any usable mask"}.items():
        evaluate.main(["--predictions", str(folder), "--data", str(export), "--out", str(tmp_path / "out")])
        assert "WARNING: " in (said := capsys.readouterr().out) and words in said
        assert words in json.loads((tmp_path / "out" / "scores.json").read_text())["warning"]


def test_a_mask_may_keep_the_photos_whole_name_and_of_two_the_one_that_is_taken_is_said(photos, tmp_path, capsys):
    both = hand_in(tmp_path / "both", photos)
    for file in both.iterdir():
        cv2.imwrite(str(file.with_stem(f"{file.stem}_mask")), 0 * cv2.imread(str(file), 0))
    assert not open_submission(both, "cpu")[0](photos[0], photos[0].read()[0])[0].any()
    assert "NAME_mask.png beside NAME.png of 10 photos" in capsys.readouterr().out
    assert "of 10 photos" in facts_of(photos, both)["note"]  # which is among the remarks
    whole = hand_in(tmp_path / "whole", photos)
    for file in whole.iterdir():
        file.rename(file.with_name(f"{file.stem}.jpg.png"))
    assert (masks_from(whole)(photos[0], photos[0].read()[0])[0] == photos[0].mask()).all()
    assert not capsys.readouterr().out


def test_a_run_without_a_finished_epoch_and_a_cut_checkpoint_are_called_so(export, photos, tmp_path):
    run = add_run(tmp_path / "run", export)
    content = (run / "best.pt").read_bytes()
    (run / "best.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match="best.pt: not a checkpoint, or damaged"):
        submission.open_submission(run, "cpu")
    (run / "best.pt").rename(run / "last.pt")
    with pytest.raises(BadInput, match="run folder without best.pt"):
        submission.open_submission(run, "cpu")
