"""What a survey has found, on disk: one record for each photo or video, then the tables made from all of them.

A record is a JSON file, written last, so that it says: this photo is done. A stopped survey continues from the records.
"""

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from command import BadInput, write_csv, write_json
from formats.batch import beside, different, long_name, result_names
from quantify.budget import estimate

RECORD = "_cracks.json"  # ends the name of a record
VIDEO = "_cracks.mp4"  # ends the name of a video with the cracks drawn in


def save_record(start, path, made_with, results):
    """Write START_cracks.json: the file, what its results were made with, the results; returns that as a dict."""
    record = {"file": str(path.resolve()), "made_with": made_with, "results": results}
    write_json(beside(start, RECORD), record)
    return record


def read_record(start):
    """What save_record wrote; {} if there is no such file, or it is something else."""
    try:
        record = json.loads(beside(start, RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or not record.keys() >= {"file", "made_with", "results"}:
        return {}
    return record


def finished(start, made_with, files):
    """The record of a photo or video if it was made with these values and all its files are there; else None."""
    record = read_record(start)
    if record.get("made_with") != made_with or not all(file.is_file() for file in files):
        return None
    return record


def surveyed_file(start):
    """The photo or video, a resolved Path as text, whose results lie there; "" if there are none."""
    return read_record(start).get("file", "")


def names_in(out, photos):
    """List of files, folder of results -> {file: how the names of its results begin}: see result_names, but a file
    that has results in the folder keeps their name.

    Raises BadInput where results of another photo already have that name: they would be lost.
    """
    names = result_names(photos)
    for path in photos:
        for name in (path.stem, long_name(path)):
            if surveyed_file(out / name) == str(path.resolve()):
                names[path] = name
    for path, name in names.items():
        other = surveyed_file(out / name)
        if other and other != str(path.resolve()) and Path(other).exists():  # else the photo was only moved
            where = beside(out / name, RECORD)
            raise BadInput(f"{where}: holds the results of {other}, not of {path}; give another --out")
    return different(names)


def copies(paths):
    """List of files -> {file: the first file that holds the same bytes}, of those that repeat an earlier one."""
    sizes = Counter(path.stat().st_size for path in paths)
    first, repeated = {}, {}
    for path in paths:
        if sizes[path.stat().st_size] == 1:
            continue  # no need to read it
        content = hashlib.sha1(path.read_bytes()).hexdigest()
        if content in first:
            repeated[path] = first[content]
        else:
            first[content] = path
    return repeated


@dataclass(frozen=True)
class Findings:
    """Everything that one survey found, in the order of the files.

    results: for each photo, or frame of a video, a dict of row, quantities and length_by_width, see `damage`, and
        from_above: do picture and numbers show the road from above, with the camera's tilt taken out?
        frame, for a video: the number of its picture in NAME_cracks.mp4, or None if that has no room for it
    files: for each result, the photo or video
    starts: for each result, the path that the names of its pictures begin with
    failed: (file, line about it) for each file that could not be used
    made_with: the network and its threshold, in words
    prices: list of Price, or None
    """

    results: list
    files: list
    starts: list
    failed: list
    made_with: str
    prices: list | None

    @property
    def rows(self):
        """Row of `damage` of every result."""
        return [result["row"] for result in self.results]

    @property
    def scaled(self):
        """Is there a scale, so that lengths are in metres?"""
        return bool(self.results) and self.results[0]["quantities"] is not None

    @property
    def originals(self):
        """The results without those of copies."""
        return [result for result in self.results if result["row"]["copy_of"] is None]

    @property
    def photos(self):
        """The results that are added up: no copies, and no frames of videos, which show the same road several times."""
        return [result for result in self.originals if result["row"]["second"] is None]

    @property
    def quantities(self):
        """The sums over the photos, or None without a scale or without photos.

        Their uncertainties are added up, not their squares, because all photos share one scale.
        """
        if not self.scaled or not self.photos:
            return None
        return total_quantities([result["quantities"] for result in self.photos])

    @property
    def budget(self):
        """What `estimate` gives, or None without prices or quantities."""
        if self.prices is None or self.quantities is None:
            return None
        return estimate(self.quantities, self.prices)


def total_quantities(parts):
    """List of what measure.quantities gave, for the same width classes -> their sum, without the widths."""
    keys = ("seal_m", "seal_plus_minus_m", "patch_m2", "patch_plus_minus_m2")
    total = {key: sum(part[key] for part in parts) for key in keys}
    total["seal"] = []
    for number, width_class in enumerate(parts[0]["seal"]):
        upper = width_class["width_to_mm"]
        total["seal"].append(
            {
                "width_from_mm": width_class["width_from_mm"],
                "width_to_mm": math.inf if upper is None else upper,  # JSON has no infinity
                "length_m": sum(part["seal"][number]["length_m"] for part in parts),
                "plus_minus_m": sum(part["seal"][number]["plus_minus_m"] for part in parts),
            }
        )
    return total


def cell(column, value):
    """A value as it is written into cracks.csv: numbers with six digits, positions on earth to a decimetre."""
    if not isinstance(value, float):
        return value
    return f"{value:.6f}" if column in ("latitude", "longitude") else f"{value:.6g}"


def write_tables(out, found):
    """Folder, Findings -> cracks.csv and cracks.json there."""
    columns = list(dict.fromkeys(key for row in found.rows for key in row))
    cells = [[cell(column, row.get(column)) for column in columns] for row in found.rows]
    write_csv(out / "cracks.csv", columns, cells)
    content = {"made_with": found.made_with, "photos": found.results}
    content["failed"] = [line for _, line in found.failed]
    if found.quantities:
        content |= {"quantities": found.quantities, "budget": found.budget}
    write_json(out / "cracks.json", content)
