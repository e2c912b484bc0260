import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import CATEGORIES, edit_json, lines_with, table, write_export

from command import BadInput
from data import merge
from data.split import PARTS, split
from formats.coco import digest, read_export


@pytest.fixture
def students(tmp_path):
    """Exports of three students whose files have the same names and whose classes have not."""
    names = ("crack", "Cracks ", "Riss")
    for seed, (student, name) in enumerate(zip(("anna", "ben", "carla"), names, strict=True)):
        categories = [{"id": 4, "name": name}, {"id": 9, "name": "leaf"}]
        write_export(tmp_path / student, cracked=5 + seed, undamaged=2, seed=seed, categories=categories, category=4)
    return [tmp_path / student for student in ("anna", "ben", "carla")]


def run(paths, out, *flags):
    merge.main([*map(str, paths), "--out", str(out), *flags])
    return read_export(out)


def manifest(out):
    return table(out / "manifest.csv")


def test_every_photo_and_mask_comes_through_unchanged_under_the_name_of_its_student(students, tmp_path):
    merged = run(students, tmp_path / "all", "--classes", "riss")
    photos = {photo.name: photo for photo in merged.photos}
    assert len(photos) == 7 + 8 + 9 and not merged.problems
    assert merged.categories == {"cracks": "unused", "crack": "crack"}
    for folder in students:
        for photo in read_export(folder, ["Riss"] if folder.name == "carla" else None).photos:
            new = photos[f"{folder.name}_{photo.name}"]
            assert new.sha1() == photo.sha1() and len(new.annotations) == len(photo.annotations)
            np.testing.assert_array_equal(new.mask(), photo.mask())
            assert not new.path.is_symlink() and new.path.stat().st_nlink == 1


def test_run_lengths_become_polygons_and_what_other_programs_note_beside_a_shape_comes_through(students, tmp_path):
    ring = cv2.circle(np.zeros((96, 128), np.uint8), (60, 40), 20, 1, 5)
    runs = np.diff(np.flatnonzero(np.diff(ring.T.ravel(), prepend=0, append=0)), prepend=0).tolist()
    shape = {"size": [96, 128], "counts": [*runs, ring.size - sum(runs)]}

    def with_ring(content):
        content["annotations"][0] |= {"segmentation": shape, "attributes": {"depth": "deep"}, "iscrowd": 1}

    edit_json(students[0], with_ring)
    run(students[:2], tmp_path / "all")
    content = json.loads((tmp_path / "all" / "_annotations.coco.json").read_text())
    pieces = [entry for entry in content["annotations"] if entry["image_id"] == 1]
    assert len(pieces) == 2  # a polygon has no hole
    for entry in pieces:
        assert isinstance(entry["segmentation"], list) and entry["iscrowd"] == 0
        assert entry["attributes"] == {"depth": "deep"}
    assert sum(entry["area"] for entry in pieces) == ring.sum()
    for kind in ("annotations", "images"):
        assert [entry["id"] for entry in content[kind]] == list(range(1, len(content[kind]) + 1))
    np.testing.assert_array_equal(read_export(tmp_path / "all").photos[0].mask(), ring)


def test_area_and_box_are_those_of_the_mask_whatever_the_tool_wrote(students, tmp_path):
    run(students[:2], tmp_path / "all")
    content = json.loads((tmp_path / "all" / "_annotations.coco.json").read_text())
    masks = {photo.name: photo.mask() for photo in read_export(tmp_path / "all").photos}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert len(content["annotations"]) == 11
    for entry in content["annotations"]:
        mask = masks[names[entry["image_id"]]]
        assert entry["area"] == mask.sum() and entry["bbox"] == list(cv2.boundingRect(mask))


def test_the_manifest_says_where_each_photo_came_from(students, tmp_path):
    merged = run(students, tmp_path / "all", "--classes", "Riss")
    rows = {row["file"]: row for row in manifest(tmp_path / "all")}
    assert rows.keys() == {photo.name for photo in merged.photos}
    for photo in merged.photos:
        row = rows[photo.name]
        before = tmp_path / row["student"] / row["name in the student's export"]
        assert before.read_bytes() == photo.path.read_bytes()
        assert row["sha1"] == photo.sha1() and int(row["cracks"]) == len(photo.annotations)


