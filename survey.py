"""Many photos, a folder or a video -> lengths, widths, severity and a budget, as tables and as one report.

Each photo is finished on its own: its pictures, then its record (report/records.py). So a survey that was stopped goes
on where it stopped, several processes of torchrun can share a folder, and memory does not grow with the folder.
"""

import hashlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

import distributed
from command import (
    FEW,
    ROOT,
    BadInput,
    add_network_flags,
    choose_device,
    execute,
    flags,
    number,
    number_of,
    results_folder,
)
from formats import video
from formats.batch import PHOTO_ERRORS, beside, error_line, exit_code, in_threads, list_photos, shown_name
from formats.exif import exif
from formats.photo import Preprocess, read_one, write_image
from formats.pictures import save_figure
from inference import FIGURE, MASK, OVERLAY, crack_mask, open_model, size_from_factor
from model import fused, predict
from quantify.budget import read_prices, width_edges
from quantify.damage import NO_SCALE, damage, film_sentence, scale_words, sentence, warnings_about
from quantify.measure import WIDTH_EDGES_MM, measure
from quantify.scale import SCALE_FLAGS, ScaleOptions, add_scale_flags, find_scale, off_paper, rectify, scale_options
from report.figure import figure, overlay
from report.records import VIDEO, Findings, copies, finished, names_in, read_record, save_record, write_tables
from report.survey import budget_line, write_report
from runs import newest_run, warning_about, weights_file

VERSION = 2  # raise it when a number or a column changes: records of other versions are made again


@dataclass(frozen=True)
class Options:
    """The network, and the settings that hold for every photo."""

    model: nn.Module
    preprocess: Preprocess
    weights: str  # SHA-1 of the weights file
    threshold: float
    factor: float | None  # --scale: times full resolution; None: the sizes that inference.py chooses
    flips: bool
    scale: ScaleOptions
    width_edges_mm: tuple  # limits of the width classes that have a price each
    every: float  # seconds between two analysed frames of a video
    figures: bool
    places: bool = True  # keep where a photo was taken, which its EXIF says

    def made_with(self, path):
        """Photo or video -> dict of everything that its results depend on. A record with an equal dict is kept."""
        about = path.stat()
        scale = asdict(self.scale)
        if scale["reference"]:
            scale["reference"] = list(scale["reference"])  # as JSON gives it back
        values = {
            "version": VERSION,
            "weights": self.weights,
            "threshold": self.threshold,
            "factor": self.factor,
            "flips": self.flips,
            "scale": scale,
            "width_edges_mm": list(self.width_edges_mm),
            "places": self.places,
            "bytes": about.st_size,
            "changed": about.st_mtime,
        }
        if is_video(path):
            values["every"] = self.every
        return values


@dataclass(frozen=True)
class Examined:
    """One photo, with its mask and what was measured."""

    mask: np.ndarray  # (H, W) uint8 0/1, as large as the photo
    # what was measured: the same again, or, with a sheet or marker, the road seen from above
    photo: np.ndarray  # (H', W', 3) uint8 RGB
    probability: np.ndarray  # (H', W') float32
    flat_mask: np.ndarray  # (H', W') uint8 0/1
    measured: dict  # what `measure` gave
    result: dict  # what `damage` gave, and from_above: was the road seen from above?


def examine(photo, path, options):
    """(H, W, 3) uint8 RGB, its file, Options -> Examined. Raises BadInput if the scale cannot be found."""
    scale = find_scale(photo, path, options.scale)  # first, because a missing sheet saves running the network
    size = size_from_factor(photo, options.factor)
    probability = predict(options.model, options.preprocess, photo, size, options.flips)
    return assess(photo, probability, scale, options.threshold, options.width_edges_mm)


