import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import CATEGORIES, edit_json, write_export
from pycocotools import mask as coco_mask

from command import BadInput
from formats import coco
from formats.categories import says_crack
from formats.coco import read_export
from formats.shapes import decode_runs

CRACK = ["crack", "Crack", "CRACK", "cracks", "crack ", "Crank", "Cracked", "alligator_crack", "Abnormal crack"]
SOUND = ["UnCracked", "no crack", "no-crack", "non_crack", "NoCrack", "crack-free", "crackless", "normal", "undamaged"]
UNCLEAR = ["objects", "0", "pothole", "track", "abnormal", "crack_normal", "sealed crack"]


@pytest.mark.parametrize(
    "names,means", [(CRACK, True), (SOUND, False), (UNCLEAR, None)], ids=["crack", "no", "unclear"]
)
def test_any_spelling_of_crack_is_crack_and_no_denial_of_it_and_nothing_else_is_guessed(names, means):
    assert {name: says_crack(name) for name in names} == dict.fromkeys(names, means)


def test_names_decide_whatever_the_ids_and_their_order(tmp_path):
    plain = read_export(write_export(tmp_path / "a"))
    moved = [{"id": 7, "name": "Crack ", "supercategory": "x"}, {"id": 1, "name": "UnCracked", "supercategory": "x"}]
    other = read_export(write_export(tmp_path / "b", categories=moved, category=7))
    for a, b in zip(plain.photos, other.photos, strict=True):
        assert np.array_equal(a.mask(), b.mask())
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
    square = np.zeros((96, 128), np.uint8)
    square[10:20, 90:120] = 1
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
    [10, 10, 60, 10, 60, 60], [[1, 2, 3, 4]], [[1, 1, 9, 1, 9, 9, 1]], [[200, 10, 240, 10, 240, 40]],
    [[0, 0, float("nan"), 5, 5, 5]], [[0, 0, float("inf"), 5, 5, 5]], [[0, 0, 10**400, 5, 5, 5]],
    [[10, 10, 1e12, 10, 10, 50]], [[-1e12, -1e12, 1e12, -1e12, 1e12, 1e12]], [[10, 10, 10, 10, 10, 10]],
    [[10.2, 10.2, 10.3, 10.2, 10.3, 10.3]], {"size": [96, 128], "counts": "0"}, {"size": [96, 128], "counts": "~~~~"},
    {"size": [96, 128], "counts": [1211, 50]}, {"size": [96, 128], "counts": [96 * 128]}, {"size": None, "counts": []},
    {"size": [96, 128], "counts": [-5, 96 * 128 + 5]}, {"size": [128, 96], "counts": [0, 96 * 128]},
    {"size": [96, 128], "counts": 5}, {"size": [96, 128], "counts": "!!!"},
]  # fmt: skip


@pytest.mark.parametrize("shape", BAD_SHAPES, ids=lambda shape: repr(shape)[:40])
def test_a_photo_whose_only_shape_cannot_be_a_crack_is_left_out_and_never_passes_for_undamaged(export, shape):
    good = read_export(export).photos[1].mask()
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=shape))
    found = read_export(export)
    dropped, left_out = found.problems
    assert "road000.jpg" in dropped and "dropped" in dropped and "road000.jpg" in left_out and "left out" in left_out
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


def test_an_outline_longer_than_the_photo_has_pixels_is_dropped_and_said(export):
    zigzag = [1.0, 1.0, 120.0, 90.0] * 200
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=[zigzag]))
    found = read_export(export)
    assert found.photos[0].name == "road001.jpg" and "outline is longer" in found.problems[0]


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
    "height as text": lambda c: c["images"][0].update(height="96"),
    "height of nothing": lambda c: c["images"][0].update(height=0),
    "height not a number": lambda c: c["images"][0].update(height=float("nan")),
    "image id as text": lambda c: c["images"][0].update(id="0"),
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
    masks = [photo.mask() for photo in read_export(export).photos]
    edit_json(export, lambda c: [a.update(id=7) for a in c["annotations"]] and c["annotations"][0].pop("id"))
    assert all(np.array_equal(p.mask(), mask) for p, mask in zip(read_export(export).photos, masks, strict=True))


