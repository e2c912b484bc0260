import json
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CATEGORIES, edit_json, painted, turn, write_export
from pycocotools import mask as coco_mask

from command import BadInput
from formats import coco
from formats.categories import says_crack
from formats.coco import (
    MISSING,
    MOSTLY_CRACK,
    NORMALISED,
    OUTSIDE,
    SHAPELESS,
    TURNED,
    UNLISTED,
    WHOLE_NUMBERS,
    each_once,
    read_export,
)
from formats.shapes import decode_runs

CRACK = [
    "crack", "Crack", "CRACK", "cracks", "crack ", "Crank", "Cracked", "alligator_crack", "Abnormal crack",
    "longitudinal crack", "Transverse-Cracking", "alligator cracking", "crack_low", "asphalt crack",
    "LongitudinalCrack", "longitudinalcracks", "crack (severe)", "Crack 2", "pavement block crack",
    "high severity fatigue cracking",
]  # fmt: skip
SOUND = [
    "UnCracked", "no crack", "no-crack", "non_crack", "NoCrack", "crack-free", "crackless", "normal", "undamaged",
    "not a crack", "no visible crack", "free of cracks", "false crack", "without any cracks", "UNCRACKED", "noncracked",
    "no longitudinal crack", "no cracks found", "undamaged asphalt",
]  # fmt: skip
UNCLEAR = [
    "objects", "0", "pothole", "track", "abnormal", "crack_normal", "sealed crack", "crack sealant", "crack repair",
    "crack-like joint", "ignore_crack", "filled cracks", "cracksealing", "crack or shadow", "crack, no pothole",
    "not uncracked", "cracker", "wisecrack", "crackling", "possible crack", "normal pothole", "joint crack", "", "no",
]  # fmt: skip


def masks_of(folder):
    """The masks of an export whose photos have one size, as one array."""
    return np.array([photo.read()[1] for photo in read_export(folder).photos])


@pytest.mark.parametrize(
    "names,means", [(CRACK, True), (SOUND, False), (UNCLEAR, None)], ids=["crack", "no", "unclear"]
)
def test_known_forms_of_crack_are_crack_denials_are_not_and_nothing_else_is_guessed(names, means):
    assert {name: says_crack(name) for name in names} == dict.fromkeys(names, means)


def test_names_decide_whatever_the_ids_and_their_order(tmp_path):
    moved = [{"id": 7, "name": "Crack ", "supercategory": "x"}, {"id": 1, "name": "UnCracked", "supercategory": "x"}]
    plain, other = write_export(tmp_path / "a"), write_export(tmp_path / "b", categories=moved, category=7)
    assert np.array_equal(masks_of(plain), masks_of(other))
    sound = read_export(write_export(tmp_path / "c", categories=moved, category=1))
    assert not any(photo.cracked for photo in sound.photos) and len(sound.photos) == 10


def test_an_unclear_class_stops_with_all_names_and_the_flag_settles_it(tmp_path):
    names = [{"id": 1, "name": "objects", "supercategory": ""}, {"id": 2, "name": "crack", "supercategory": ""}]
    folder = write_export(tmp_path / "a", categories=names)
    with pytest.raises(BadInput, match="'objects'.*'crack'.*--classes"):
        read_export(folder)
    assert sum(p.cracked for p in read_export(folder, ["objects"]).photos) == 8
    assert sum(p.cracked for p in read_export(folder, ["objects", "crack"]).photos) == 8  # one that none has beside it
    with pytest.raises(BadInput, match="no annotation has the class 'hole'; classes that some have: 'objects'"):
        read_export(folder, ["objects", "hole"])
    for unused in ("crack", "hole"):
        with pytest.raises(BadInput, match=f"no annotation has the class '{unused}'"):
            read_export(folder, [unused])


def test_the_unused_parent_class_of_roboflow_does_not_matter(export):
    edit_json(export, lambda c: c["categories"].__setitem__(0, {"id": 0, "name": "objects", "supercategory": "none"}))
    assert read_export(export).categories == {"crack": "crack", "objects": "unused"}


