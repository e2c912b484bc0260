"""Our COCO files in the programs that other people load them with: each must see the masks that were drawn.

    pip install -r requirements-tools.txt
    python -m pytest -m slow tests/test_tools.py

Passed with datumaro 1.13.12, label-studio-sdk 2.1.2, supervision 0.31.2 and ultralytics 8.4.190. What is not installed
is skipped.
"""

import json
import shutil
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import test_convert
from conftest import edit_json, write_export
from pycocotools import mask as coco_mask
from test_convert import MASKS

import augment
from data.merge import merge
from data.split import split
from formats.annotate import write_coco
from formats.coco import JSON_NAME, read_export

pytestmark = pytest.mark.slow


def converted(tmp_path):
    """data/convert.py: cracks with holes, as polygons."""
    return test_convert.converted(tmp_path, {f"road {name}": mask * 255 for name, mask in MASKS.items()})


def merged(tmp_path):
    """data/merge.py: a student's run lengths with a hole, and another's polygons."""
    for number, student in enumerate(("anna", "ben")):
        write_export(tmp_path / student, cracked=3, undamaged=1, seed=number)
    ring = cv2.circle(np.zeros((96, 128), np.uint8), (60, 40), 20, 1, 5)
    runs = coco_mask.encode(np.asfortranarray(ring))
    shape = {"size": [96, 128], "counts": runs["counts"].decode()}
    edit_json(tmp_path / "anna", lambda content: content["annotations"][0].update(segmentation=shape))
    merge([tmp_path / "anna", tmp_path / "ben"], tmp_path / "out")
    return tmp_path / "out"


def augmented(tmp_path):
    """augment.py --out: the train part, where masks were turned and scaled."""
    export = read_export(write_export(tmp_path / "e", cracked=5, undamaged=2))
    augment.write_versions(split(export), tmp_path / "out", 0)
    return tmp_path / "out" / "train"


def to_correct(tmp_path):
    """inference.py --coco: simplified outlines."""
    (tmp_path / "out").mkdir()
    for name, mask in MASKS.items():
        cv2.imwrite(str(tmp_path / "out" / f"{name}.png"), 0 * mask)
    write_coco(tmp_path / "out" / JSON_NAME, [(tmp_path / "out" / f"{name}.png", mask) for name, mask in MASKS.items()])
    return tmp_path / "out"


@pytest.fixture(params=[converted, merged, augmented, to_correct], ids=lambda write: write.__name__)
def ours(request, tmp_path):
    """Folder of an export that one of our commands wrote."""
    return request.param(tmp_path)


def filled(polygons, height, width):
    """[[x, y, ...]] -> (H, W) uint8 as pycocotools fills them."""
    if not polygons:
        return np.zeros((height, width), np.uint8)
    return coco_mask.decode(coco_mask.frPyObjects(polygons, height, width)).max(axis=2)


def compare(folder, found):
    """{file name: mask} as another program sees them against what we read ourselves."""
    photos = read_export(folder).photos
    assert any(photo.cracked for photo in photos)
    for photo in photos:
        seen = found.get(photo.name, np.zeros((photo.height, photo.width), np.uint8))
        np.testing.assert_array_equal(seen, photo.mask(), photo.name)


def test_datumaro(ours, tmp_path):
    datumaro = pytest.importorskip("datumaro")
    folder = tmp_path / "datumaro"  # the layout that it expects
    (folder / "annotations").mkdir(parents=True)
    shutil.copytree(ours, folder / "images" / "default", ignore=shutil.ignore_patterns("*.json"))
    shutil.copy(ours / JSON_NAME, folder / "annotations" / "instances_default.json")
    found = {}
    for item in datumaro.Dataset.import_from(str(folder), "coco_instances"):
        height, width = item.media.size
        assert all(annotation.group for annotation in item.annotations)  # 0 means: belongs to no object
        polygons = [list(annotation.points) for annotation in item.annotations]
        [file] = (folder / "images" / "default").glob(f"{item.id}.*")
        found[file.name] = filled(polygons, height, width)
    assert len(found) == len(read_export(ours).photos)
    compare(ours, found)


def test_label_studio(ours, tmp_path):
    coco = pytest.importorskip("label_studio_sdk.converter.imports.coco")
    coco.convert_coco_to_ls(str(ours / JSON_NAME), str(tmp_path / "tasks.json"), image_root_url="photos/")
    found = {}
    for task in json.loads((tmp_path / "tasks.json").read_text()):
        results = task["annotations"][0]["result"]
        shapes = [result for result in results if result["type"] == "polygonlabels"]
        if shapes:
            height, width = shapes[0]["original_height"], shapes[0]["original_width"]
            points = [np.array(shape["value"]["points"]) * (width / 100, height / 100) for shape in shapes]
            name = unquote(task["data"]["image"]).rpartition("/")[2]
            found[name] = filled([one.ravel().tolist() for one in points], height, width)
            assert {label for shape in shapes for label in shape["value"]["polygonlabels"]} == {"crack"}
    compare(ours, found)


def test_ultralytics(ours, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    converter = pytest.importorskip("ultralytics.data.converter")
    (tmp_path / "labels").mkdir()
    shutil.copy(ours / JSON_NAME, tmp_path / "labels" / "ours.json")
    converter.convert_coco(str(tmp_path / "labels"), str(tmp_path / "yolo"), use_segments=True, cls91to80=False)
    found = {}
    for photo in read_export(ours).photos:
        [file] = [*(tmp_path / "yolo").rglob(f"{photo.path.stem}.txt")] or [None]
        lines = [line.split() for line in file.read_text().splitlines()] if file else []
        assert {line[0] for line in lines} <= {"0"}  # crack is its first class
        points = [np.array(line[1:], float).reshape(-1, 2) * (photo.width, photo.height) for line in lines]
        found[photo.name] = filled([one.ravel().tolist() for one in points], photo.height, photo.width)
    compare(ours, found)


def test_supervision(ours, request):
    supervision = pytest.importorskip("supervision")
    dataset = supervision.DetectionDataset.from_coco(str(ours), str(ours / JSON_NAME), force_masks=True)
    assert dataset.classes == ["cracks", "crack"]
    # it rounds corners to whole pixels: outlines along pixel edges grow by up to one pixel, others move a little more
    along_edges = request.node.callspec.params["ours"] in (converted, augmented)
    photos = {str(photo.path): photo for photo in read_export(ours).photos}
    for path, _, detections in dataset:
        truth = photos[path].mask()
        seen = np.zeros_like(truth)
        if len(detections):
            seen = detections.mask.any(axis=0).astype(np.uint8)
        if along_edges:
            assert not (truth > seen).any() and not (seen > wider(truth, 1)).any(), path
        else:
            assert not (truth > wider(seen, 2)).any() and not (seen > wider(truth, 2)).any(), path
        assert set(detections.class_id) <= {1}


def wider(mask, pixels):
    return cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))
