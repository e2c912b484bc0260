"""Videos: which frames are seen, what is written, how a broken one ends."""

import json
import re
import struct

import cv2
import numpy as np
import pytest
from conftest import draw_road, finding_dark, table

import survey
from command import BadInput
from formats import video
from report.survey import marked


@pytest.fixture
def drive(tmp_path):
    """12 frames, 6 a second, of 96 x 128; each has a black bar that is 2 px wider than the one before."""
    road = draw_road(np.random.default_rng(0))
    with video.written_video(tmp_path / "drive.mp4", 6) as add:
        for k in range(12):
            frame = road.copy()
            frame[10:86, 40 : 46 + 2 * k] = 0
            add(frame, k / 6)
    return tmp_path / "drive.mp4"


@pytest.fixture
def run(tmp_path, monkeypatch):
    return finding_dark(survey, tmp_path, monkeypatch)


def bar(frame):
    """Width of the frame's black bar in pixels."""
    return int((frame[48].max(axis=-1) < 50).sum())


def test_frames_come_at_the_step_and_in_order(drive):
    assert video.frame_rate(drive) == 6
    found = list(video.read_frames(drive, 0.5))
    assert [number for number, *_ in found] == [0, 3, 6, 9]
    assert [second for _, second, _ in found] == pytest.approx([0, 0.5, 1, 1.5])
    assert [bar(frame) for *_, frame in found] == pytest.approx([6, 12, 18, 24], abs=2)
    assert len(list(video.read_frames(drive, 0.001))) == 12


def test_an_annotated_video_and_a_row_a_frame(drive, run, monkeypatch, capsys):
    monkeypatch.setattr(survey, "FEW", 20)  # of so few files each gets a line
    code, out = run(drive, "--every", "0.5")
    assert code == 0
    frames = [frame for *_, frame in video.read_frames(out / "drive_cracks.mp4", 0.1)]
    assert len(frames) == 4 and frames[0].shape == (96, 128, 3)
    assert video.frame_rate(out / "drive_cracks.mp4") == 2  # two frames a second: as long as the drive
    coloured = np.ptp(frames[0].astype(int), axis=2) > 60
    assert coloured[20:80, 40:46].mean() > 0.9 > 0.1 > coloured[:, 70:].mean()
    rows = table(out / "cracks.csv")
    assert [float(row["second"]) for row in rows] == [0, 0.5, 1, 1.5]
    assert [float(row["width_median_px"]) for row in rows] == pytest.approx([6, 12, 18, 24], abs=2)
    assert "drive.mp4, second 1.5" in (out / "report.html").read_text()
    assert "4 frames analysed, 4 with a crack; the widest place 2" in capsys.readouterr().out


@pytest.mark.parametrize("rate, every, frames", [(2.5, 0.5, 40), (12, 0.1, 40), (0.02, 600, 120), (6, 0.5, 12)])
def test_the_picture_beside_a_row_shows_the_frame_that_was_measured(tmp_path, run, rate, every, frames):
    """Also where frames come late in their step, and where the file holds a rounded rate."""
    road = draw_road(np.random.default_rng(0))
    with video.written_video(tmp_path / "odd.mp4", rate) as add:
        for k in range(frames):
            frame = road.copy()
            frame[10:86, 40 : 46 + 4 * (k % 7)] = 0
            add(frame, k / rate)
    _, out = run(tmp_path / "odd.mp4", "--every", str(every))
    results = json.loads((out / "cracks.json").read_text())["photos"]
    pictures = [marked(out / "odd", result) for result in results]
    assert len(results) >= min(frames, int(frames / rate / every))
    for result, picture in zip(results, pictures, strict=True):
        drawn = (np.ptp(picture[48].astype(int), axis=-1) > 60).sum()
        assert drawn == pytest.approx(result["row"]["width_median_px"], abs=4)


def test_frames_overlap_so_they_are_not_added_up(drive, run, capsys):
    _, out = run(drive, "--mm-per-pixel", "1")
    content = json.loads((out / "cracks.json").read_text())
    assert "quantities" not in content and "overlap" in capsys.readouterr().out
    html = (out / "report.html").read_text()
    assert "<h1>Cracks in 2 pictures" in html and "photos<b>" not in html
    assert "overlap" in html and "to seal" not in html and "assumption" in html and "no PCI" in html


def test_a_broken_video_is_named_and_leaves_nothing(tmp_path, run, capsys):
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    code, out = run(tmp_path / "bad.mp4")
    assert code == 2 and "bad.mp4" in capsys.readouterr().err and not list(out.glob("*"))


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_of_a_video_that_was_cut_off_the_rest_is_used_and_a_warning_says_so(tmp_path, run, capsys, share):
    road, film = draw_road(np.random.default_rng(0)), tmp_path / "dash.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*"MJPG"), 5, road.shape[1::-1])
    for _ in range(40):
        writer.write(road)
    writer.release()
    code, _ = run(film)
    assert code == 0 and "WARNING" not in capsys.readouterr().out
    content = film.read_bytes()
    film.write_bytes(content[: int(share * len(content))])
    code, out = run(film)
    assert code == 0 and re.search(
        rf"WARNING: .*dash\.avi: only {int(40 * share) // 10}\d of 40", capsys.readouterr().out
    )
    assert 1 < len(json.loads((out / "cracks.json").read_text())["photos"]) < 8