def test_ground_truth_is_the_union_of_polygons_and_rle_in_zeros_and_ones(export):
    square = painted((96, 128), np.s_[10:20, 90:120])
    rle = coco_mask.encode(np.asfortranarray(square))
    shape = {"size": [96, 128], "counts": rle["counts"].decode()}

    def add(content):
        content["annotations"][0]["segmentation"].append([60, 60, 100, 60, 100, 80, 60, 80])
        content["annotations"].append(
            {"id": 99, "image_id": 0, "category_id": 1, "segmentation": shape, "bbox": [], "area": 9, "iscrowd": 0}
        )

    before = read_export(export).photos[0].mask()
    edit_json(export, add)
    mask = read_export(export).photos[0].mask()
    expected = before | square
    expected[60:80, 60:100] = 1
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert np.array_equal(mask, expected)


def test_a_photo_without_annotation_is_undamaged_and_kept(export):
    photos = read_export(export).photos
    assert len(photos) == 10 and [p.cracked for p in photos] == [True] * 8 + [False] * 2
    assert photos[-1].mask().sum() == 0


BAD_SHAPES = [
    None, 3, "x", True, [], [[]], [None], [5], [["1", "2", "3", "4", "5", "6"]], [[True] * 8], [{"x": 1}], {}, [[1, 2]],
    [10, 10, 60, 10], [[1, 2], [3, 4]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[[1, 2], [3]]], [[1, 2, 3, 4]],
    [[1, 1, 9, 1, 9, 9, 1]], [[200, 10, 240, 10, 240, 40]],
    [[0, 0, float("nan"), 5, 5, 5]], [[0, 0, float("inf"), 5, 5, 5]], [[0, 0, 10**400, 5, 5, 5]],
    [[10, 10, 1e12, 10, 10, 50]], [[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12]], [[10, 10, 10, 10, 10, 10]],
    [[10.2, 10.2, 10.3, 10.2, 10.3, 10.3]], {"size": [96, 128], "counts": "0"}, {"size": [96, 128], "counts": "~~~~"},
    {"size": [96, 128], "counts": [1211, 50]}, {"size": [96, 128], "counts": [96 * 128]}, {"size": None, "counts": []},
    {"size": [96, 128], "counts": [-5, 96 * 128 + 5]}, {"size": [128, 96], "counts": [0, 96 * 128]},
    {"size": [96, 128], "counts": 5}, {"size": [96, 128], "counts": "!!!"},
    [[value for k in range(200) for value in (1.0, 1.0 + k / 10, 120.0, 90.0)]],  # longer than the photo has pixels
]  # fmt: skip


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=lambda shape: repr(shape)[:40])
def test_a_photo_whose_only_shape_cannot_be_a_crack_is_left_out_and_never_passes_for_undamaged(export, shape):
    good = read_export(export).photos[1].mask()
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=shape))
    found = read_export(export)
    dropped, left_out = found.problems
    assert dropped.name == left_out.name == "road000.jpg" and left_out.kind == SHAPELESS
    assert dropped.kind.endswith("; dropped") and left_out.detail in dropped.kind
    assert found.photos[0].name == "road001.jpg" and np.array_equal(found.photos[0].mask(), good)


def test_a_bad_polygon_does_not_take_the_good_one_beside_it(export):
    before = read_export(export).photos[0].mask()
    edit_json(export, lambda c: c["annotations"][0]["segmentation"].append([1, 2]))
    assert np.array_equal(read_export(export).photos[0].mask(), before)


def test_a_thousand_shapes_give_the_mask_of_their_union(export):
    polygons = [[x, y, x + 9.0, y + 1, x + 8, y + 4] for x in range(0, 110, 3) for y in range(0, 90, 4)]
    shapes = [[polygon] for polygon in polygons] + [polygons[:7], polygons[7:50]]
    edit_json(export, lambda c: c["annotations"].extend(c["annotations"][0] | {"segmentation": s} for s in shapes))
    union = read_export(export).photos[0].mask()
    runs = coco_mask.frPyObjects(polygons, 96, 128)
    edit_json(export, lambda c: c.update(annotations=c["annotations"][:1]))
    assert np.array_equal(union, read_export(export).photos[0].mask() | coco_mask.decode(runs).max(axis=2))


