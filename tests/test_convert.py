"""data/convert.py: masks survive COCO exactly, and nothing is half-written."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from conftest import CATEGORIES, draw_road, edit_json, lines_with, painted
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from command import BadInput
from data import convert
from formats import annotate
from formats.coco import JSON_NAME, read_export
from formats.masks import MaskFolder
from formats.photo import read_mask


def read_back(folder):
    """Export folder -> {file name: (H, W) uint8 mask}, by pycocotools alone."""
    coco = COCO(str(folder / JSON_NAME))
    masks = {}
    for image in coco.loadImgs(coco.getImgIds()):
        masks[image["file_name"]] = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds([image["id"]])):
            masks[image["file_name"]] |= coco.annToMask(annotation)
    return masks


def test_the_lines_of_the_data_page_turn_crackforests_ground_truth_into_a_mask(tmp_path, monkeypatch):
    page = (Path(convert.__file__).parent / "README.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    truth = np.random.default_rng(0).integers(1, 5, (32, 48)).astype(np.uint8)
    for folder in ("groundTruth", "masks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    scipy.io.savemat("groundTruth/001.mat", {"groundTruth": {"Segmentation": truth}})
    exec(lines, {"scipy": scipy, "cv2": cv2})
    assert np.array_equal(read_mask(Path("masks/001.png")), truth > 1)


def speckle(seed, shape=(40, 60), share=0.5, blur=0.7):
    """Random mask full of single pixels, diagonals, holes and pieces at the border."""
    field = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), blur)
    return (field > np.quantile(field, 1 - share)).astype(np.uint8)


def folders(tmp_path, masks, suffix="", ending=".png"):
    """{stem: mask image} -> folder of photos, folder of masks."""
    photos, truth = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    truth.mkdir()
    for stem, mask in masks.items():
        cv2.imwrite(str(photos / f"{stem}.jpg"), draw_road(np.random.default_rng(0), *mask.shape))
        cv2.imwrite(str(truth / f"{stem}{suffix}{ending}"), mask)
    return photos, truth


def converted(tmp_path, masks, suffix="", ending=".png"):
    """The export that the command makes of such folders."""
    convert.main([*map(str, folders(tmp_path, masks, suffix, ending)), str(tmp_path / "out")])
    return tmp_path / "out"


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.8, 1.0])
def test_any_mask_comes_back_exactly(tmp_path, share):
    masks = {f"road{seed}": speckle(seed, share=share) for seed in range(4)}
    found = read_back(converted(tmp_path, {stem: mask * 255 for stem, mask in masks.items()}))
    for stem, mask in masks.items():
        np.testing.assert_array_equal(found[f"{stem}.jpg"], mask)


def ring(radius=12, thick=2, size=50):
    return cv2.circle(np.zeros((size, size), np.uint8), (20, 20), radius, 1, thick)


def grid(size=120):
    """An alligator's pattern: many plates inside each other's cracks."""
    mask = painted((size, size), np.s_[10:110:15, 10:101], np.s_[10:101, 10:110:15])
    return mask


MASKS = {
    "ring": ring(), "grid": grid(), "rings in rings": ring(18) | ring(12) | ring(5), "thick ring": ring(14, 7),
    "full": np.ones((30, 40), np.uint8), "one pixel": np.eye(1, 40, 7, dtype=np.uint8),
    "diagonal": np.eye(40, dtype=np.uint8), "diamond": np.uint8([[0, 1, 0], [1, 0, 1], [0, 1, 0]]),
    "border with a hole": np.pad(np.zeros((20, 20), np.uint8), 3, constant_values=1), "speckle": speckle(5),
}  # fmt: skip


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_every_piece_is_one_polygon_without_a_hole_with_the_area_and_box_of_its_pixels(mask):
    total = np.zeros(mask.shape, int)
    for entry in annotate.mask_to_annotations(mask):
        assert len(entry["segmentation"]) == 1 and isinstance(entry["segmentation"], list)
        part = coco_mask.decode(coco_mask.frPyObjects(entry["segmentation"], *mask.shape))[..., 0]
        filled = cv2.fillPoly(
            np.zeros_like(mask), [np.floor(np.reshape(entry["segmentation"][0], (-1, 2))).astype(np.int32)], 1
        )
        assert np.array_equal(filled, part)  # another program that fills polygons sees the same: no hole
        assert entry["area"] == part.sum() and entry["bbox"] == list(cv2.boundingRect(part))
        total += part
    assert np.array_equal(total, mask)  # no pixel twice, so that areas add up


def test_a_crack_that_touches_at_a_corner_is_one_piece():
    mask = painted((30, 40), np.s_[2:5, 3:10], (20, 30), (21, 31))
    first, second = annotate.mask_to_annotations(mask)
    assert (first["bbox"], first["area"]) == ([3, 2, 7, 3], 21)
    assert (second["bbox"], second["area"]) == ([30, 20, 2, 2], 2)


@pytest.mark.parametrize("data,every", [("sut", 1), ("deepcrack", 5)])
def test_masks_of_real_photos_come_back_exactly(tmp_path, data, every):
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / data
    if not folder.is_dir():
        pytest.skip("the real photos are not here")
    photos = read_export(folder).photos[::every]
    rows = [(photo.name, photo.height, photo.width, annotate.mask_to_annotations(photo.mask())) for photo in photos]
    annotate.write_annotations(tmp_path, rows, "a test")
    masks = read_back(tmp_path)
    assert len(masks) >= 90
    for photo in photos:
        np.testing.assert_array_equal(masks[photo.name], photo.mask())


def test_the_truth_against_itself_scores_an_average_precision_of_one(tmp_path):
    rows = [(f"{name}.jpg", *mask.shape, annotate.mask_to_annotations(mask)) for name, mask in MASKS.items()]
    assert all(len(row[3]) <= 100 for row in rows)  # COCOeval looks at no more in a photo
    annotate.write_annotations(tmp_path, rows, "a test")
    truth = COCO(str(tmp_path / JSON_NAME))
    found = truth.loadRes([entry | {"score": 1.0} for entry in truth.dataset["annotations"]])
    for kind in ("segm", "bbox"):
        score = COCOeval(truth, found, kind)
        score.evaluate()
        score.accumulate()
        precision = score.eval["precision"][..., 0, -1]  # objects of all sizes
        assert precision[precision >= 0].min() == 1.0, kind


def test_an_undamaged_mask_has_no_annotation():
    assert annotate.mask_to_annotations(np.zeros((20, 20), np.uint8)) == []


def test_written_the_way_roboflow_writes(tmp_path):
    out = converted(tmp_path, {"a": speckle(1) * 255, "b": np.zeros((9, 9), np.uint8)})
    coco = json.loads((out / JSON_NAME).read_text())
    assert coco["categories"] == CATEGORIES
    keys = {"id", "license", "file_name", "height", "width", "date_captured"}
    assert all(set(image) == keys for image in coco["images"])
    assert [image["id"] for image in coco["images"]] == [1, 2]
    assert [annotation["id"] for annotation in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    assert {(a["category_id"], a["iscrowd"], a["image_id"]) for a in coco["annotations"]} == {(1, 0, 1)}


@pytest.mark.parametrize("white, ending", [(1, ".png"), (255, ".png"), (255, ".jpg")])
def test_masks_of_0_and_1_or_0_and_255_png_or_jpeg(tmp_path, white, ending):
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (30, 30), 20, 1, -1)
    out = converted(tmp_path, {"a": mask * np.uint8(white)}, "_mask", ending)
    np.testing.assert_array_equal(read_back(out)["a.jpg"], mask)


def test_grey_edges_are_split_at_half(tmp_path):
    ramp = np.tile(np.arange(-400, 656).clip(0, 255).astype(np.uint8), (8, 1))  # blurred where it changes, as edges are
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    np.testing.assert_array_equal(read_mask(tmp_path / "ramp.png"), ramp >= 128)


def complaint(*arguments):
    """Runs the command, which must stop for bad input; returns its one line."""
    with pytest.raises(BadInput) as stop:
        convert.main([str(argument) for argument in arguments])
    assert "\n" not in str(stop.value)
    return str(stop.value)


def test_bad_input_is_named_and_nothing_is_left_behind(tmp_path):
    photos, truth = folders(tmp_path, {"a": speckle(1) * 255, "b": speckle(2) * 255})
    out = tmp_path / "out"
    (truth / "b.png").unlink()
    assert "b.jpg" in complaint(photos, truth, out)
    cv2.imwrite(str(truth / "b.png"), np.zeros((5, 5), np.uint8))
    assert "5×5" in complaint(photos, truth, out)
    (truth / "b.png").write_text("no image")
    assert "b.png" in complaint(photos, truth, out)
    assert "nowhere" in complaint(tmp_path / "nowhere", truth, out)
    assert "a folder of their own" in complaint(photos, photos / ".." / "photos", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "photos"]


def test_replaces_its_own_export_but_never_a_folder_with_other_files(tmp_path):
    out = converted(tmp_path, {"a": speckle(1) * 255})
    given = tmp_path / "photos", tmp_path / "masks", out
    convert.main([*map(str, given)])
    (out / "diary.txt").write_text("mine")
    assert "out" in complaint(*given)
    assert (out / "diary.txt").read_text() == "mine"


@pytest.mark.parametrize("parts", [["."], ["train", "test"]])
def test_replaces_its_own_export_with_a_manifest_but_not_one_with_any_other_file(tmp_path, parts):
    def write():
        with annotate.export_folder(tmp_path / "out") as folder:
            (folder / "manifest.csv").write_text("file,student")
            for part in parts:
                (folder / part).mkdir(exist_ok=True)
                annotate.write_annotations(folder / part, [], "augment.py")

    write()
    for other in (f"{parts[-1]}/diary.txt", "marks.csv"):
        write()
        (tmp_path / "out" / other).write_text("mine")
        with pytest.raises(BadInput):
            write()
        (tmp_path / "out" / other).unlink()


def test_where_an_export_cannot_be_replaced_the_old_one_stays(tmp_path, monkeypatch):
    photos, masks = folders(tmp_path, {"a": speckle(0)})
    convert.convert(photos, masks, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    rename = Path.rename

    def locked(path, target):
        if ".new" in path.name:
            raise PermissionError(13, "open in another program", str(target))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", locked)
    with pytest.raises(PermissionError):
        convert.convert(photos, masks, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert not list(tmp_path.glob(".out*"))


def test_an_export_whose_labels_were_changed_since_is_not_replaced(tmp_path):
    out = converted(tmp_path, {"a": speckle(0)})
    edit_json(out, lambda content: content["annotations"].pop())
    assert "holds other files" in complaint(tmp_path / "photos", tmp_path / "masks", out)


def test_a_mask_of_another_type_is_no_mask():
    for wrong in (np.zeros((5, 5), bool), np.zeros((5, 5, 3), np.uint8)):
        with pytest.raises(TypeError):
            annotate.mask_to_annotations(wrong)


def test_masks_to_correct_have_the_ids_areas_and_boxes_of_ground_truth_and_few_corners(tmp_path):
    masks = MASKS | {"undamaged": np.zeros((9, 9), np.uint8)}
    for name, mask in masks.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), 0 * mask)
    pairs = [(tmp_path / f"{name}.png", mask) for name, mask in masks.items()]
    assert annotate.write_coco(tmp_path / "out.json", pairs) == len(masks)
    content = json.loads((tmp_path / "out.json").read_text())
    exact = [entry for mask in masks.values() for entry in annotate.mask_to_annotations(mask)]
    assert len(content["annotations"]) == len(exact)
    for number, (entry, truth) in enumerate(zip(content["annotations"], exact, strict=True), start=1):
        assert entry["id"] == number and (entry["area"], entry["bbox"]) == (truth["area"], truth["bbox"])
        assert len(entry["segmentation"][0]) <= len(truth["segmentation"][0])
    corners = sum(len(entry["segmentation"][0]) // 2 for entry in content["annotations"])
    outlines = [cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0] for mask in masks.values()]
    assert corners < 0.5 * sum(map(len, sum(outlines, ())))  # simplified: few enough to drag by hand
    assert [image["id"] for image in content["images"]] == list(range(1, len(masks) + 1))
    for photo, mask in zip(read_export(tmp_path).photos, masks.values(), strict=True):
        assert np.count_nonzero(mask & photo.mask()) >= 0.95 * np.count_nonzero(mask | photo.mask())


def test_pieces_of_a_bounded_size_add_up_to_the_mask(monkeypatch):
    monkeypatch.setattr(annotate, "LARGEST", 50)
    mask = grid()
    total = np.zeros(mask.shape, int)
    for x, y, part in annotate.pieces(mask):
        assert max(part.shape) <= 50
        total[y : y + part.shape[0], x : x + part.shape[1]] += part
    assert np.array_equal(total, mask)


def test_no_file_of_masks_to_correct_is_written_where_no_photo_could_be_used(tmp_path):
    assert annotate.write_coco(tmp_path / "out.json", iter([])) == 0
    assert not list(tmp_path.iterdir())


def test_inverted_masks_are_named(tmp_path, capsys):
    share = {"a": 0.05, "b": 0.95, "c": 0.31, "d": 0.0}
    converted(tmp_path, {stem: speckle(1, share=part) * 255 for stem, part in share.items()})
    (warning,) = lines_with(capsys.readouterr().out, "WARNING")
    assert "inverted mask?" in warning and [f"{stem}.jpg" in warning for stem in share] == [False, True, True, False]


def test_of_two_masks_of_a_photo_none_is_chosen(tmp_path):
    for names in (("a.png", "a_mask.png"), ("a_gt.png", "a_gt.bmp")):
        for name in names:
            (tmp_path / name).touch()
        with pytest.raises(BadInput, match="a.jpg: .*could be its mask") as caught:
            convert.with_masks([Path("a.jpg")], MaskFolder(tmp_path))
        assert all(name in str(caught.value) for name in names)


def test_a_mask_whose_accents_are_stored_in_another_way_is_that_of_the_photo(tmp_path):
    photo, mask = Path("Go\u0308ttingen.jpg"), tmp_path / "G\u00f6ttingen_mask.png"
    mask.touch()
    assert convert.with_masks([photo], MaskFolder(tmp_path)) == {photo: mask}


def test_a_photo_that_cannot_be_read_and_a_mask_without_a_photo_are_said(tmp_path, capsys):
    photos, masks = folders(tmp_path, {"a": speckle(1) * 255, "b": speckle(2) * 255})
    (photos / "b.jpg").rename(photos / "b.heif")
    (masks / "a_overlay.jpg").touch()
    convert.main([str(photos), str(masks), str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert ".heif" in said and "b.png" in said and "a.png" not in said and "overlay" not in said


def test_one_mask_is_never_that_of_two_photos(tmp_path):
    photos, masks = folders(tmp_path, {"a": speckle(1) * 255})
    cv2.imwrite(str(photos / "a.png"), draw_road(np.random.default_rng(0), 40, 60))
    with pytest.raises(BadInput, match="a.png: is the mask of a.jpg and of a.png"):
        convert.main([str(photos), str(masks), str(tmp_path / "out")])