def test_a_byte_order_mark_and_a_folder_called_val_are_fine(tmp_path):
    for part, seed in (("Train", 0), ("val", 1)):
        file = write_export(tmp_path / part, seed=seed) / "_annotations.coco.json"
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    parts = {photo.part for photo in read_export(tmp_path).photos}
    assert parts == {"train", "valid"}


def test_a_link_out_of_the_export_is_not_followed(export, tmp_path):
    (tmp_path / "secret.jpg").write_bytes((export / "road000.jpg").read_bytes())
    (export / "road000.jpg").unlink()
    (export / "road000.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(BadInput, match="outside"):
        read_export(export)


def test_missing_and_unlisted_files_are_left_out_and_said(export):
    (export / "road000.jpg").rename(export / "other.jpg")
    found = read_export(export)
    assert len(found.photos) == 9
    assert any("road000.jpg" in p and "missing" in p for p in found.problems)
    assert any("other.jpg" in p and "not listed" in p for p in found.problems)


def test_nothing_outside_the_export_is_read(export, tmp_path):
    (tmp_path / "secret.jpg").write_bytes((export / "road000.jpg").read_bytes())
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "..\\secret.jpg"):
        edit_json(export, lambda c, name=name: c["images"][0].update(file_name=name))
        with pytest.raises(BadInput, match="outside"):
            read_export(export)


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
    with pytest.raises(BadInput, match="no such folder"):
        read_export(export / "nowhere")


def test_a_folder_without_an_export_is_told_what_it_lacks(export, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="empty: no photo; check the name"):
        read_export(tmp_path / "empty")
    (export / "_annotations.coco.json").unlink()
    with pytest.raises(BadInput, match="no COCO file; label and export"):
        read_export(export)


def test_photos_in_deeper_folders_are_photos_without_a_coco_file_too(tmp_path):
    photos = tmp_path / "yolo" / "train" / "images"
    photos.mkdir(parents=True)
    (photos / "a.jpg").touch()
    with pytest.raises(BadInput, match="yolo: no COCO file; label and export"):
        read_export(tmp_path / "yolo")


def test_an_export_of_boxes_alone_is_refused_in_one_line_and_one_of_some_boxes_is_not(export):
    edit_json(export, lambda content: content["annotations"][0].update(segmentation=[]))
    assert len(read_export(export).photos) == 9
    edit_json(export, lambda content: [entry.update(segmentation=[]) for entry in content["annotations"]])
    with pytest.raises(BadInput, match="8 photos have cracks, but none an outline .*label with polygons"):
        read_export(export)


def test_a_file_of_more_annotations_than_can_be_checked_in_seconds_is_refused(tmp_path, monkeypatch):
    root = write_export(tmp_path)
    monkeypatch.setattr(coco, "MOST", 2)
    with pytest.raises(BadInput, match="_annotations.coco.json: .* more than 2; split the export"):
        read_export(root)


def test_an_export_that_lies_deeper_is_named(tmp_path):
    write_export(tmp_path / "outer" / "inner")
    with pytest.raises(BadInput, match="give .*inner"):
        read_export(tmp_path / "outer")


def test_a_title_is_the_name_without_what_roboflow_adds(export):
    photo = read_export(export).photos[0]
    assert replace(photo, name="train/IMG_7_jpg.rf.0a1bC2.jpg").title == "train/IMG_7.jpg"
    assert photo.title == photo.name


def test_two_folders_that_mean_the_same_part_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        write_export(tmp_path / part, cracked=2, undamaged=0)
    with pytest.raises(BadInput, match="val, valid all mean valid"):
        read_export(tmp_path)