def test_compressed_run_lengths_are_decoded_as_pycocotools_encodes_them(rng):
    for share in (0.5, 0.01, 0.0005, 0.999):
        mask = (rng.random((57, 83)) < share).astype(np.uint8)
        text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
        runs = decode_runs(text)
        assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs), mask.T.ravel())
        if share < 0.9:
            assert sum(decode_runs(text[: len(text) // 2]) or [0]) != mask.size


BAD_ENTRIES = {
    "image without name": lambda c: c["images"][0].pop("file_name"),
    "image without height": lambda c: c["images"][0].pop("height"),
    "height as another text": lambda c: c["images"][0].update(height="96 px"),
    "height not whole": lambda c: c["images"][0].update(height=96.5),
    "height of nothing": lambda c: c["images"][0].update(height=0),
    "height not a number": lambda c: c["images"][0].update(height=float("nan")),
    "image id as a name": lambda c: c["images"][0].update(id="first"),
    "image id twice, once as text": lambda c: c["images"][1].update(id="0"),
    "image id twice": lambda c: c["images"][1].update(id=0),
    "category id twice": lambda c: c["categories"].append({"id": 1, "name": "uncracked"}),
    "category without name": lambda c: c["categories"][0].pop("name"),
    "category name a list": lambda c: c["categories"][1].update(name=["crack"]),
    "unknown category": lambda c: c["annotations"][0].update(category_id=99),
    "unknown image": lambda c: c["annotations"][0].update(image_id=999),
    "image id true": lambda c: c["annotations"][0].update(image_id=True),
    "annotation a text": lambda c: c["annotations"].append("x"),
    "images a dict": lambda c: c.update(images={}),
}


@pytest.mark.parametrize("name", ["x\0y.jpg", "\ud800.jpg", "a\nb.jpg"], ids=["nul", "surrogate", "line break"])
def test_a_name_that_no_file_can_have_is_refused(export, name):
    edit_json(export, lambda c: c["images"][0].update(file_name=name))
    with pytest.raises(BadInput, match="no name that a file can have"):
        read_export(export)


@pytest.mark.parametrize("change", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_entries_that_cannot_be_told_apart_or_put_together_are_refused_by_name(export, change):
    edit_json(export, change)
    with pytest.raises(BadInput, match="_annotations.coco.json: .*export again"):
        read_export(export)


def test_annotation_ids_do_not_matter(export):
    before = masks_of(export)
    edit_json(export, lambda c: [a.update(id=7) for a in c["annotations"]] and c["annotations"][0].pop("id"))
    assert np.array_equal(masks_of(export), before)


def test_a_byte_order_mark_and_a_folder_called_val_are_fine(tmp_path):
    for part, seed in (("Train", 0), ("val", 1)):
        file = write_export(tmp_path / part, seed=seed) / "_annotations.coco.json"
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    parts = {photo.part for photo in read_export(tmp_path).photos}
    assert parts == {"train", "valid"}


def missing(found):
    """{photo: detail} of the photos that an export lists and lacks."""
    return {problem.name: problem.detail for problem in found.problems if problem.kind == MISSING}


def rename(folder, number, name):
    edit_json(folder, lambda content: content["images"][number].update(file_name=name))


def test_a_link_out_of_the_export_is_not_followed(export, tmp_path):
    (tmp_path / "secret.jpg").write_bytes((export / "road000.jpg").read_bytes())
    (export / "road000.jpg").unlink()
    (export / "road000.jpg").symlink_to(tmp_path / "secret.jpg")
    found = read_export(export)
    assert len(found.photos) == 9 and [p.name for p in found.problems if p.kind == OUTSIDE] == ["road000.jpg"]


def test_missing_and_unlisted_files_are_left_out_and_said_with_the_most_similar_name(export):
    (export / "road000.jpg").rename(export / "road000 (1).jpg")
    found = read_export(export)
    assert len(found.photos) == 9 and missing(found) == {"road000.jpg": "but road000 (1).jpg is there"}
    assert [p.name for p in found.problems if p.kind == UNLISTED] == ["road000 (1).jpg"]


@pytest.mark.parametrize("name", ["../secret.jpg", "{}/secret.jpg", "..\\secret.jpg", "a/../../secret.jpg"])
def test_nothing_outside_the_export_is_read(export, tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes((export / "road000.jpg").read_bytes())
    rename(export, 0, name.format(tmp_path))
    found = read_export(export)
    assert len(found.photos) == 9 and len(missing(found)) == 1
    assert all(photo.path.is_relative_to(export) for photo in found.photos)


WAYS = {
    "a server's folders": "..\\..\\label-studio\\media\\upload\\4\\{}",
    "upwards": "../../{}",
    "absolute": "/home/somebody/photos/{}",
    "a drive": "D:\\photos\\{}",
    "a query": "/data/local-files/?d=photos/{}",
    "missing folder": "images/{}",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_path_before_the_name_is_taken_away_where_one_photo_answers(tmp_path, way):
    folder = write_export(tmp_path / "e")
    before = masks_of(folder)
    (folder / "pictures").mkdir()
    for number in range(10):
        (folder / f"road{number:03d}.jpg").rename(folder / "pictures" / f"road{number:03d}.jpg")
        rename(folder, number, way.format(f"road{number:03d}.jpg"))
    found = read_export(folder)
    assert [photo.name for photo in found.photos] == [f"pictures/road{number:03d}.jpg" for number in range(10)]
    assert np.array_equal(masks_of(folder), before) and not found.problems


@pytest.mark.parametrize("listed,there", [
    (unicodedata.normalize("NFC", "Brüstung é.jpg"), unicodedata.normalize("NFD", "Brüstung é.jpg")),
    (unicodedata.normalize("NFD", "Ångström.jpg"), unicodedata.normalize("NFC", "Ångström.jpg")),
    ("my%20road%20%231.jpg", "my road #1.jpg"), ("Stra%C3%9Fe.jpg", "Straße.jpg"), ("sub\\a.jpg", "sub/a.jpg"),
])  # fmt: skip
def test_a_name_in_another_notation_means_the_same_photo(export, listed, there):
    (export / there).parent.mkdir(exist_ok=True)
    (export / "road003.jpg").rename(export / there)
    rename(export, 3, listed)
    found = read_export(export)
    assert found.photos[3].path == export / there and len(found.photos) == 10 and not found.problems
    assert found.photos[3].name == unicodedata.normalize("NFC", there)


def test_the_literal_name_comes_first(export):
    shutil.copy(export / "road000.jpg", export / "road 000.jpg")
    (export / "road000.jpg").rename(export / "road%20000.jpg")
    rename(export, 0, "road%20000.jpg")
    assert read_export(export).photos[0].path.name == "road%20000.jpg"


def test_where_two_photos_or_two_entries_fit_nobody_guesses(export):
    for folder in ("a", "b"):
        (export / folder).mkdir()
        shutil.copy(export / "road000.jpg", export / folder / "x.jpg")
    rename(export, 0, "c/x.jpg")
    assert "a/x.jpg or b/x.jpg" in missing(read_export(export))["c/x.jpg"]
    rename(export, 0, "server/b/x.jpg")  # the folder tells
    assert read_export(export).photos[0].name == "b/x.jpg"
    shutil.rmtree(export / "a")
    rename(export, 0, "server/x.jpg")
    rename(export, 1, "other/x.jpg")
    found = read_export(export)
    assert len(found.photos) == 8 and missing(found).keys() == {"server/x.jpg", "other/x.jpg"}
    rename(export, 1, "b/x.jpg")  # the path of the photo: it is not that of another entry
    found = read_export(export)
    assert found.photos[0].name == "b/x.jpg" and missing(found).keys() == {"server/x.jpg"}


# -------------------------------------------------------------------------------------- layouts of other tools
def as_cvat(folder, subsets):
    """Drawn exports as CVAT, datumaro and COCO itself lay them out; {subset: folder of its photos}."""
    (folder / "annotations").mkdir(parents=True)
    for seed, (subset, place) in enumerate(subsets.items()):
        write_export(folder / place, cracked=3, undamaged=1, seed=seed)
        (folder / place / "_annotations.coco.json").rename(folder / "annotations" / f"instances_{subset}.json")
    return folder


@pytest.mark.parametrize("place", ["images/default", "images", "default", "."])
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_the_layout_of_cvat_is_read(tmp_path, place, zipped):
    plain = write_export(tmp_path / "plain", cracked=3, undamaged=1)
    folder = as_cvat(tmp_path / "cvat", {"default": place})
    if zipped:
        shutil.make_archive(tmp_path / "zipped", "zip", folder)
        folder = tmp_path / "zipped.zip"
    found = read_export(folder)
    assert not found.problems and [photo.part for photo in found.photos] == [None] * 4
    assert np.array_equal(masks_of(folder), masks_of(plain))
    assert all(found.root / photo.name == photo.path for photo in found.photos)


def test_parts_of_the_cvat_layout_are_parts_and_other_files_beside_them_do_not_matter(tmp_path):
    folder = as_cvat(tmp_path / "coco", {"train2017": "train2017", "val": "images/val"})
    shutil.copy(folder / "annotations" / "instances_val.json", folder / "annotations" / "person_keypoints_val.json")
    (folder / "annotations" / "notes.json").write_text("{}")
    found = read_export(folder)
    assert [photo.part for photo in found.photos] == ["train"] * 4 + ["valid"] * 4
    assert len({photo.name for photo in found.photos}) == 8 and not found.problems
    shutil.copy(folder / "annotations" / "instances_val.json", folder / "annotations" / "instances_valid.json")
    with pytest.raises(BadInput, match="instances_val.json, annotations/instances_valid.json all mean valid"):
        read_export(folder)


@pytest.mark.parametrize("places", [(".", "val"), (".", "cvat"), ("test", "cvat"), (".", "test", "cvat")])
def test_labels_in_several_places_are_refused_and_not_one_of_them_taken(tmp_path, places):
    for place in places:
        if place == "cvat":
            as_cvat(tmp_path, {"default": "images/default"})
        else:
            write_export(tmp_path / place, cracked=2, undamaged=0)
    with pytest.raises(BadInput, match="several places") as caught:
        read_export(tmp_path)
    assert all(place in str(caught.value).replace("annotations/instances", "cvat") for place in places)


def test_a_photo_of_one_part_never_stands_for_a_missing_one_of_another(tmp_path):
    folder = as_cvat(tmp_path / "cvat", {"train": "images/train", "test": "images/test"})
    (folder / "images" / "test" / "road001.jpg").unlink()
    found = read_export(folder)
    assert sorted(photo.name for photo in found.photos if photo.part == "train") == [
        f"images/train/road00{i}.jpg" for i in range(4)
    ]
    assert len({photo.path for photo in found.photos}) == len(found.photos) == 7
    assert list(missing(found)) == ["test/road001.jpg"] and {problem.kind for problem in found.problems} == {MISSING}


@pytest.mark.parametrize("listed", ["road002.jpg", "elsewhere/road002.jpg"])
def test_a_photo_that_two_parts_list_is_refused(tmp_path, listed):
    folder = as_cvat(tmp_path, {"valid": "images", "test": "images/test"})
    shutil.rmtree(folder / "images" / "test")
    file = folder / "annotations" / "instances_test.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["images"] = [{"id": 7, "file_name": listed, "height": 96, "width": 128}]
    file.write_text(json.dumps(content | {"annotations": []}), encoding="utf-8")
    if "/" in listed:  # neither lies where its COCO file says
        names = folder / "annotations" / "instances_valid.json"
        names.write_text(names.read_text(encoding="utf-8").replace('"road', '"/home/road'), encoding="utf-8")
    with pytest.raises(BadInput, match="road002.jpg.*instances_.*keep it in one"):
        read_export(folder)


@pytest.mark.parametrize("layout", ["roboflow", "cvat"])
def test_photos_of_a_part_without_a_coco_file_and_beside_the_parts_are_said_to_be_left_out(tmp_path, layout):
    if layout == "cvat":
        folder = as_cvat(tmp_path, {"train": "images/train", "val": "images/val"})
        lost, gone = "images/val/road", folder / "annotations" / "instances_val.json"
    else:
        write_export(tmp_path / "train")
        lost, gone = "val/road", write_export(tmp_path / "val", cracked=3, undamaged=1) / "_annotations.coco.json"
    gone.unlink()
    (tmp_path / "lone.png").touch()
    left_out = [one.name for one in read_export(tmp_path).problems if one.kind == UNLISTED]
    assert sorted(left_out) == sorted(["lone.png", *(f"{lost}00{i}.jpg" for i in range(4))])


def test_a_coco_file_without_a_part_beside_others_is_refused_because_no_training_would_take_its_photos(tmp_path):
    folder = as_cvat(tmp_path, {"val": "images/val", "batch2": "images/batch2"})
    with pytest.raises(BadInput, match="instances_batch2.json"):
        read_export(folder)


def test_a_damaged_coco_file_of_a_part_is_refused_by_name(tmp_path):
    folder = as_cvat(tmp_path, {"train": "images/train", "test": "images/test"})
    file = folder / "annotations" / "instances_test.json"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BadInput, match="instances_test.json: cannot be read as JSON"):
        read_export(folder)


def test_an_export_of_cvat_that_lies_deeper_or_came_without_photos_is_named(tmp_path):
    folder = as_cvat(tmp_path / "outer" / "cvat", {"default": "images/default"})
    with pytest.raises(BadInput, match="give .*outer/cvat$"):
        read_export(tmp_path / "outer")
    shutil.rmtree(folder / "images")
    with pytest.raises(BadInput, match="road000.jpg.*the file is missing"):
        read_export(folder)


def test_what_systems_and_phones_leave_beside_photos_is_no_photo_and_no_export(export):
    plain = [photo.name for photo in read_export(export).photos]
    (export / "_annotations.coco.json").rename(export / "result.json")
    (export / "._result.json").write_bytes(b"\x00\x05\x16\x07")
    shutil.copy(export / "result.json", export / ".backup.json")
    (export / "road000.jpg.supplemental-metadata.json").write_text('{"title": "road000.jpg"}')
    (export / "._road000.jpg").write_bytes(b"\x00\x05\x16\x07")
    for folder in (".ipynb_checkpoints", "train"):
        (export / folder).mkdir()
        (export / folder / "notes.json").write_text("{}")
    shutil.copy(export / "road000.jpg", export / ".ipynb_checkpoints" / "road000-checkpoint.jpg")
    found = read_export(export)
    assert [photo.name for photo in found.photos] == plain and not found.problems


# ---------------------------------------------------------------------------------------- shapes of other tools
def normalise(polygon):
    return [value / (128, 96)[i % 2] for i, value in enumerate(polygon)]


FORMS = {
    "one flat list": lambda polygon: polygon,
    "pairs": lambda polygon: [polygon[i : i + 2] for i in range(0, len(polygon), 2)],
    "a list of pairs": lambda polygon: [[polygon[i : i + 2] for i in range(0, len(polygon), 2)]],
    "drawn twice": lambda polygon: [polygon * 2],
    "drawn twice, closed each time": lambda polygon: [(polygon + polygon[:2]) * 2],
    "drawn four times": lambda polygon: [polygon * 4],
    "normalised": lambda polygon: [normalise(polygon)],
    "normalised, flat": lambda polygon: normalise(polygon),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_outline_in_a_form_that_can_only_mean_one_thing_is_read(export, form):
    before = masks_of(export)
    edit_json(export, lambda c: [e.update(segmentation=form(e["segmentation"][0])) for e in c["annotations"]])
    assert np.array_equal(masks_of(export), before)
    assert {problem.kind for problem in read_export(export).problems} <= {NORMALISED}


def test_normalised_outlines_are_said_and_one_among_others_in_pixels_is_dropped_with_its_reason(export):
    edit_json(export, lambda c: [e.update(segmentation=[normalise(e["segmentation"][0])]) for e in c["annotations"]])
    found = read_export(export)
    assert [(p.kind, p.name) for p in found.problems] == [(NORMALISED, str(export / "_annotations.coco.json"))]
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=[[10.5, 10, 60, 10, 60, 60]]))
    found = read_export(export)
    assert [photo.name for photo in found.photos if photo.cracked] == ["road000.jpg"]
    assert "pixels 0 to 1 only" in each_once(found.problems)[0]


@pytest.mark.parametrize("shape,reason", [
    ([], "perhaps a box"), (None, "perhaps a box"), ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], "no list of x, y"),
    ([[10, 10, 60, 10]], "polygon of 2 points"), ([[200, 10, 240, 10, 240, 40]], "outside the photo"),
    ({"size": [96, 128], "counts": [7, 8]}, "of 15 pixels, but the photo has 12288"),
    ({"size": [128, 96], "counts": [7, 12281]}, "of size .128, 96., but the photo is listed as .96, 128."),
    ([[0, 0, 1, 0, 1, 1]], "polygon of pixels 0 to 1 only"),  # clicks into the first pixel are not normalised
])  # fmt: skip
def test_an_export_without_a_usable_outline_is_refused_with_the_reason(export, shape, reason):
    edit_json(export, lambda content: [entry.update(segmentation=shape) for entry in content["annotations"]])
    with pytest.raises(BadInput, match=f"8 photos with cracks, but no outline .*{reason}.*label with polygons"):
        read_export(export)


@pytest.mark.parametrize("kind", [float, str, lambda number: f"{number}.0"], ids=["3.0", '"3"', '"3.0"'])
def test_ids_and_sizes_written_in_another_way_are_numbers(export, kind):
    ring = {"size": [96, 128], "counts": [1000, 50, 96 * 128 - 1050]}
    edit_json(export, lambda c: c["annotations"][1].update(segmentation=ring))
    before = masks_of(export)

    def change(content):
        for entry in content["images"]:
            entry.update({key: kind(entry[key]) for key in ("id", "height", "width")})
        for entry in content["categories"]:
            entry["id"] = kind(entry["id"])
        for entry in content["annotations"]:
            entry.update({key: kind(entry[key]) for key in ("id", "image_id", "category_id")})
        content["annotations"][1]["segmentation"]["size"] = [kind(96), kind(128)]

    edit_json(export, change)
    assert np.array_equal(masks_of(export), before) and not read_export(export).problems


# ------------------------------------------------------------------------------------------- plausible labels
def test_photos_that_are_mostly_crack_are_named_and_kept(export):
    inverted = [[0, 0, 128, 0, 128, 96, 0, 96.5]]
    for number, share in ((2, 1.0), (5, 0.31), (6, 0.29)):
        shape = inverted if share == 1 else [[0, 0, 128 * share, 0, 128 * share, 96, 0.5, 96]]
        edit_json(export, lambda c, n=number, s=shape: c["annotations"][n].update(segmentation=s))
    found = read_export(export)
    assert [p.name for p in found.problems if p.kind == MOSTLY_CRACK] == ["road002.jpg", "road005.jpg"]
    assert len(found.photos) == 10 and "inverted mask?" in each_once(found.problems)[0]


@pytest.mark.parametrize("size,ways", [((96, 128), {2, 3, 4}), ((96, 96), {2, 3, 4, 5, 6, 7, 8})])
def test_photos_that_exif_turns_without_changing_their_size_raise_a_doubt(tmp_path, size, ways):
    for way in range(1, 9):
        folder = write_export(tmp_path / f"{way}", cracked=2, undamaged=1, size=size)
        turn(folder / "road001.jpg", way)
        turn(folder / "road002.jpg", way)  # has no label that could lie wrong
        doubts = [p.name for p in read_export(folder).problems if p.kind == TURNED]
        assert doubts == (["road001.jpg"] if way in ways else []), way


def test_outlines_of_whole_numbers_raise_a_note_because_they_are_read_narrower(export):
    bar = painted((96, 128), np.s_[20:70, 40:46])
    contour = cv2.findContours(bar, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0].ravel().tolist()
    edit_json(export, lambda c: [entry.update(segmentation=[contour]) for entry in c["annotations"][1:]])
    assert not read_export(export).problems  # one has fractions
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=[contour]))
    found = read_export(export)
    assert [(p.kind, p.name) for p in found.problems] == [(WHOLE_NUMBERS, str(export / "_annotations.coco.json"))]
    assert found.photos[0].mask().sum(axis=1).max() == 5  # half a pixel less on each side


