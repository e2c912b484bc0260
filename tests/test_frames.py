import cv2
import numpy as np
import pytest
from conftest import table
from test_overlap import stones

from command import BadInput
from data import frames

WIDTH, HEIGHT, RATE = 512, 288, 30


def write_video(path, shown):
    """Film (x, blur) for each frame: the road from column x on, blurred by a sigma."""
    road = stones(11, 400, 2200)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for x, blur in shown:
        frame = road[50 : 50 + HEIGHT, round(x) : round(x) + WIDTH]
        writer.write(cv2.GaussianBlur(frame, (0, 0), blur) if blur else frame)
    writer.release()
    return path


def walk():
    """(x, blur) of each frame: on, standing still, out of focus, on, and all the way back."""
    on = [(12 * i, 0) for i in range(60)]
    still = [(on[-1][0], 0)] * 30
    blurred = [(on[-1][0] + 12 * i, 4) for i in range(1, 31)]
    later = [(blurred[-1][0] + 12 * i, 0) for i in range(1, 40)]
    return on + still + blurred + later + later[::-1] + on[::-2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """(folder, rows of frames.csv) of the walk; read only."""
    folder = tmp_path_factory.mktemp("video")
    frames.main([str(write_video(folder / "walk.mp4", walk()))])
    return folder, table(folder / "walk-frames" / "frames.csv")


def test_no_two_kept_frames_show_the_same_road_and_all_of_the_road_in_focus_is_on_one(kept):
    at = sorted(walk()[int(row["frame"])][0] for row in kept[1] if row["verdict"] == "kept")
    steps = np.diff(at)
    assert len(at) == 3 and steps.min() > (1 - 1.5 * frames.SAME_ROAD) * WIDTH
    assert at[0] < 200 and at[-1] > 1200


def test_a_blurred_frame_is_never_kept_and_named_as_such(kept):
    for row in kept[1]:
        assert (row["verdict"] == "blurred for this video") == (walk()[int(row["frame"])][1] > 0)


def test_a_frame_is_written_as_it_is_and_the_table_says_from_which_second(kept):
    folder, table = kept
    files = sorted(file.name for file in (folder / "walk-frames").glob("*.jpg"))
    assert files == [f"walk_{k:04d}.jpg" for k in range(1, 4)] == [row["file"] for row in table if row["file"]]
    for row in table:
        assert float(row["second"]) == pytest.approx(int(row["frame"]) / RATE, abs=0.01)
        if row["file"]:
            x = walk()[int(row["frame"])][0]
            road = stones(11, 400, 2200)[50 : 50 + HEIGHT, x : x + WIDTH].astype(int)
            assert np.abs(cv2.imread(str(folder / "walk-frames" / row["file"])) - road).mean() < 8
    assert (folder / "walk-frames.png").is_file()


def test_dropped_runs_are_told_with_their_time_and_reason():
    def moment(number, verdict="kept"):
        return frames.Moment(number, number / 10, 20.0, verdict)

    blurred, same = "blurred for this video", "shows the road of 0:00.0"
    moments = [moment(0), moment(5, same), moment(10, blurred), moment(15, blurred), moment(700), moment(705, blurred)]
    assert frames.dropped(moments) == [
        "  0:00.5: shows the road of 0:00.0",
        "  0:01.0 to 0:01.5: blurred for this video",
        "  1:10.5: blurred for this video",
    ]


def test_a_count_leaves_the_sharpest_of_each_stretch():
    moments = [frames.Moment(i, i / 2, value) for i, value in enumerate([20, 30, 25, 22, 21, 40, 10, 12])]
    moments[5].verdict = "blurred for this video"
    frames.thin_out(moments, 3)
    assert [moment.number for moment in moments if moment.kept] == [1, 3, 7]
    frames.thin_out(moments, 9)
    assert sum(moment.kept for moment in moments) == 3


def test_a_long_video_gets_longer_moments(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MOST", 4)
    monkeypatch.setattr(frames, "read_frames", lambda video, every: ((i, i / RATE, i) for i in range(0, 900, 3)))
    monkeypatch.setattr(frames, "shrunk", lambda frame: frame)
    monkeypatch.setattr(frames, "sharpness", lambda number: number % 225)
    assert [moment.number for moment in frames.sharpest("long.mp4")] == [222, 447, 672, 897]


def test_a_phone_video_held_upright_gives_upright_frames(tmp_path):
    video = write_video(tmp_path / "tall.mp4", [(5, 0)] * 10)
    content = bytearray(video.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40  # of the version 0 header that OpenCV writes: turned by 90 degrees
    content[matrix : matrix + 36] = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    video.write_bytes(content)
    frames.main([str(video), "--out", str(tmp_path / "out")])
    assert cv2.imread(str(tmp_path / "out" / "tall_0001.jpg")).shape[:2] == (WIDTH, HEIGHT)


@pytest.mark.parametrize("arguments, said", [
    (["nothing.mp4"], "nothing.mp4: no such video"), (["soft.mp4"], "soft.mp4: no frame is sharp"),
    (["soft.mp4", "--count", "0"], "--count"), (["soft.mp4", "--out", "full"], "full: exists"),
])  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line_and_leaves_nothing_behind(
    tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "soft.mp4", [(3 * i, 5) for i in range(20)])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(BadInput, match=said):
        frames.main(arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "soft.mp4"]
    assert "no such video" not in said or not capsys.readouterr().err  # no progress bar of what is not there
