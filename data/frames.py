"""Sharp, distinct frames out of a phone video of a road, to be labelled: no two show the same piece of crack.

    python data/frames.py walk.mp4
    python data/frames.py walk.mp4 --count 40 --out data/walk

Of each half second the sharpest frame is looked at, and dropped where it is blurred or shows road that is on another.
"""

import csv
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import BadInput, Parser, answer_flags, execute


def arguments(argv):
    parser = Parser(
        prog="data/frames.py",
        description=__doc__,
        epilog="Writes VIDEO_0001.jpg ..., frames.csv (every moment and why it was kept or not) and, beside the\n"
        "folder, a contact sheet. Walk slowly, the phone held level; in sunlight the shutter is fast and frames sharp.",
    )
    parser.add_argument("video", type=Path, help="an .mp4, .mov or .avi")
    parser.add_argument("--count", type=int, help="at most so many, spread over the video (default: all)")
    parser.add_argument("--out", type=Path, help="folder to write (default: VIDEO-frames)")
    args = parser.parse_args(argv)
    if args.count is not None and args.count < 1:
        raise BadInput(f"--count {args.count}: not a number of frames; give 1 or more")
    return args


if __name__ == "__main__":
    answer_flags(arguments)  # --help and wrong flags at once: the imports below take seconds

import cv2
import numpy as np
from tqdm import tqdm

from data.collection import BLURRED, SAME_ROAD, TILE, sharpness
from data.convert import export_folder
from data.overlap import AGREEING, features, overlap, shrunk
from formats.photo import write_image
from formats.video import read_frames, timing
from report.figure import contact_sheet

LOOK = 0.1  # seconds between frames that are looked at
MOMENT = 0.5  # seconds; of each, only the sharpest frame may be kept
MOST = 600  # moments compared with each other: a longer video gets longer moments
SOFT = 0.6  # of the sharpness that a tenth of the moments exceed; below, a frame is blurred


@dataclass
class Moment:
    """The sharpest frame of half a second."""

    number: int  # of the frame in the video
    second: float
    sharpness: float
    verdict: str = "kept"
    name: str = ""  # of the file
    tile: np.ndarray | None = None  # (h, w, 3) uint8

    @property
    def kept(self):
        return self.verdict == "kept"

    @property
    def clock(self):
        return f"{int(self.second // 60)}:{self.second % 60:04.1f}"


def sharpest(video, step, fps):
    """First pass -> [Moment]; only numbers are kept of each frame, so a long video needs no more memory."""
    best = {}
    for number, frame in tqdm(read_frames(video, step), "how sharp?", leave=False, unit="frame"):
        here = Moment(number, number / fps, sharpness(shrunk(frame)))
        window = int(here.second / MOMENT)
        best[window] = max(best.get(window, here), here, key=lambda moment: moment.sharpness)
    moments = list(best.values())
    groups = np.array_split(np.arange(len(moments)), min(len(moments), MOST))
    return [max((moments[i] for i in group), key=lambda moment: moment.sharpness) for group in groups]


def judge_blur(moments):
    """Set the verdict of frames that are less sharp than the video can be, or blurred by any measure."""
    limit = max(BLURRED / 2, SOFT * np.percentile([moment.sharpness for moment in moments], 90))
    for moment in moments:
        if moment.sharpness < limit:
            moment.verdict = "blurred for this video"


def judge_overlap(video, step, moments, folder):
    """Second pass: write each sharp frame that shows road which no earlier one shows, and set the others' verdict."""
    wanted, seen = {moment.number: moment for moment in moments if moment.kept}, []
    for number, frame in tqdm(read_frames(video, step), "which place?", leave=False, unit="frame"):
        if number not in wanted:
            continue
        moment, here = wanted[number], features(shrunk(frame))
        twins = (earlier for earlier, there in reversed(seen) if overlap(here, there) > SAME_ROAD)
        if len(here.places) < AGREEING:
            moment.verdict = "too smooth to tell the place"
        elif twin := next(twins, None):
            moment.verdict = f"shows the road of {twin.clock}"
        else:
            seen.append((moment, here))
            moment.name = f"{number}.jpg"
            write_image(folder / moment.name, frame)
            scale = TILE / max(frame.shape)
            moment.tile = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def thin_out(moments, count):
    """Of the kept moments, leave `count` that are spread over the video: the sharpest of each stretch."""
    kept = [moment for moment in moments if moment.kept]
    for stretch in np.array_split(np.arange(len(kept)), count) if count and count < len(kept) else ():
        chosen = max(stretch, key=lambda i: kept[i].sharpness)
        for i in set(stretch) - {chosen}:
            kept[i].verdict = "not among the --count"


def name_files(folder, moments, stem):
    """Number the kept files from 1 and remove the others."""
    number = 0
    for moment in moments:
        if moment.kept:
            number += 1
            (folder / moment.name).rename(folder / f"{stem}_{number:04d}.jpg")
            moment.name = f"{stem}_{number:04d}.jpg"
        elif moment.name:
            (folder / moment.name).unlink()
            moment.name = ""


def write_table(path, moments):
    """frames.csv: a row for each moment."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "frame", "second", "sharpness", "verdict"])
        table.writerows([m.name, m.number, f"{m.second:.2f}", f"{m.sharpness:.1f}", m.verdict] for m in moments)


def dropped(moments):
    """A line for each run of moments that were dropped for the same reason."""
    lines = []
    for verdict, run in groupby(moments, lambda moment: moment.verdict):
        first, *others = run
        if not first.kept:
            until = f" to {others[-1].clock}" if others else ""
            lines.append(f"  {first.clock}{until}: {verdict}")
    return lines


def extract(video, out, count=None):
    """Video -> folder of frames at `out`, whole or not at all; returns [Moment]. Raises BadInput."""
    step, looks = timing(video, LOOK)
    with export_folder(out) as folder:
        moments = sharpest(video, step, step * looks)
        judge_blur(moments)
        judge_overlap(video, step, moments, folder)
        if not any(moment.kept for moment in moments):
            raise BadInput(f"{video}: no frame is sharp; walk slower, in daylight, and film at full resolution")
        thin_out(moments, count)
        name_files(folder, moments, video.stem)
        write_table(folder / "frames.csv", moments)
    return moments


def main(argv=None):
    args = arguments(argv)
    out = args.out or args.video.with_name(f"{args.video.stem}-frames")
    moments = extract(args.video, out, args.count)
    kept = [moment for moment in moments if moment.kept]
    sheet = out.with_name(f"{out.name}.png")
    write_image(sheet, contact_sheet([(f"{m.name[-24:]}  {m.clock}", m.tile) for m in kept], columns=6))
    print(f"{out}: {len(kept)} frames of {len(moments)} moments; dropped:", *dropped(moments), sep="\n")
    if args.count and len(kept) < args.count:
        print(f"note: the video shows no more than {len(kept)} places sharply")
    soft = sum(moment.sharpness < BLURRED for moment in kept)
    if soft:
        print(f"note: {soft} of the kept frames are soft, too; walk slower or film at a higher resolution")
    print(f"picture: {sheet}")
    return 0


if __name__ == "__main__":
    execute(main)
