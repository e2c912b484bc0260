import re

import cv2
import numpy as np
import pytest
from conftest import edit_json, lines_with, painted, turn, write_export

import dataset
from data import audit as audit_module
from data.audit import BESIDE, DRAWN_UNTURNED, audit, drawn_unturned
from data.convert import convert
from formats.coco import MOSTLY_CRACK, OTHER_CLASSES, TURNED, read_export


def report(folder, classes=None):
    return audit(read_export(folder, classes))[0]


def line_with(text, words):
    """The one line of a report that holds the words."""
    (line,) = lines_with(text, words)
    return line


def test_the_audit_counts_what_training_can_use_and_lists_what_would_stop_it(export):
    (export / "road001.jpg").write_bytes(b"no photo")
    (export / "road004.jpg").write_bytes(b"no photo")
    text = report(export)
    assert "8 photos, 6 cracked, 2 undamaged" in text
    assert "2 photos" in line_with(text, "would stop training")
    assert all(line_with(text, str(export / name)) for name in ("road001.jpg", "road004.jpg"))


@pytest.mark.parametrize(("cracked", "undamaged", "lacking"), [(4, 2, []), (3, 2, ["cracked"]), (4, 1, ["undamaged"])])
def test_only_the_kind_of_photos_that_is_lacking_is_said_to_lack(tmp_path, monkeypatch, cracked, undamaged, lacking):
    monkeypatch.setattr(audit_module, "CRACKED", 4)
    monkeypatch.setattr(audit_module, "UNDAMAGED", 2)
    text = report(write_export(tmp_path / "e", cracked, undamaged))
    assert [re.match(r"\d+ (\w+)", line)[1] for line in lines_with(text, "fewer than")] == lacking


@pytest.mark.parametrize(("cracked", "undamaged"), [(1, 0), (0, 2), (1, 1), (2, 1)])
def test_what_would_stop_training_is_what_stops_it(tmp_path, cracked, undamaged):
    folder = write_export(tmp_path / "few", cracked, undamaged)
    assert line_with(report(folder), "would stop training") and "no problem" not in report(folder)
    enough = write_export(tmp_path / "enough", 5, 2)
    assert "would stop training" not in report(enough)
    codes = [dataset.main([str(data), "--out", str(tmp_path / "audit.png")]) for data in (folder, enough)]
    assert codes == [1, 0]
    (enough / "road001.jpg").write_bytes(b"no photo")
    assert dataset.main([str(enough), "--out", str(tmp_path / "audit.png")]) == 1


def test_a_photo_with_only_labels_that_classes_leaves_out_counts_as_undamaged_and_is_named(tmp_path):
    categories = [{"id": 0, "name": "crack"}, {"id": 1, "name": "Crank"}]
    folder = write_export(tmp_path / "e", cracked=3, undamaged=1, categories=categories)
    edit_json(folder, lambda content: content["annotations"][0].update(category_id=0))
    problems = read_export(folder, ["crack"]).problems
    assert [(p.kind, p.name) for p in problems] == [(OTHER_CLASSES, "road001.jpg"), (OTHER_CLASSES, "road002.jpg")]
    text = report(folder, ["crack"])
    assert "'Crank'" in line_with(text, OTHER_CLASSES)
    assert line_with(text, "category 'crack'").endswith(": counts as crack")
    assert line_with(text, "category 'Crank'").endswith(": does not count as crack")
    assert not read_export(folder).problems


def test_odd_polygons_of_one_kind_are_one_line(export):
    def thin(content):
        for annotation in content["annotations"][:3]:
            annotation["segmentation"].append([5.0, 5.0, 6.0, 5.0, 6.0, 30.0])
        content["annotations"][5]["segmentation"].append([100.0, 5.0, 140.0, 5.0, 140.0, 30.0])

    edit_json(export, thin)
    text = report(export)
    names = [f"road{number:03d}.jpg" for number in (0, 1, 2, 5)]
    assert [name in line_with(text, "3 polygons under 2 pixels") for name in names] == [True, True, True, False]
    assert [name in line_with(text, "1 polygon reaching outside") for name in names] == [False, False, False, True]


def test_no_line_names_more_than_a_few_photos_and_their_number_is_said(tmp_path):
    folder = write_export(tmp_path / "many", cracked=40, undamaged=40, size=(48, 64))
    for number in range(15):
        (folder / f"road{number:03d}.jpg").unlink()
    for number in range(16, 40):  # one photo, 24 times
        (folder / f"road{number:03d}.jpg").write_bytes((folder / "road015.jpg").read_bytes())
    text = report(folder)
    assert max(line.count(".jpg") for line in text.splitlines()) <= 8
    assert "and 7 more" in line_with(text, "the file is missing")
    assert "40 photos (62%)" in line_with(text, "counted as undamaged")
    assert "copies of 1 photo" in line_with(text, "(road015.jpg, road016.jpg, road017.jpg and 22 more)")