def assess(photo, probability, scale, threshold, width_edges_mm=WIDTH_EDGES_MM):
    """(H, W, 3) uint8 RGB, (H, W) float32 crack probability, Scale or None -> Examined: the mask, and its measures."""
    if scale is not None:
        probability = off_paper(probability, scale)
    mask, specks = crack_mask(probability, threshold)
    flat_photo, flat_probability, flat_mask, road_px = photo, probability, mask, mask.size
    from_above = scale is not None and scale.homography is not None
    if from_above:
        flat_photo, shows_road, _ = rectify(photo, scale)
        flat_probability, *_ = rectify(probability, scale)
        flat_mask, *_ = rectify(mask, scale)
        road_px = int(shows_road.sum())
    measured = measure(flat_mask)
    result = damage(measured, road_px, scale, width_edges_mm, specks) | {"from_above": from_above}
    return Examined(mask, flat_photo, flat_probability, flat_mask, measured, result)


def with_origin(result, path, start, photo, places, second=None):
    """A result of `damage` -> the same with the columns that do not come from the crack in front of its row."""
    latitude, longitude = None, None
    if places:
        latitude, longitude = exif(path)["gps"] or (None, None)
    origin = {
        "photo": shown_name(path, start),
        "second": second,
        "copy_of": None,
        "photo_width": photo.shape[1],
        "photo_height": photo.shape[0],
        "latitude": latitude,
        "longitude": longitude,
    }
    return result | {"row": origin | result["row"]}


def title_of(row):
    """Row of `damage` -> title of its figure: what was found, and where the scale is from."""
    return f"{row['photo']}: {sentence(row)}\n{scale_words(row)}"


def survey_photo(path, start, options):
    """Write START_mask.png (0 and 255), _overlay.jpg, perhaps _figure.png, and last the record; returns that."""
    photo = read_one(path)
    seen = examine(photo, path, options)
    result = with_origin(seen.result, path, start, photo, options.places)
    row = result["row"]
    write_image(beside(start, MASK), 255 * seen.mask)
    marked = overlay(seen.photo, seen.flat_mask, seen.measured, row)
    write_image(beside(start, OVERLAY), marked)
    if options.figures:
        fig = figure(seen.photo, seen.probability, seen.flat_mask, marked, title_of(row))
        save_figure(beside(start, FIGURE), fig)
    else:
        beside(start, FIGURE).unlink(missing_ok=True)  # an earlier one would show another mask
    return save_record(start, path, options.made_with(path), [result])


def survey_video(path, start, options):
    """Write START_cracks.mp4, its frames with the cracks drawn in, and last the record; returns that."""
    rate = min(1 / options.every, video.frame_rate(path))
    results = []
    with video.written_video(beside(start, VIDEO), rate) as add:
        for _, second, frame in tqdm(video.read_frames(path, options.every), path.name, leave=False, unit="frame"):
            seen = examine(frame, path, options)
            if seen.result["from_above"]:
                raise BadInput(f"{path}: a sheet or marker is for photos; give --mm-per-pixel or --reference")
            result = with_origin(seen.result, path, start, frame, options.places, second)
            number = add(overlay(frame, seen.mask, seen.measured, result["row"]), second)
            results.append(result | {"frame": number})  # in the video that is written
    return save_record(start, path, options.made_with(path), results)


def is_video(path):
    """Is the file a video, by its suffix?"""
    return path.suffix.lower() in video.SUFFIXES


def result_files(path, start, figures):
    """The files that survey_photo or survey_video leaves, besides the record."""
    if is_video(path):
        return [beside(start, VIDEO)]
    ends = [MASK, OVERLAY, FIGURE] if figures else [MASK, OVERLAY]
    return [beside(start, end) for end in ends]


def kept_record(path, start, options, figures=False):
    """The record of a photo or video that an earlier call finished with the same options; else None."""
    try:
        made_with = options.made_with(path)
    except OSError:  # gone, or a broken link: reading it will say so
        return None
    return finished(start, made_with, result_files(path, start, figures))


