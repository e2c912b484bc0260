"""Frames out of a video with their time, and frames into one."""

import contextlib
import math
import os
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # silent: our own message names the file
import cv2  # noqa: E402
from tqdm import tqdm  # noqa: E402

from command import BadInput, written_whole

SUFFIXES = {".mp4", ".mov", ".avi"}
COMPLETE = 0.95  # of the frames that a file states: fewer can be read of one that was cut off, damaged or trimmed
ROUNDING = 0.0005  # seconds: containers count in fractions of a second that are rounded


def frame_rate(path):
    """Frames a second of a video, on average. Raises BadInput for a file that is missing or no video."""
    if not Path(path).is_file():
        raise BadInput(f"{path}: no such video; check the name")
    video = opened(path)
    rate = video.get(cv2.CAP_PROP_FPS) if video.isOpened() else 0
    video.release()
    if not 0 < rate < math.inf:
        raise BadInput(f"{path}: not a video that can be read; convert it to .mp4 (H.264)")
    return rate


def read_frames(path, every):
    """Video, seconds -> yields (number, second, (H, W, 3) uint8 RGB): the first frame, then one every so many seconds.

    `number` counts all frames of the video. `second` is the time that the container gives for the frame, which is right
    for a variable frame rate too: phones film slower in the dark. Raises BadInput, also for a video without a frame;
    prints a warning at the end where frames are missing.
    """
    rate = frame_rate(path)  # here, not in the generator, so that a wrong file is refused before any progress bar
    return decoded_frames(path, every, rate)


def decoded_frames(path, every, rate):
    """The generator behind `read_frames`; rate: frames a second."""
    video = opened(path)
    stated = video.get(cv2.CAP_PROP_FRAME_COUNT)
    number, second, wanted = 0, 0.0, 0.0
    try:
        while video.grab():  # only the frames that are wanted are decoded to RGB
            second = time_of_frame(video, number, second, rate)
            if second >= wanted - ROUNDING:
                wanted = every * (math.floor((second + ROUNDING) / every) + 1)
                _, frame = video.retrieve()
                if frame is not None:
                    yield number, second, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1
    finally:
        video.release()
    if number == 0:
        raise BadInput(f"{path}: a video without a frame; copy it again from the phone")
    if number < COMPLETE * stated:
        tqdm.write(
            f"WARNING: {path}: only {number} of {stated:.0f} frames could be read, up to second {second:.1f}; copy it "
            "again from the phone, unless you trimmed it"
        )


def opened(path):
    """Video file -> cv2.VideoCapture. The path is made absolute: FFmpeg takes `12:30.mp4` for the protocol "12"."""
    return cv2.VideoCapture(str(Path(path).absolute()))


def time_of_frame(video, number, before, rate):
    """Opened video, number of the frame that was grabbed, time of the one before it -> its time in seconds.

    Some old files hold no times: then it follows from the frame rate.
    """
    second = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
    if number > 0 and not second > before:
        return before + 1 / rate
    return second


@contextlib.contextmanager
def written_video(path, rate):
    """Gives a function add(frame, second), see `Writer.add`, for frames (H, W, 3) uint8 RGB in the order of their time.

    The .mp4 has `rate` frames a second. Each frame is shown from its second until the next one's; of several that fall
    into one frame of the .mp4, the first is shown. The file stands at `path` only if the block succeeds.
    """
    with written_whole(path) as temporary:
        writer = Writer(path, temporary, rate)
        try:
            yield writer.add
        finally:
            writer.close()


class Writer:
    """A video that is being written to a temporary file."""

    def __init__(self, path, temporary, rate):
        self.path, self.temporary, self.rate = path, temporary, rate
        self.video = None  # opened with the first frame, whose size it has
        self.shown = None  # the frame before, in BGR
        self.count = 0  # frames written

    def add(self, frame, second):
        """Add a frame (H, W, 3) uint8 RGB; the one before is repeated up to this second.

        Returns its number in the .mp4, or None where another stands in its place. Seconds are rounded down to frames,
        because `read_frames` gives one frame for each step, and may give it late in its step.
        """
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2  # codecs ask for even sides
        if self.video is None:
            self.open(width, height)
        position = math.floor((second + ROUNDING) * self.rate)
        while self.shown is not None and self.count < position:
            self.write(self.shown)
        if self.count > position:
            return None
        self.shown = cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR)
        self.write(self.shown)
        return self.count - 1

    def write(self, frame):
        """Write one frame (H, W, 3) uint8 BGR."""
        self.video.write(frame)
        self.count += 1

    def open(self, width, height):
        """Begin the file. Raises OSError where OpenCV has no codec."""
        code = cv2.VideoWriter_fourcc(*"mp4v")
        self.video = cv2.VideoWriter(str(Path(self.temporary).absolute()), code, self.rate, (width, height))
        if not self.video.isOpened():
            raise OSError(f"{self.path}: this OpenCV cannot write an .mp4")

    def close(self):
        """Finish the file, if it was begun."""
        if self.video is not None:
            self.video.release()