def test_photos_and_labels_are_read_without_torch():
    code = "import sys, data.audit, data.split, data.merge, data.convert, formats.coco, formats.annotate\n"
    code += "print(*[name for name in sys.modules if name.partition('.')[0] == 'torch'])"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"images": []}', '{"images": [], "annotations": [], "categories": []}',
     json.dumps({"images": [], "annotations": [], "categories": CATEGORIES})],
    ids=["empty", "cut", "list", "no annotations", "no class", "no photo"],
)  # fmt: skip
def test_a_file_that_is_no_usable_export_is_refused_by_name(tmp_path, content):
    (tmp_path / "_annotations.coco.json").write_text(content)
    with pytest.raises(BadInput, match=str(tmp_path)):
        read_export(tmp_path)


def test_a_folder_needs_exactly_one_coco_file_of_any_name(export):
    (export / "splits.json").write_text('{"train": []}')
    (export / "_annotations.coco.json").rename(export / "mine.json")
    assert len(read_export(export).photos) == 10
    (export / "second.json").write_bytes((export / "mine.json").read_bytes())
    with pytest.raises(BadInput, match="mine.json, second.json"):
        read_export(export)


LACKING = [
    ([], [], "given: no such folder"),
    ([], ["notes.txt"], "given: no photo; check the name"),
    ([], ["a.jpg"], "given: no COCO file; label and export"),
    ([], ["train/images/a.jpg"], "given: no COCO file; label and export"),  # of YOLO
    ([], ["v2/roads.ZIP"], "given: no photo, but .*v2/roads.ZIP; give that"),
    (["inner"], [], "give .*given/inner"),
    (["train", "val", "valid"], [], "val/_annotations.coco.json, valid/_annotations.coco.json all mean valid"),
]