def test_copies_in_different_parts_are_said_apart_from_those_in_one(tmp_path):
    for seed, part in enumerate(("train", "test")):
        write_export(tmp_path / part, cracked=5, undamaged=2, seed=seed)
    (tmp_path / "test" / "road000.jpg").write_bytes((tmp_path / "train" / "road003.jpg").read_bytes())
    (tmp_path / "train" / "road001.jpg").write_bytes((tmp_path / "train" / "road002.jpg").read_bytes())
    text = report(tmp_path)
    assert "(test/road000.jpg, train/road003.jpg)" in line_with(text, "DIFFERENT parts")
    assert "(train/road001.jpg, train/road002.jpg)" in line_with(text, "kept in one part")


def test_an_export_made_from_masks_raises_no_doubt_about_empty_masks_and_specks(tmp_path):
    folder = write_export(tmp_path / "drawn", cracked=40, undamaged=10)
    masks = tmp_path / "masks"
    masks.mkdir()
    for photo in read_export(folder).photos:
        mask = photo.mask() * 255
        mask[90, 120 : 120 + photo.cracked] = 255
        cv2.imwrite(str(masks / f"{photo.path.stem}.png"), mask)
    convert(folder, masks, tmp_path / "converted")
    assert "no problem found" in report(tmp_path / "converted")
    edit_json(tmp_path / "converted", lambda content: content["annotations"].pop())  # now it is somebody's own work
    text = report(tmp_path / "converted")
    assert line_with(text, "counted as undamaged") and line_with(text, "under 2 pixels")


# -------------------------------------------------------------------------------------------- turned by EXIF
@pytest.mark.parametrize("way", [2, 3, 4, 5, 6, 7, 8])
def test_a_label_drawn_before_exif_turned_the_photo_is_told_from_a_right_one(tmp_path, way):
    folder = write_export(tmp_path / "e", cracked=6, undamaged=1, size=(128, 128))
    wrong = ["road000.jpg", "road002.jpg", "road004.jpg"]
    for number in range(5):
        file = folder / f"road{number:03d}.jpg"
        if file.name not in wrong:
            turn(file, way)  # upright it is what was labelled
            continue
        stored = cv2.imread(str(file))  # labelled as it is stored
        turn(file, way)
        note = file.read_bytes()
        _, data = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 98])
        app1 = note[note.index(b"\xff\xe1") :]
        length = 2 + int.from_bytes(app1[2:4], "big")
        file.write_bytes(data.tobytes()[:2] + app1[:length] + data.tobytes()[2:])
    export = read_export(folder)
    assert [p.name for p in export.problems if p.kind == TURNED] == [f"road{number:03d}.jpg" for number in range(5)]
    text = audit(export)[0]
    assert [name in line_with(text, DRAWN_UNTURNED) for name in wrong] == [True] * 3
    assert "road001.jpg, road003.jpg" in line_with(text, TURNED)


def test_labelled_pixels_that_are_brighter_than_their_surroundings_strengthen_the_doubt(rng):
    photo = np.full((100, 100, 3), 120, np.uint8)
    mask = painted((100, 100), np.s_[:, 20:26])
    for value, doubtful in ((60, False), (180, True)):
        photo[:, 20:26] = value
        assert drawn_unturned(photo, mask, 3) == doubtful
    photo[:, 74:80] = 180  # and bright where the label would lie after turning, too
    assert drawn_unturned(photo, mask, 3)
    assert not drawn_unturned(photo, np.ones_like(mask), 3)  # nothing around it to compare with


def test_training_names_what_may_be_wrong_with_the_labels(tmp_path, capsys):
    folder = write_export(tmp_path / "e", cracked=6, undamaged=1)
    whole = [[0.5, 0, 128, 0, 128, 96, 0, 96]]
    edit_json(folder, lambda content: content["annotations"][3].update(segmentation=whole))
    turn(folder / "road001.jpg", 3)
    dataset.open_data(folder)
    said = capsys.readouterr().out
    assert "road003.jpg (100%)" in line_with(said, MOSTLY_CRACK)
    assert "road001.jpg" in line_with(said, TURNED)


def test_a_label_beside_its_crack_is_named_and_a_right_one_is_not(tmp_path):
    folder = write_export(tmp_path / "export", cracked=3, undamaged=0, size=(384, 512))

    def push(content):
        (outline,) = content["annotations"][0]["segmentation"]
        outline[::2] = [x + 3 for x in outline[::2]]

    assert BESIDE not in report(folder)
    edit_json(folder, push)
    line = line_with(report(folder), BESIDE)
    assert "road000.jpg" in line and "road001.jpg" not in line
