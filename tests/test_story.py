"""The picture of the README, and that the photo in it trained no weights."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import draw_crack, draw_road

from formats.photo import write_image
from results import story

ROOT = Path(__file__).parent.parent
SHA1 = "f1f9558fec3d04c460ad6058260471f91a9c0222"  # photo 30 of SUT-Crack, in the README


def test_the_crack_is_coloured_and_nothing_else(rng):
    photo = draw_road(rng)
    mask = np.zeros(photo.shape[:2], np.uint8)
    corners = np.round(np.reshape(draw_crack(photo, rng), (-1, 2))).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1)
    drawn = story.coloured(photo, mask, story.measure(mask), 10)
    changed = (drawn != photo).any(axis=2)
    assert (changed <= (mask > 0)).all() and changed.sum() > 0.9 * mask.sum()


def test_the_command_writes_a_picture_wide_enough_for_a_readme(tmp_path, rng):
    photo = draw_road(rng, 256, 256)
    draw_crack(photo, rng)
    write_image(tmp_path / "road.png", photo)
    flags = ["--rows", "20", "200", "--out", str(tmp_path / "story.jpg")]
    assert story.main([str(tmp_path / "road.png"), *flags]) == 0
    assert cv2.imread(str(tmp_path / "story.jpg")).shape[1] >= 900


def test_the_photo_in_the_readme_trained_no_weights():
    splits = json.loads((ROOT / "weights" / "splits.json").read_text(encoding="utf-8"))
    trained = {splits["sha1"][name] for name in splits["train"]} | set(splits.get("before", {}).get("sha1", ()))
    assert len(trained) > 50 and SHA1 not in trained
    # windows of SUT-Crack's photos without a crack are named 030_ROW_COLUMN.jpg
    assert not [name for name in splits["train"] if name.rpartition("/")[2].startswith("030_")]


def test_that_photo_is_the_one_that_the_page_names():
    photo = ROOT.parent / "shared" / "data" / "sut" / "030.jpg"
    if not photo.is_file():
        pytest.skip(f"{photo} is not here")
    assert hashlib.sha1(photo.read_bytes()).hexdigest() == SHA1
    assert photo.name in (ROOT / "results" / "story.py").read_text(encoding="utf-8")
