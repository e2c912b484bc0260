"""Rank the submissions of a class on photos that only the teacher has."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from command import BadInput, choose_device, execute, flags, number_of, results_folder
from evaluate import add_data_flags, choose_photos, known_photos, open_network, score
from formats.masks import CHECKPOINTS, MaskFolder, MissingMask, located
from formats.photo import expand, pictures_in, visible
from report.ranking import MISSING, UNUSABLE, Entry, Problem, rank
from runs import Run, run_of, warning_about

PACKED = (".zip", ".rar", ".7z", ".tar", ".gz")  # counts as a submission, though only .zip can be opened
NEITHER = "neither a folder or .zip of masks, nor a run folder, nor a checkpoint (.pt)"


class Forgiving:
    """A predictor for which a missing or unusable mask is an empty one, noted in `problems`.

    One student's slip must not stop the scoring of a class.
    """

    def __init__(self, predictor):
        self.predictor = predictor
        self.problems = []

    def __call__(self, item, photo):
        try:
            return self.predictor(item, photo)
        except MissingMask as error:
            self.problems.append(Problem(item.name, MISSING, str(error)))
        except BadInput as error:
            self.problems.append(Problem(item.name, UNUSABLE, str(error)))
        return all_black(item, photo)


def all_black(item, photo):
    """A predictor that finds no crack."""
    return np.zeros(photo.shape[:2], np.uint8), None


def open_submission(name, path, device):
    """Name and path of a submission -> (Network or MaskFolder, where it lies: inside a .zip it is unpacked).

    Raises BadInput, with the name instead of the path.
    """
    place = path
    try:
        place = located(path)
        if place.is_file() and place.suffix.lower() not in CHECKPOINTS:
            raise BadInput(f"{path}: {NEITHER}")
        run = Run(place)
        if place.is_file() or run.best.is_file():
            return open_network(place, device), place
        if run.last.is_file():
            raise BadInput(f"{path}: a run folder without {run.best.name}: no epoch was finished; ask for that file")
        return MaskFolder(place, name), place
    except BadInput as error:
        raise named(error, (place, path), name) from None


def named(error, paths, name):
    """An error whose message begins with one of the paths -> the same with the submission's name in its place."""
    message = str(error)
    for path in map(str, paths):
        if message.startswith(path):
            return BadInput(name + message.removeprefix(path))
    return error


def note_on(predictor, place):
    """A sentence about files in a submission that are not used although they might be meant, or ""."""
    if isinstance(predictor, MaskFolder):
        return predictor.note()
    if not place.is_dir():
        return ""
    pictures = [file for file in pictures_in(place) if file != Run(place).curves]
    if not pictures:
        return ""
    return f"a run folder with {number_of(len(pictures), 'picture')} in it; the network is scored, not these"


def score_submission(name, path, test, device):
    """Score one submission on a PhotoSet -> Entry. What cannot be opened counts as empty."""
    try:
        predictor, place = open_submission(name, path, device)
    except BadInput as error:
        problems = [Problem(item.name, UNUSABLE, str(error)) for item in test.photos]
        return Entry(score(test.photos, all_black, name, test.title), problems)
    forgiving = Forgiving(predictor)
    scored = score(test.photos, forgiving, name, test.title)
    if len(forgiving.problems) < len(test.photos):
        note = note_on(predictor, place)
        if note:
            print(f"note: {name}: {note}")
        scored = replace(scored, note=note)
        is_network = not isinstance(predictor, MaskFolder)
        if is_network or run_of(place).splits.is_file():
            scored = replace(scored, known=known_photos(test.photos, place, name))
        if is_network:
            scored = replace(scored, doubt=warning_about(place))
    return Entry(scored, forgiving.problems)


# ------------------------------------------------------------------------------------------------- who takes part
def is_stray(path):
    """A file that nobody hands in, such as a list of names."""
    return path.is_file() and path.suffix.lower() not in (*CHECKPOINTS, *PACKED)


def without_strays(paths):
    """Paths on the command line -> (those of submissions, those left out). Raises BadInput."""
    for path in paths:
        if not path.exists():
            raise BadInput(f"{path}: no such folder or file; check the name")
    strays = [path for path in paths if is_stray(path)]
    if len(strays) == len(paths):
        raise BadInput(f"{paths[0]}: {NEITHER}")
    for path in strays:
        print(f"note: {path}: left out, {NEITHER}")
    if len(paths) == 1 and paths[0].is_dir() and not Run(paths[0]).best.exists() and not pictures_in(paths[0]):
        held = [path for path in visible(paths[0]) if path.is_dir() or not is_stray(path)]
        if len(held) > 1:
            raise BadInput(f"{paths[0]}: holds {len(held)} submissions; to rank them give {paths[0]}/*")
    return [path for path in paths if path not in strays], strays


def submission_names(paths):
    """Paths -> the shortest name that tells each from the others: of anna/masks and ben/masks "masks" is not enough.

    Prints a note where a folder and a .zip of one name lie side by side. Raises BadInput for a path given twice.
    """
    places = [path.resolve().parent if path == run_of(path).best else path.resolve() for path in paths]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise BadInput(f"{paths[i]}: given twice; name each submission once")
    bare = [place.stem if place.is_file() else place.name for place in places]
    for i, place in enumerate(places):
        for k in range(i):
            if bare[k] == bare[i] and places[k].parent == place.parent:
                print(f"note: {paths[k]} and {paths[i]}: if one student handed in both, leave one out")
    names, length = bare, 1
    while len(set(names)) < len(names):
        longer = ["/".join(place.parts[-length:]) for place in places]
        names = [name if names.count(name) == 1 else more for name, more in zip(names, longer, strict=True)]
        length += 1
    return names


def arguments(argv):
    parser = flags(
        "Rank submissions on photos that only you have: folders or .zip files of masks (NAME_mask.png or NAME.png for "
        "photo NAME.jpg, same size as the photo, crack 255 on 0), run folders and checkpoints. Writes ranking.html, "
        "ranking.csv, photos.csv and counted_as_empty.csv. A missing or unusable mask counts as empty.",
        "python rank.py submissions/* --data hidden-export",
        "python rank.py anna.zip ben/ runs/first --data hidden-export --split all",
        common=["device"],
    )
    add = parser.add_argument
    add("submissions", nargs="+", metavar="SUBMISSION", help="folder or .zip of masks, run folder or checkpoint")
    add("--data", required=True, help="folder or .zip of a COCO export with the ground truth")
    add_data_flags(parser)
    add("--out", type=Path, default=Path("ranking"), metavar="FOLDER", help="folder for results (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    device = choose_device(args.device)
    paths, strays = without_strays(expand(args.submissions))
    names = submission_names(paths)
    test = choose_photos(None, args.data, args.split, args.splits, args.classes)
    if not any(photo.cracked for photo in test.photos):
        raise BadInput(f"{test.title}: no photo has a crack, so nothing can be ranked; choose another --split")
    print(f"{number_of(len(paths), 'submission')} on {test.title}", flush=True)
    results_folder(args.out)
    entries = []
    for name, path in zip(names, paths, strict=True):
        entries.append(score_submission(name, path, test, device))
    if all(entry.nothing_usable for entry in entries):
        reason = entries[0].problems[0].reason
        raise BadInput(f"{test.title}: no submission has a usable mask for these photos; check --data. First: {reason}")
    rank(entries, [path.name for path in strays], args.out)
    return 0


if __name__ == "__main__":
    execute(main)