def records_of(todo, names, out, options):
    """Yields (file, function that returns its record or raises one of PHOTO_ERRORS): photos in threads, then videos."""
    photos = [path for path in todo if not is_video(path)]
    for path, record in in_threads(lambda path: survey_photo(path, out / names[path], options), photos):
        yield path, record.result
    for path in filter(is_video, todo):  # not in a thread, which Ctrl-C would not stop
        yield path, partial(survey_video, path, out / names[path], options)


def survey_all(todo, names, out, options):
    """Files to do now, {file: name of its results}, their folder -> [(file, line about it)] of those that failed."""
    failed = []
    hidden = len(todo) < 2 or distributed.rank() > 0
    waiting = records_of(todo, names, out, options)
    for path, record_of_file in tqdm(waiting, total=len(todo), disable=hidden or None, unit="photo"):
        try:
            record = record_of_file()
        except PHOTO_ERRORS as error:
            failed.append((path, error_line(path, error)))
            continue
        if len(names) <= FEW:
            rows = [result["row"] for result in record["results"]]
            tqdm.write(f"{path}: {film_sentence(rows) if is_video(path) else sentence(rows[0])}")
    return failed


def arguments(argv):
    parser = flags(
        "Measure the cracks in many photos, a folder or a video. For each photo this writes NAME_mask.png (0 and 255), "
        "NAME_overlay.jpg (cracks coloured by width), NAME_cracks.json and, for up to 20 photos, NAME_figure.png; for "
        "a video NAME_cracks.mp4. For all together: report.html, cracks.csv and cracks.json. Run the same command "
        "again to continue after an interruption.",
        "python survey.py photos/",
        "python survey.py photos/ --find-sheet a4 --prices data/prices.csv",
        "python survey.py photos/ --marker-mm 100 --out results --figures --no-places",
        "python survey.py photos/ --camera-height-mm 1500 --threshold 0.4",
        "python survey.py road.jpg --reference 100,200,900,210,500 --flips",
        "python survey.py road.jpg --mm-per-pixel 0.4 --scale 1 --checkpoint runs/first --device cpu",
        "python survey.py drive.mp4 --every 0.5",
        "torchrun --nproc-per-node 4 survey.py photos/",
        common=["device"],
    )
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="photo or video, or folder of photos")
    add_network_flags(parser, "survey-results")
    add_scale_flags(parser)
    add("--prices", type=Path, metavar="CSV", help="unit prices, such as data/prices.csv: adds a budget")
    add("--no-places", action="store_true", help="leave out where the photos were taken (GPS position in their EXIF)")
    add(
        "--every",
        type=number(float, above=0),
        default=1.0,
        metavar="SECONDS",
        help="seconds between analysed frames (default: 1)",
    )
    args = parser.parse_args(argv)
    if args.prices and not scale_options(args).given:
        parser.error(f"--prices {args.prices}: a budget needs a scale; give one of {', '.join(SCALE_FLAGS)}")
    return args


def main(argv=None):
    args = arguments(argv)
    device = choose_device(args.device)
    try:
        with distributed.joined(device):
            return survey(args, device)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("run the same command again to continue") from None


def survey(args, device):
    """The command, in each process of torchrun: each surveys its share, and process 0 writes tables and report."""
    names = names_in(args.out, list_photos(args.photos, args.out))
    prices = read_prices(args.prices) if args.prices else None
    checkpoint = args.checkpoint or newest_run()
    options = options_of(args, checkpoint, device, len(names), prices)
    results_folder(args.out)
    made_with = f"{short(checkpoint)} at threshold {options.threshold:.2f}"
    print(f"{number_of(len(names), noun(names))} with {made_with} on {device}")
    warning = warning_about(checkpoint)
    if warning:
        print(f"WARNING: {warning}")
    todo = still_to_do(names, args.out, options)
    failed = survey_all(distributed.share(todo), names, args.out, options)
    failed = sorted(distributed.gathered(failed))
    if distributed.rank() > 0:
        return 0
    results, files, starts = collect(names, args.out, options)
    failed += changed_since(names, files, failed)
    summarise(args.out, Findings(results, files, starts, failed, made_with, prices))
    return exit_code([line for _, line in failed], len(names))