def hand_in(source, target, number, change=lambda photo: photo):
    """The first photo of one student becomes that `number` of another, who labelled something else."""
    photo = cv2.imread(str(source / "road000.jpg"))
    cv2.imwrite(str(target / f"road{number:03d}.jpg"), change(photo), [cv2.IMWRITE_JPEG_QUALITY, 85])


def test_a_photo_of_two_students_is_kept_once_and_how_their_masks_agree_is_said(students, tmp_path, capsys):
    hand_in(students[0], students[1], 2, lambda photo: cv2.convertScaleAbs(photo, alpha=1.04, beta=3))
    merged = run(students[:2], tmp_path / "all")
    names = {photo.name for photo in merged.photos}
    assert len(names) == 14 and "anna_road000.jpg" in names and "ben_road002.jpg" not in names
    ours, theirs = (read_export(folder).photos[i].mask() for folder, i in ((students[0], 0), (students[1], 2)))
    iou = (ours & theirs).sum() / (ours | theirs).sum()
    said = f"copy of anna_road000.jpg, IoU of the masks {iou:.2f}, they DISAGREE: look at both"
    assert f"left out: ben's road002.jpg, {said}" in capsys.readouterr().out
    (row,) = [row for row in manifest(tmp_path / "all") if row["left out"]]
    assert (row["file"], row["student"], row["left out"]) == ("", "ben", said)


def test_masks_that_agree_are_not_said_to_disagree(students):
    photo = read_export(students[0]).photos[0]
    assert merge.agreement(photo, photo) == "IoU of the masks 1.00"


def test_of_two_copies_the_one_with_a_labelled_crack_is_kept(students, tmp_path):
    hand_in(students[1], students[0], 6)  # anna's last photo, without a label
    merged = run(students[:2], tmp_path / "all")
    assert "ben_road000.jpg" in {photo.name for photo in merged.photos}
    (row,) = [row for row in manifest(tmp_path / "all") if row["left out"]]
    assert row["left out"] == "copy of ben_road000.jpg, labelled with a crack there only"


def test_roboflow_names_that_phones_give_again_and_again_are_no_copies(students, tmp_path):
    for folder, ending in zip(students[:2], ("0a1b", "9f8e"), strict=True):
        name = f"IMG_0001_jpg.rf.{ending}.jpg"
        (folder / "road000.jpg").rename(folder / name)
        edit_json(folder, lambda content, name=name: content["images"][0].update(file_name=name))
    assert len(run(students[:2], tmp_path / "all").photos) == 15


def test_equal_names_in_the_parts_of_one_export_stay_two_photos(tmp_path):
    for seed, part in enumerate(("train", "test")):
        write_export(tmp_path / "anna" / part, cracked=2, undamaged=1, seed=seed)
    write_export(tmp_path / "anna-2", cracked=2, undamaged=1, seed=5)  # takes the name that is given first
    merged = run([tmp_path / "anna", tmp_path / "anna-2"], tmp_path / "all")
    assert len({photo.sha1() for photo in merged.photos}) == len({photo.name for photo in merged.photos}) == 9


def test_a_split_by_student_has_no_student_in_two_parts_and_is_the_one_that_training_takes(tmp_path, capsys):
    sizes = {"anna": 20, "ben": 9, "carla": 4, "dan": 3, "eve": 4}
    for seed, (student, cracked) in enumerate(sizes.items()):
        write_export(tmp_path / student, cracked=cracked, undamaged=1, seed=seed)
    merged = run([tmp_path / student for student in sizes], tmp_path / "all", "--split-by-student")
    parts = split(merged)
    assert "WARNING" not in capsys.readouterr().out
    where = {part: {photo.path.name.partition("_")[0] for photo in parts[part]} for part in PARTS}
    assert sorted(student for part in PARTS for student in where[part]) == sorted(sizes)
    counts = [len(parts[part]) for part in PARTS]
    assert sum(counts) == 45 and abs(counts[0] - 31.5) <= 2 and min(counts) >= 5
    assert {row["student"]: row["part"] for row in manifest(tmp_path / "all")} == {
        student: part for part in PARTS for student in where[part]
    }


def test_the_seed_alone_decides_the_split_by_student(tmp_path):
    for student in "abcdef":
        write_export(tmp_path / student, cracked=3, undamaged=1, seed=ord(student))
    entries = merge.entries_of(merge.read_students([tmp_path / student for student in "abcdef"], ()))

    def deal(seed):
        merge.deal_students(entries, seed)
        return [entry.part for entry in entries]

    assert deal(1) == deal(1) and len({tuple(deal(seed)) for seed in range(4)}) > 1