@pytest.mark.parametrize("exports, photos, says", LACKING)
def test_a_folder_without_an_export_is_told_what_it_lacks(tmp_path, exports, photos, says):
    for name in exports:
        write_export(tmp_path / "given" / name, cracked=2, undamaged=0)
    for name in photos:
        (tmp_path / "given" / name).parent.mkdir(parents=True)
        (tmp_path / "given" / name).touch()
    with pytest.raises(BadInput, match=says):
        read_export(tmp_path / "given")


def test_a_file_of_more_annotations_than_can_be_checked_in_seconds_is_refused(tmp_path, monkeypatch):
    root = write_export(tmp_path)
    monkeypatch.setattr(coco, "MOST", 2)
    with pytest.raises(BadInput, match="_annotations.coco.json: .* more than 2; split the export"):
        read_export(root)


def test_a_title_is_the_name_without_what_roboflow_adds(export):
    photo = read_export(export).photos[0]
    assert replace(photo, name="train/IMG_7_jpg.rf.0a1bC2.jpg").title == "train/IMG_7.jpg"
    assert photo.title == photo.name


@pytest.mark.parametrize(("listed", "turned"), [((128, 96), True), ((64, 64), False)])
def test_only_a_photo_whose_sides_are_swapped_is_said_to_be_turned(export, listed, turned):
    """A photo of 96×128; one that was resized needs another remedy than Auto-Orient."""
    edit_json(export, lambda content: content["images"][0].update(height=listed[0], width=listed[1]))
    photo = read_export(export).photos[0]
    with pytest.raises(BadInput, match=photo.name) as caught:
        photo.read()
    assert ("Auto-Orient" in str(caught.value)) == turned
