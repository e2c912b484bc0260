"""Take sharp frames out of a phone video of a road, to be labelled, no two of which show the same piece of road.

    python data/frames.py walk.mp4
    python data/frames.py walk.mp4 --count 40 --out data/walk

From each half second the sharpest frame is taken. It is dropped if it is blurred or shows road that an earlier frame
shows.
"""

import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import BadInput, Parser, execute, last_letters, number, number_of, write_csv
from data.collection import BLURRED, SAME_ROAD, TILE, sharpness
from data.overlap import AGREEING, features, overlap, shrunk
from formats.annotate import export_folder
from formats.photo import at_most, write_image
from formats.pictures import contact_sheet
from formats.video import read_frames

LOOK = 0.1  # seconds between frames that are analysed
MOMENT = 0.5  # seconds; of each, only the sharpest frame may be kept
MOST = 600  # moments that are compared with each other; a longer video gets longer moments
SOFT = 0.6  # of the sharpness that a tenth of the moments exceed; below, a frame is blurred
CAPTION = 24  # letters of a file's name under its picture

KEPT = "kept"  # verdicts, as they stand in frames.csv
TOO_BLURRED = "blurred for this video"
TOO_SMOOTH = "too smooth to tell the place"
TOO_MANY = "not among the --count"


@dataclass
class Moment:
    """The sharpest frame of half a second."""

    number: int  # of the frame in the video
    second: float
    sharpness: float
    verdict: str = KEPT
    name: str = ""  # of the file, if it is kept
    tile: np.ndarray | None = None  # (h, w, 3) uint8, small

    @property
    def kept(self):
        return self.verdict == KEPT

    @property
    def clock(self):
        """The second as minutes and seconds, "2:07.5"."""
        return f"{int(self.second // 60)}:{self.second % 60:04.1f}"


def sharpest(video):
    """First pass -> [Moment]. Only numbers are kept of each frame, so a long video needs no more memory."""
    best = {}
    for index, second, frame in tqdm(read_frames(video, LOOK), "measuring sharpness", leave=False, unit="frame"):
        moment = Moment(index, second, sharpness(shrunk(frame)))
        window = int(second / MOMENT)
        if window not in best or moment.sharpness > best[window].sharpness:
            best[window] = moment
    moments = list(best.values())
    groups = np.array_split(np.arange(len(moments)), min(len(moments), MOST))
    return [max([moments[i] for i in group], key=lambda moment: moment.sharpness) for group in groups]


def judge_blur(moments):
    """Set the verdict of frames that are less sharp than the video can be, or blurred by any measure."""
    limit = max(BLURRED / 2, SOFT * np.percentile([moment.sharpness for moment in moments], 90))
    for moment in moments:
        if moment.sharpness < limit:
            moment.verdict = TOO_BLURRED


def judge_overlap(video, moments, folder):
    """Second pass: write each sharp frame that shows road which no earlier one shows; set the verdict of the others."""
    wanted = {moment.number: moment for moment in moments if moment.kept}
    earlier = []  # (Moment, Features) of the frames that were written
    for index, _, frame in tqdm(read_frames(video, LOOK), "comparing places", leave=False, unit="frame"):
        if index not in wanted:
            continue
        moment, seen = wanted.pop(index), features(shrunk(frame))
        twin = moment_of_same_road(seen, earlier)
        if len(seen.places) < AGREEING:
            moment.verdict = TOO_SMOOTH
        elif twin is not None:
            moment.verdict = f"shows the road of {twin.clock}"
        else:
            earlier.append((moment, seen))
            moment.name = f"{index}.jpg"
            write_image(folder / moment.name, frame)
            moment.tile = at_most(frame, TILE)
        if not wanted:
            break


def moment_of_same_road(seen, earlier):
    """Features of a frame, [(Moment, Features)] -> the latest Moment that shows the same road, or None."""
    for moment, other in reversed(earlier):
        if overlap(seen, other) > SAME_ROAD:
            return moment
    return None


def thin_out(moments, count):
    """Of the kept moments, leave `count` that are spread over the video: the sharpest of each stretch."""
    kept = [moment for moment in moments if moment.kept]
    if count >= len(kept):
        return
    for stretch in np.array_split(np.arange(len(kept)), count):
        chosen = max(stretch, key=lambda i: kept[i].sharpness)
        for i in stretch:
            if i != chosen:
                kept[i].verdict = TOO_MANY


def name_files(folder, moments, stem):
    """Number the kept files from 1 and remove the others."""
    number = 0
    for moment in moments:
        if moment.kept:
            number += 1
            name = f"{stem}_{number:04d}.jpg"
            (folder / moment.name).rename(folder / name)
            moment.name = name
        elif moment.name:
            (folder / moment.name).unlink()
            moment.name = ""


def write_table(path, moments):
    """frames.csv: a row for each moment."""
    rows = [
        (moment.name, moment.number, f"{moment.second:.2f}", f"{moment.sharpness:.1f}", moment.verdict)
        for moment in moments
    ]
    write_csv(path, ("file", "frame", "second", "sharpness", "verdict"), rows)


def dropped(moments):
    """A line for each run of moments that were dropped for the same reason."""
    lines = []
    for verdict, group in groupby(moments, lambda moment: moment.verdict):
        run = list(group)
        if verdict == KEPT:
            continue
        when = run[0].clock
        if len(run) > 1:
            when += f" to {run[-1].clock}"
        lines.append(f"  {when}: {verdict}")
    return lines


def extract(video, out, count=None):
    """Video -> folder of frames at `out`, written atomically; returns [Moment]. Raises BadInput."""
    with export_folder(out) as folder:
        moments = sharpest(video)
        judge_blur(moments)
        judge_overlap(video, moments, folder)
        if not any(moment.kept for moment in moments):
            raise BadInput(f"{video}: no frame is sharp; walk slower, in daylight, and film at full resolution")
        if count is not None:
            thin_out(moments, count)
        name_files(folder, moments, video.stem)
        write_table(folder / "frames.csv", moments)
    return moments


def arguments(argv):
    parser = Parser(
        prog="data/frames.py",
        description=__doc__,
        epilog="Writes VIDEO_0001.jpg and so on, frames.csv (each half second, and why its frame was kept or not) and\n"
        "beside the folder, a contact sheet. Walk slowly and hold the phone level. Frames are sharpest in sunlight.",
    )
    parser.add_argument("video", type=Path, help="an .mp4, .mov or .avi file")
    parser.add_argument(
        "--count", type=number(int, 1), metavar="N", help="keep at most N frames, spread over the video (default: all)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write (default: VIDEO-frames)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    out = args.out or args.video.with_name(f"{args.video.stem}-frames")
    moments = extract(args.video, out, args.count)
    kept = [moment for moment in moments if moment.kept]
    sheet = out.with_name(f"{out.name}.png")
    tiles = [(f"{last_letters(moment.name, CAPTION)}  {moment.clock}", moment.tile) for moment in kept]
    write_image(sheet, contact_sheet(tiles, columns=6))
    print(f"{out}: {number_of(len(kept), 'frame')} of {number_of(len(moments), 'moment')}")
    lines = dropped(moments)
    if lines:
        print("dropped:", *lines, sep="\n")
    if args.count and len(kept) < args.count:
        print(f"note: the video shows only {number_of(len(kept), 'place')} sharply")
    soft = sum(moment.sharpness < BLURRED for moment in kept)
    if soft:
        print(f"note: {soft} of the kept frames are soft; walk slower or film at a higher resolution")
    print(f"picture: {sheet}")
    return 0


if __name__ == "__main__":
    execute(main)
