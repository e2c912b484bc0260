import json

import numpy as np
import pytest
import torch
from conftest import CATEGORIES, edit_json, write_export
from pycocotools import mask as coco_mask

from augment import augment
from command import BadInput
from dataset import CrackDataset, Shuffled, collate, loader, read_export, says_crack
from photo import Preprocess

SMALL = Preprocess(size=64)


def items(data, workers=0, epoch=0):
    order = Shuffled(len(data), seed=0)
    order.epoch = epoch
    batches = list(loader(data, 4, workers, order))
    return [torch.cat([batch[k].flatten() for batch in batches]) for k in range(3)]


@pytest.mark.parametrize("name", ["crack", "Crack", "CRACK", "cracks", "crack ", "Crank", "Cracked", "alligator_crack"])
def test_any_spelling_of_crack_is_crack(name):
    assert says_crack(name) is True


@pytest.mark.parametrize("name", ["UnCracked", "uncracked", "no crack", "no-crack", "non_crack", "normal", "undamaged"])
def test_names_that_say_undamaged_are_never_crack(name):
    assert says_crack(name) is False


@pytest.mark.parametrize("name", ["objects", "0", "pothole", "track"])
def test_other_names_are_not_guessed(name):
    assert says_crack(name) is None


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
    assert sum(p.cracked for p in read_export(folder, ["crack"]).photos) == 0
    with pytest.raises(BadInput, match="no class hole"):
        read_export(folder, ["hole"])


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


def test_polygons_that_cannot_be_cracks_are_dropped_and_said(export):
    bad = [[], [1, 2], [1, 2, 3, 4], [1, 1, 9, 1, 9, 9, 1], [200, 10, 240, 10, 240, 40], [0, 0, float("nan"), 5, 5, 5]]
    edit_json(export, lambda c: c["annotations"][0].update(segmentation=bad))
    found = read_export(export)
    assert not found.photos[0].cracked
    assert len(found.problems) == len(bad) and all("road000.jpg" in line for line in found.problems)


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


def test_what_is_drawn_does_not_depend_on_the_workers(export):
    data = CrackDataset(read_export(export).photos, SMALL, augment, versions=2, seed=5)
    for one, two in zip(items(data), items(data, workers=2), strict=True):
        assert torch.equal(one, two)


def test_versions_are_drawn_anew_each_epoch_and_the_photo_itself_is_one_of_them(export):
    photos = read_export(export).photos
    data = CrackDataset(photos, SMALL, augment, versions=2, seed=5)
    assert len(data) == 3 * len(photos)
    first, later = [data[k] for k in range(3)], [data[k + len(data)] for k in range(3)]
    assert torch.equal(first[0][0], SMALL.to_input(photos[0].read()[0]))
    assert torch.equal(first[0][0], later[0][0])
    for k in (1, 2):
        assert not torch.equal(first[k][0], first[0][0]) and not torch.equal(first[k][0], later[k][0])
    assert not torch.equal(first[1][0], first[2][0])


def test_without_an_augmentation_every_photo_comes_once_and_unchanged(export):
    photos = read_export(export).photos
    data = CrackDataset(photos, SMALL, versions=5)
    assert len(data) == len(photos)
    for k, photo in enumerate(photos):
        network_input, mask, index = data[k + 3 * len(data)]
        assert index == k and torch.equal(network_input, SMALL.to_input(photo.read()[0]))
        assert mask.shape == (1, 64, 64) and mask.sum() == SMALL.resize(*photo.read())[1].sum()


def test_each_epoch_visits_every_item_once_in_another_order():
    order = Shuffled(20, seed=1)
    passes = []
    for order.epoch in range(3):
        keys = list(order)
        assert sorted(keys) == list(range(20 * order.epoch, 20 * order.epoch + 20))
        passes.append([key % 20 for key in keys])
    assert passes[0] != passes[1] != passes[2]


def test_photos_of_different_shape_are_padded_to_one_batch():
    tall, wide = torch.ones(3, 64, 32), torch.ones(3, 32, 64)
    inputs, masks, indices = collate([(tall, tall[:1], 4), (wide, wide[:1], 9)])
    assert inputs.shape == (2, 3, 64, 64) and masks.shape == (2, 1, 64, 64) and indices.tolist() == [4, 9]
    assert inputs[0, :, :, 32:].sum() == 0 and masks[1, 0, 32:].sum() == 0 and masks.sum() == 2 * 64 * 32
