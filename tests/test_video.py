"""Videos: which frames are seen, what is written, how a broken one ends."""

import csv
import json

import cv2
import numpy as np
import pytest
from conftest import draw_road

import inference
from command import BadInput
from formats import video
from model import CrackNet, save_checkpoint


@pytest.fixture
def drive(tmp_path):
    """12 frames, 6 a second, of 96 x 128; each has a black bar that is 2 px wider than the one before."""
    road = draw_road(np.random.default_rng(0))
    with video.written_video(tmp_path / "drive.mp4", 6) as add:
        for k in range(12):
            frame = road.copy()
            frame[10:86, 40 : 46 + 2 * k] = 0
            add(frame)
    return tmp_path / "drive.mp4"


@pytest.fixture
def run(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "best.pt", CrackNet(4, (1, 1, 1)), {"size": 64}, 0.5)
    monkeypatch.setattr(inference, "predict", lambda m, p, photo, *_: (photo.max(axis=2) < 50).astype(np.float32))

    def command(*arguments):
        flags = ["--checkpoint", str(tmp_path / "best.pt"), "--out", str(tmp_path / "out")]
        return inference.main([*map(str, arguments), *flags]), tmp_path / "out"

    return command


def bar(frame):
    """Width of the frame's black bar in pixels."""
    return int((frame[48].max(axis=-1) < 50).sum())


def test_frames_come_at_the_step_and_in_order(drive):
    assert video.timing(drive, 0.5) == (3, 2) and video.timing(drive, 0.001) == (1, 6)
    found = list(video.read_frames(drive, 3))
    assert [number for number, _ in found] == [0, 3, 6, 9]
    assert [bar(frame) for _, frame in found] == pytest.approx([6, 12, 18, 24], abs=2)


def test_an_annotated_video_and_a_row_a_frame(drive, run, capsys):
    code, out = run(drive, "--every", "0.5")
    assert code == 0
    frames = list(video.read_frames(out / "drive_cracks.mp4", 1))
    assert len(frames) == 4 and frames[0][1].shape == (96, 128, 3)
    assert video.timing(out / "drive_cracks.mp4", 1) == (2, 1)  # two frames a second: as long as the drive
    coloured = np.ptp(frames[0][1].astype(int), axis=2) > 60
    assert coloured[20:80, 40:46].mean() > 0.9 > 0.1 > coloured[:, 70:].mean()
    with open(out / "cracks.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["second"]) for row in rows] == [0, 0.5, 1, 1.5]
    assert [float(row["width_median_px"]) for row in rows] == pytest.approx([6, 12, 18, 24], abs=2)
    assert "drive.mp4, second 1.5" in (out / "report.html").read_text()
    assert "4 frames looked at, 4 with a crack; the widest place 2" in capsys.readouterr().out


def test_frames_overlap_so_they_are_not_added_up(drive, run, capsys):
    _, out = run(drive, "--mm-per-pixel", "1")
    content = json.loads((out / "cracks.json").read_text())
    assert "quantities" not in content and "overlap" in capsys.readouterr().out
    html = (out / "report.html").read_text()
    assert "overlap" in html and "to seal" not in html and "assumption" in html and "no PCI" in html


def test_a_broken_video_is_named_and_leaves_nothing(tmp_path, run, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    code, out = run(tmp_path / "bad.mp4")
    assert code == 2 and "bad.mp4" in capsys.readouterr().err and not list(out.glob("*"))


def test_a_video_that_fails_half_way_is_not_there(tmp_path):
    with pytest.raises(BadInput), video.written_video(tmp_path / "half.mp4", 1) as add:
        add(np.zeros((32, 32, 3), np.uint8))
        raise BadInput("half way")
    assert not list(tmp_path.glob("*"))


def test_odd_sides_lose_a_pixel_and_no_more(tmp_path):
    with video.written_video(tmp_path / "odd.mp4", 1) as add:
        add(np.zeros((33, 47, 3), np.uint8))
    assert cv2.VideoCapture(str(tmp_path / "odd.mp4")).read()[1].shape == (32, 46, 3)


def test_a_video_keeps_the_order_of_its_colours(tmp_path):
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[..., 0] = 200  # red
    with video.written_video(tmp_path / "red.mp4", 2) as add:
        add(frame)
    seen = cv2.VideoCapture(str(tmp_path / "red.mp4")).read()[1]  # blue, green, red
    assert seen[..., 2].mean() > 150 and seen[..., :2].mean() < 60
    ((_, again),) = video.read_frames(tmp_path / "red.mp4", 1)
    assert again[..., 0].mean() > 150 and again[..., 1:].mean() < 60
