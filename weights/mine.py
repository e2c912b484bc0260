"""Hard negatives: of an export's undamaged photos, those in which a network finds a crack, as an export of their own.

    python weights/mine.py data/undamaged --checkpoint runs/average4 --out data/hard

Trained on, they teach the network what looks like a crack and is none (Shrivastava et al. 2016, "Training region-based
object detectors with online hard example mining", does the same within each batch).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from tqdm import tqdm

from command import BadInput, Parser, choose_device, execute, number_of
from formats.annotate import check_other_folder, write_copies
from formats.coco import Photo, read_export
from inference import crack_mask, open_model
from model import fused, predict

DOUBTFUL = 0.3  # probability; lower than the threshold, so that near misses are learnt from, too


def false_alarms(photos, model, preprocess):
    """[Photo] -> those without a crack in which the network finds one."""
    found = []
    for photo in tqdm([photo for photo in photos if not photo.cracked], "looking for cracks", unit="photo"):
        picture, _ = photo.read()
        mask, _ = crack_mask(predict(model, preprocess, picture), DOUBTFUL)
        if mask.any():
            found.append(photo)
    return found


def arguments(argv):
    parser = Parser(description=__doc__)
    parser.add_argument("data", type=Path, help="COCO export")
    parser.add_argument("--checkpoint", type=Path, required=True, help="run folder or best.pt of the network")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the export to")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    export = read_export(args.data)
    check_other_folder(args.out, export.root)
    model, preprocess, _ = open_model(args.checkpoint, choose_device("auto"))
    found = false_alarms(export.photos, fused(model), preprocess)
    if not found:
        raise BadInput(f"{args.data}: no false alarm in its undamaged photos; there is nothing to learn from them")
    write_copies(args.out, found, Photo.mask, "weights/mine.py")
    print(f"{args.out}: {number_of(len(found), 'false alarm')}")


if __name__ == "__main__":
    execute(main)