def test_a_zip_is_read_like_a_folder(students, tmp_path):
    expected = {photo.sha1() for photo in run(students[:2], tmp_path / "folders").photos}
    shutil.make_archive(str(students[1]), "zip", students[1])
    shutil.rmtree(students[1])
    merged = run([students[0], tmp_path / "ben.zip"], tmp_path / "all")
    assert {photo.sha1() for photo in merged.photos} == expected
    assert any(photo.name.startswith("ben_") for photo in merged.photos)


def test_its_own_export_is_replaced_split_or_not(students, tmp_path):
    for flags in ((), ("--split-by-student",), ()):
        assert len(run(students, tmp_path / "all", "--classes", "Riss", *flags).photos) == 24
    assert not (tmp_path / "all" / "train").exists()


def test_bad_input_is_one_line_and_leaves_nothing_behind(students, tmp_path):
    def complaint(*arguments):
        with pytest.raises(BadInput) as stop:
            merge.main([str(argument) for argument in arguments])
        return str(stop.value)

    out = ("--out", tmp_path / "all")
    before = sorted(tmp_path.rglob("*"))
    assert "'Riss'" in complaint(*students, *out)
    assert "--classes rift" in complaint(*students, *out, "--classes", "Riss", "rift")
    assert "2 students" in complaint(*students[:2], *out, "--split-by-student")
    assert "nobody: no such folder" in complaint(students[0], tmp_path / "nobody", *out)
    assert "one of the exports" in complaint(*students, "--out", students[0])
    assert sorted(tmp_path.rglob("*")) == before
    (students[1] / "road001.jpg").write_bytes(b"\xff\xd8 cut")
    assert "road001.jpg" in complaint(*students[:2], *out)
    shutil.copytree(students[0], tmp_path / "more" / "anna")
    assert "a second export called anna" in complaint(students[0], tmp_path / "more" / "anna", *out)
    assert not (tmp_path / "all").exists()


def test_an_export_of_undamaged_photos_only_is_taken(students, tmp_path):
    write_export(tmp_path / "dan", cracked=0, undamaged=3, seed=8, categories=CATEGORIES)
    assert len(run([students[0], tmp_path / "dan"], tmp_path / "all").photos) == 10


def test_copies_inside_one_export_are_left_to_its_student(students, tmp_path):
    shutil.copy(students[0] / "road000.jpg", students[0] / "road001.jpg")
    assert len(run(students[:2], tmp_path / "all").photos) == 15


def test_further_class_names_count_beside_every_spelling_of_crack_and_other_classes_do_not(students, tmp_path):
    edit_json(students[0], lambda content: content["annotations"][0].update(category_id=9))
    assert sum(photo.cracked for photo in run(students[:2], tmp_path / "all", "--classes", "crack").photos) == 4 + 6
    edit_json(students[0], lambda content: content["categories"][1].update(name="Riss"))
    merged = run([students[0], students[2]], tmp_path / "other", "--classes", "Riss")
    assert sum(photo.cracked for photo in merged.photos) == 5 + 7


def test_what_is_wrong_with_many_annotations_of_a_photo_is_one_line(students, tmp_path, capsys):
    def boxes(content):
        first = content["annotations"][0]
        content["annotations"] += [{**first, "id": 100 + k, "segmentation": []} for k in range(3)]

    edit_json(students[0], boxes)
    run(students[:2], tmp_path / "all")
    (note,) = lines_with(capsys.readouterr().out, "note:")
    assert note.endswith("(3 times)")


def test_what_is_wrong_with_several_students_is_said_at_once(students, tmp_path):
    for folder in students[:2]:
        edit_json(folder, lambda content: content["categories"][0].update(name="Objekt"))
    with pytest.raises(BadInput, match="anna.*Objekt.*ben.*Objekt"):
        run(students[:2], tmp_path / "all")


def test_masks_that_nobody_has_corrected_are_not_merged_as_labels(students, tmp_path):
    def ours(content):
        content["info"] = {"uncorrected": digest(content["annotations"])}

    edit_json(students[0], ours)
    with pytest.raises(BadInput, match="masks of inference.py, not labels"):
        run(students[:2], tmp_path / "all")


def test_a_pattern_that_the_shell_did_not_expand_names_the_exports(tmp_path, students):
    assert len(run([tmp_path / "[ab]*"], tmp_path / "class").photos) == 5 + 2 + 6 + 2