def test_a_video_that_fails_half_way_is_not_there(tmp_path):
    with pytest.raises(BadInput), video.written_video(tmp_path / "half.mp4", 1) as add:
        add(np.zeros((32, 32, 3), np.uint8), 0)
        raise BadInput("half way")
    assert not list(tmp_path.glob("*"))


def test_odd_sides_lose_a_pixel_and_no_more(tmp_path):
    with video.written_video(tmp_path / "odd.mp4", 1) as add:
        add(np.zeros((33, 47, 3), np.uint8), 0)
    assert cv2.VideoCapture(str(tmp_path / "odd.mp4")).read()[1].shape == (32, 46, 3)


def test_a_video_keeps_the_order_of_its_colours(tmp_path):
    frame = np.zeros((96, 128, 3), np.uint8)
    frame[..., 0] = 200  # red
    with video.written_video(tmp_path / "red.mp4", 2) as add:
        add(frame, 0)
    seen = cv2.VideoCapture(str(tmp_path / "red.mp4")).read()[1]  # blue, green, red
    assert seen[..., 2].mean() > 150 and seen[..., :2].mean() < 60
    ((_, _, again),) = video.read_frames(tmp_path / "red.mp4", 1)
    assert again[..., 0].mean() > 150 and again[..., 1:].mean() < 60


def write_variable(path, times):
    """A video whose frames come at these times (whole milliseconds): frame k has a bar of 4 + 2k pixels.

    OpenCV writes a constant rate, so the table of durations (stts) in the .mp4 is replaced.
    """
    with video.written_video(path, 10) as add:
        for k in range(len(times)):
            frame = np.full((96, 128, 3), 128, np.uint8)
            frame[10:86, 40 : 44 + 2 * k] = 0
            add(frame, k / 10)
    content = bytearray(path.read_bytes())
    media, table = content.index(b"mdhd"), content.index(b"stts")
    scale = struct.unpack_from(">I", content, media + 16)[0]
    steps = [round(scale * step) for step in np.diff([*times, 2 * times[-1] - times[-2]])]
    entries = b"".join(struct.pack(">II", 1, step) for step in steps)
    old = struct.unpack_from(">I", content, table - 4)[0]
    new = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(steps)) + entries
    content[table - 4 : table - 4 + old] = new
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):  # the boxes around it grew
        at = content.index(name) - 4
        struct.pack_into(">I", content, at, struct.unpack_from(">I", content, at)[0] + len(new) - old)
    path.write_bytes(content.replace(b"edts", b"free"))  # the edit list says where the old film ends
    return path


def test_the_time_of_a_frame_comes_from_the_file_and_not_from_its_number(tmp_path):
    times = [k / 10 for k in range(10)] + [1 + k / 2 for k in range(6)]
    file = write_variable(tmp_path / "slow.mp4", times)
    found = list(video.read_frames(file, 0.5))
    assert [second for _, second, _ in found] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], abs=0.002)
    assert [number for number, *_ in found] == [0, 5, 10, 11, 12, 13, 14, 15]
    assert [bar(frame) for *_, frame in found] == pytest.approx([4 + 2 * k for k in (0, 5, *range(10, 16))], abs=2)


@pytest.mark.parametrize("rate", [24, 25, 29.97])
def test_at_any_frame_rate_the_frames_lie_where_they_are_wanted(tmp_path, rate):
    with video.written_video(tmp_path / "a.mp4", rate) as add:
        for k in range(80):
            add(np.full((32, 32, 3), 2 * k, np.uint8), k / rate)
    found = [second for _, second, _ in video.read_frames(tmp_path / "a.mp4", 0.3)]
    assert len(found) == int(79 / rate / 0.3) + 1
    for k, second in enumerate(found):
        assert 0.3 * k - 0.001 <= second < 0.3 * k + 1 / rate


def test_a_written_frame_is_shown_from_its_own_second_on(tmp_path):
    with video.written_video(tmp_path / "a.mp4", 10) as add:
        for grey, second in ((40, 0), (120, 0.3), (160, 0.32), (220, 0.9)):
            add(np.full((64, 64, 3), grey, np.uint8), second)
    shown = [frame.mean() for *_, frame in video.read_frames(tmp_path / "a.mp4", 0.001)]
    assert shown == pytest.approx([40] * 3 + [120] * 6 + [220], abs=8)


def test_a_file_without_times_gets_them_from_its_frame_rate(tmp_path, drive, monkeypatch):
    class Timeless:
        def __init__(self, path):
            self.video = opened(path)

        def __getattr__(self, name):
            return getattr(self.video, name)

        def get(self, what):
            return 0 if what == cv2.CAP_PROP_POS_MSEC else self.video.get(what)

    opened = video.opened
    monkeypatch.setattr(video, "opened", Timeless)
    assert [second for _, second, _ in video.read_frames(drive, 0.5)] == pytest.approx([0, 0.5, 1, 1.5])


def test_a_name_with_a_colon_opens_and_is_written(tmp_path, drive, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive.rename("12:30.mp4")
    assert len(list(video.read_frames("12:30.mp4", 0.5))) == 4
    with video.written_video("13:00.mp4", 1) as add:
        add(np.zeros((32, 32, 3), np.uint8), 0)
    assert video.frame_rate("13:00.mp4") == 1
