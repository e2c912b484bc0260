"""data/convert.py: masks survive COCO exactly, and nothing is half-written."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_road
from pycocotools.coco import COCO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from command import BadInput
from data import convert


def read_back(folder):
    """Export folder -> {file name: (H, W) uint8 mask}, by pycocotools alone."""
    coco = COCO(str(folder / convert.JSON_NAME))
    masks = {}
    for image in coco.loadImgs(coco.getImgIds()):
        masks[image["file_name"]] = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in coco.loadAnns(coco.getAnnIds([image["id"]])):
            masks[image["file_name"]] |= coco.annToMask(annotation)
    return masks


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


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5, 0.8, 1.0])
def test_any_mask_comes_back_exactly(tmp_path, share):
    masks = {f"road{seed}": speckle(seed, share=share) for seed in range(4)}
    photos, truth = folders(tmp_path, {stem: mask * 255 for stem, mask in masks.items()})
    convert.main([str(photos), str(truth), str(tmp_path / "out")])
    for stem, mask in masks.items():
        np.testing.assert_array_equal(read_back(tmp_path / "out")[f"{stem}.jpg"], mask)


def test_polygon_without_hole_and_rle_with_hole():
    disc = cv2.circle(np.zeros((50, 50), np.uint8), (20, 20), 12, 1, -1)
    ring = cv2.circle(np.zeros((50, 50), np.uint8), (20, 20), 12, 1, 2)
    assert isinstance(convert.mask_to_annotations(disc)[0]["segmentation"], list)
    assert isinstance(convert.mask_to_annotations(ring)[0]["segmentation"]["counts"], str)


def test_one_annotation_for_each_connected_crack_with_its_box():
    mask = np.zeros((30, 40), np.uint8)
    mask[2:5, 3:10] = 1
    mask[20, 30] = mask[21, 31] = 1  # touching at a corner: one crack
    first, second = convert.mask_to_annotations(mask)
    assert (first["bbox"], first["area"]) == ([3, 2, 7, 3], 21)
    assert (second["bbox"], second["area"]) == ([30, 20, 2, 2], 4)


def test_undamaged_mask_has_no_annotation():
    assert convert.mask_to_annotations(np.zeros((20, 20), np.uint8)) == []


def test_written_the_way_roboflow_writes(tmp_path):
    photos, truth = folders(tmp_path, {"a": speckle(1) * 255, "b": np.zeros((9, 9), np.uint8)})
    convert.main([str(photos), str(truth), str(tmp_path / "out")])
    coco = json.loads((tmp_path / "out" / "_annotations.coco.json").read_text())
    assert coco["categories"] == [
        {"id": 0, "name": "cracks", "supercategory": "none"},
        {"id": 1, "name": "crack", "supercategory": "cracks"},
    ]
    assert all(
        set(image) == {"id", "license", "file_name", "height", "width", "date_captured"} for image in coco["images"]
    )
    assert [annotation["id"] for annotation in coco["annotations"]] == list(range(len(coco["annotations"])))
    assert {(a["category_id"], a["iscrowd"], a["image_id"]) for a in coco["annotations"]} == {(1, 0, 0)}


@pytest.mark.parametrize("white, ending", [(1, ".png"), (255, ".png"), (255, ".jpg")])
def test_masks_of_0_and_1_or_0_and_255_png_or_jpeg(tmp_path, white, ending):
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (30, 30), 20, 1, -1)
    photos, truth = folders(tmp_path, {"a": mask * np.uint8(white)}, "_mask", ending)
    convert.main([str(photos), str(truth), str(tmp_path / "out")])
    np.testing.assert_array_equal(read_back(tmp_path / "out")["a.jpg"], mask)


def test_grey_edges_are_split_at_half(tmp_path):
    ramp = np.tile(np.arange(-400, 656).clip(0, 255).astype(np.uint8), (8, 1))  # blurred where it changes, as edges are
    cv2.imwrite(str(tmp_path / "ramp.png"), ramp)
    np.testing.assert_array_equal(convert.read_mask(tmp_path / "ramp.png"), ramp >= 128)


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "photos"]


def test_replaces_its_own_export_but_never_a_folder_with_other_files(tmp_path):
    photos, truth = folders(tmp_path, {"a": speckle(1) * 255})
    out = tmp_path / "out"
    convert.main([str(photos), str(truth), str(out)])
    convert.main([str(photos), str(truth), str(out)])
    (out / "diary.txt").write_text("mine")
    assert "out" in complaint(photos, truth, out)
    assert (out / "diary.txt").read_text() == "mine"


def test_replaces_its_own_split_export(tmp_path):
    def write():
        with convert.export_folder(tmp_path / "out") as folder:
            for part in ("train", "test"):
                (folder / part).mkdir()
                convert.write_annotations(folder / part, [], "augment.py")

    write()
    write()
    (tmp_path / "out" / "test" / "diary.txt").write_text("mine")
    with pytest.raises(BadInput):
        write()


def test_a_manifest_belongs_to_an_export_and_any_other_file_does_not(tmp_path):
    with convert.export_folder(tmp_path / "out") as folder:
        convert.write_annotations(folder, [], "data/merge.py")
        (folder / "manifest.csv").write_text("file,student")
    assert convert.is_ours(tmp_path / "out")
    (tmp_path / "out" / "marks.csv").write_text("mine")
    assert not convert.is_ours(tmp_path / "out")


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
    photos, masks = folders(tmp_path, {"a": speckle(0)})
    convert.convert(photos, masks, tmp_path / "out")
    file = tmp_path / "out" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="holds other files"):
        convert.convert(photos, masks, tmp_path / "out")


def test_one_mask_is_never_that_of_two_photos():
    with pytest.raises(BadInput, match="a.png: would be the mask of a.jpg and a.png"):
        convert.pair_by_stem([Path("a.jpg"), Path("a.png")], [Path("masks/a.png")])