def noun(files, mixed="file"):
    """What to call one of these files on the screen: "photo", or `mixed` where a video is among them."""
    return mixed if any(map(is_video, files)) else "photo"


def short(checkpoint):
    """The checkpoint's path inside this repository, else its last two parts: reports are handed on to others."""
    path = Path(checkpoint).resolve()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT)
    return Path(*path.parts[-2:])


def options_of(args, checkpoint, device, count, prices):
    """The flags for so many files -> Options. Raises BadInput."""
    model, preprocess, threshold = open_model(checkpoint, device)
    return Options(
        model=fused(model),
        preprocess=preprocess,
        weights=hashlib.sha1(weights_file(checkpoint).read_bytes()).hexdigest(),
        threshold=threshold if args.threshold is None else args.threshold,
        factor=args.scale,
        flips=args.flips,
        scale=scale_options(args),
        width_edges_mm=width_edges(prices) if prices else WIDTH_EDGES_MM,
        every=args.every,
        figures=args.figures or count <= FEW,
        places=not args.no_places,
    )


def still_to_do(names, out, options):
    """The files that have no finished results yet, the same list in every process; says what is kept or replaced."""
    mine = [
        path
        for path in distributed.share(list(names))
        if kept_record(path, out / names[path], options, options.figures) is None
    ]
    replaced = [path for path in mine if read_record(out / names[path])]
    todo, replaced = distributed.gathered(mine), distributed.gathered(replaced)  # before a process finishes anything
    if replaced:
        reason = "they come from another network, other flags or changed files; another --out would keep them"
        print(f"note: the results of {number_of(len(replaced), noun(replaced))} in {out} are overwritten: {reason}")
    if len(todo) < len(names):
        print(f"{len(names) - len(todo)} of {len(names)} are finished, with the same flags; kept")
    return todo


def collect(names, out, options):
    """Read back all finished results -> results, files, starts as in Findings."""
    records = {path: kept_record(path, out / name, options) for path, name in names.items()}
    records = {path: record for path, record in records.items() if record}
    copied = copies(list(records))
    results, files, starts = [], [], []
    for path, record in records.items():
        for result in record["results"]:
            if path in copied:
                original = records[copied[path]]["results"][0]["row"]["photo"]
                result["row"]["copy_of"] = original
            results.append(result)
            files.append(path)
            starts.append(out / names[path])
    for path, original in copied.items():
        print(f"note: {path} is a duplicate of {original}, counted once")
    return results, files, starts


def changed_since(names, files, failed):
    """All files, those with results, (file, line) of those that failed -> (file, line) of all others."""
    known = {*files, *(path for path, _ in failed)}
    return [
        (path, f"{path}: changed or removed during the survey; run the same command again")
        for path in names
        if path not in known
    ]


def summarise(out, found):
    """Findings -> tables and report in the folder, and what was found on the screen."""
    if not found.results:
        if len(found.failed) > 1:  # of a single file, the error says all
            print(f"no file could be used; nothing to report in {out}/")
        return
    write_tables(out, found)
    write_report(out / "report.html", found)
    cracked = sum(result["row"]["crack_area_px"] > 0 for result in found.originals)
    pictures = number_of(len(found.originals), noun(found.files, "picture"))
    print(f"cracks in {cracked} of {pictures}: {out}/report.html, cracks.csv, cracks.json")
    for warning in warnings_about(found.rows):
        print(f"WARNING: {warning}")
    doubtful = [row for row in found.rows if row.get("scale_note")]
    if doubtful:
        print(f"WARNING: check the scale of {number_of(len(doubtful), 'picture')}: {doubtful[0]['scale_note']}")
    print(budget_line(found) if found.scaled else NO_SCALE)


if __name__ == "__main__":
    execute(main)
