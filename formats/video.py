"""Frames out of a video, and annotated frames into one."""

import contextlib
import os
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # of a video that cannot be read our own line says enough
import cv2  # noqa: E402

from command import BadInput, written_whole

SUFFIXES = {".mp4", ".mov", ".avi"}


def timing(path, every):
    """Video, seconds between frames -> (every how many frames that is, how many of those a second). Raises BadInput."""
    if not Path(path).is_file():
        raise BadInput(f"{path}: no such video; check the name")
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS) if video.isOpened() else 0
    video.release()
    if not fps > 0:
        raise BadInput(f"{path}: not a video OpenCV can read; convert it to .mp4 (H.264)")
    step = max(1, round(every * fps))
    return step, fps / step


def read_frames(path, step):
    """Video -> (number, (H, W, 3) uint8 RGB) of the first frame and each `step` frames on. Raises BadInput."""
    video, number = cv2.VideoCapture(str(path)), 0
    try:
        while video.grab():  # decoding to RGB is left to the frames that are wanted
            if number % step == 0 and (frame := video.retrieve()[1]) is not None:
                yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            number += 1
    finally:
        video.release()
    if not number:
        raise BadInput(f"{path}: a video without a frame; copy it again from the phone")


@contextlib.contextmanager
def written_video(path, fps):
    """Gives a function that takes frames (H, W, 3) uint8 RGB; the .mp4 stands at path only if the block succeeds."""
    writer = None
    with written_whole(path) as temporary:

        def add(frame):
            nonlocal writer
            even = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]  # as codecs ask
            if writer is None:
                code = cv2.VideoWriter_fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(temporary), code, fps, even.shape[1::-1])
                if not writer.isOpened():
                    raise OSError(f"{path}: this OpenCV cannot write an .mp4")
            writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

        try:
            yield add
        finally:
            if writer is not None:
                writer.release()
