"""A little drawn export that most tests read: textured road, one polygonal crack a photo, some undamaged."""

import csv
import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)  # the networks here are tiny, and the machine may be busy
sys.path.insert(0, str(Path(__file__).parent.parent))
from command import execute  # noqa: E402
from formats.coco import read_export  # noqa: E402
from model import CrackNet, save_checkpoint  # noqa: E402

CATEGORIES = [
    {"id": 0, "name": "cracks", "supercategory": "none"},
    {"id": 1, "name": "crack", "supercategory": "cracks"},
]


def draw_road(rng, height=96, width=128):
    """(H, W, 3) uint8 texture that differs from photo to photo at every scale."""
    road = np.full((height, width), 128, np.float32)
    for cell in (4, 16, 48):
        coarse = rng.normal(0, 12, (height // cell + 2, width // cell + 2)).astype(np.float32)
        road += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.repeat(np.clip(road, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def draw_crack(photo, rng):
    """Draw a dark slanted band; returns its polygon [x, y, x, y, ...]."""
    height, width = photo.shape[:2]
    x = rng.uniform(0.2, 0.6) * width
    lean, half = rng.uniform(0, 0.3) * width, rng.uniform(2, 4)
    corners = [(x - half, 2), (x + half, 2), (x + lean + half, height - 3), (x + lean - half, height - 3)]
    cv2.fillPoly(photo, [np.round(corners).astype(np.int32)], (30, 30, 30))
    return [float(value) for corner in corners for value in corner]


def write_export(folder, cracked=8, undamaged=2, seed=0, categories=CATEGORIES, size=(96, 128), category=1, names=None):
    """COCO export of drawn photos in `folder`, with these file names or numbered; returns the folder."""
    rng, folder = np.random.default_rng(seed), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i in range(cracked + undamaged):
        photo, name = draw_road(rng, *size), names[i] if names else f"road{i:03d}.jpg"
        if i < cracked:
            polygon = draw_crack(photo, rng)
            annotations.append(
                {"id": i, "image_id": i, "category_id": category, "segmentation": [polygon], "bbox": [], "area": 1.0,
                 "iscrowd": 0}
            )  # fmt: skip
        cv2.imwrite(str(folder / name), photo, [cv2.IMWRITE_JPEG_QUALITY, 98])
        images.append({"id": i, "file_name": name, "height": size[0], "width": size[1]})
    write_json(folder, {"images": images, "annotations": annotations, "categories": categories})
    return folder


def painted(shape, *places):
    """(H, W) uint8 mask: 1 in these slices of rows and columns, 0 elsewhere; painted((40, 60), np.s_[10:13, 5:50])."""
    mask = np.zeros(shape, np.uint8)
    for place in places:
        mask[place] = 1
    return mask


def table(file):
    """The rows of a CSV file that a command wrote, each as {column: text}."""
    with open(file, newline="", encoding="utf-8-sig") as opened:
        return list(csv.DictReader(opened))


def lines_with(text, words):
    """The lines of what a command said that hold these words."""
    return [line for line in text.splitlines() if words in line]


def error_lines(text):
    """The lines of stderr that say what could not be used."""
    return [line for line in text.splitlines() if line.startswith("error:")]


def ending(command, capsys):
    """(exit code, lines of stderr) of a command that ends as if the shell had started it."""
    with pytest.raises(SystemExit) as end:
        execute(command)
    return end.value.code, capsys.readouterr().err.strip().splitlines()


def copy_repository(folder):
    """The repository in a new folder, without hidden files and without what was drawn, trained or predicted."""
    root = Path(__file__).parent.parent
    kept = shutil.ignore_patterns(".*", "sample", "runs", "predictions", "__pycache__")
    shutil.copytree(root, folder, ignore=kept)


def write_json(folder, content):
    (Path(folder) / "_annotations.coco.json").write_text(json.dumps(content), encoding="utf-8")


def edit_json(folder, change):
    """Let `change` alter the export's JSON in place."""
    content = json.loads((folder / "_annotations.coco.json").read_text(encoding="utf-8"))
    change(content)
    write_json(folder, content)


def as_stored(image, way):
    """A Pillow image as a camera stores it that this EXIF orientation turns upright."""
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[way]  # of Pillow's transpositions
    return image.copy() if undo is None else image.transpose(undo)


def turn(path, way):
    """Store the photo so that EXIF brings it back to what it was."""
    with Image.open(path) as image:
        stored = as_stored(image, way)
    note = Image.Exif()
    note[0x0112] = way
    stored.save(path, exif=note, quality=98)


def write_strip(path, width=9, size=(120, 160), seed=0, crack=True):
    """Write a photo of a road with a vertical black strip `width` pixels wide and 100 long, or without one."""
    photo = draw_road(np.random.default_rng(seed), *size)
    if crack:
        photo[10:110, 40 : 40 + width] = 0
    cv2.imwrite(str(path), photo)


def lively_network():
    """A small CrackNet whose random weights, always the same, give clearly different answers from pixel to pixel."""
    torch.manual_seed(3)
    model = CrackNet(8, (1, 1, 1)).eval()
    with torch.no_grad():
        list(model.head.parameters())[-2].mul_(30)  # the last weights
    return model


def finding_dark(module, folder, monkeypatch):
    """inference or survey as a command that takes dark pixels for cracks; returns (exit code, folder of results).

    Its `seen` holds the size that each photo was to be looked at with in the last call.
    """
    save_checkpoint(folder / "best.pt", CrackNet(4, (1, 1, 1)), {"size": 64}, 0.5)
    seen = []

    def by_darkness(model, preprocess, photo, size=None, flips=False):
        seen.append(size)
        return (photo.max(axis=2) < 45).astype(np.float32)

    def command(*arguments, out="out"):
        seen.clear()
        flags = ["--checkpoint", str(folder / "best.pt"), "--out", str(folder / out), "--device", "cpu"]
        return module.main([*map(str, arguments), *flags]), folder / out

    monkeypatch.setattr(module, "predict", by_darkness)
    monkeypatch.setattr(module, "FEW", 0)  # a figure takes a second
    command.seen = seen
    return command


@pytest.fixture
def strips(tmp_path):
    """A folder of three photos with strips of 5, 21 and 9 pixels, and one without a crack."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in (("a.png", 5), ("b.png", 21), ("c.png", 9)):
        write_strip(photos / name, width)
    write_strip(photos / "d.png", crack=False)
    return photos


@pytest.fixture
def export(tmp_path):
    return write_export(tmp_path / "export")


@pytest.fixture
def photos(export):
    return read_export(export).photos


@pytest.fixture
def rng():
    return np.random.default_rng(0)
