"""Turn a folder of photos and a folder of mask images into one COCO export, laid out as Roboflow does."""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import BadInput, execute, flags, some, tally
from formats.annotate import export_folder, mask_to_annotations, write_annotations
from formats.coco import MOSTLY, MOSTLY_CRACK
from formats.masks import MaskFolder
from formats.photo import BESIDE_PHOTOS, RESULTS, SUFFIXES, left_out, photos_in, pictures_in, read_mask, read_photo


def arguments(argv):
    parser = flags(
        f"{__doc__} Masks are white (255, or 1) on black, PNG or JPEG; grey counts from half white on. road7.jpg goes "
        "with road7.png or road7_mask.png. An undamaged photo has an all-black mask. The masks read back from the "
        "export are the same, pixel by pixel.",
        "python data/convert.py SUT/images SUT/masks data/sut",
        common=(),
    )
    parser.add_argument("photos", type=Path, help="folder with the photos")
    parser.add_argument("masks", type=Path, help="folder with one mask image for each photo, of the photo's size")
    parser.add_argument("out", type=Path, help="folder to write the export to")
    return parser.parse_args(argv)


def check_folder(folder):
    """Raises BadInput where there is no such folder."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; check the name")


def with_masks(photos, masks):
    """Photo paths, MaskFolder -> {photo: path of its mask}. Raises BadInput."""
    found, lonely = {}, []
    for photo in photos:
        candidates = masks.candidates(photo.name)
        if len(candidates) > 1:
            raise BadInput(f"{photo}: {some(mask.name for mask in candidates)} could be its mask; keep one")
        if not candidates:
            lonely.append(photo.name)
            continue
        masks.claim(candidates[0], photo.name)
        found[photo] = candidates[0]
    if lonely:
        raise BadInput(f"{some(lonely)}: no mask; draw one with the same name, all black if the photo shows no crack")
    return found


def convert_pair(photo, mask, folder):
    """Copies the photo into the folder -> (mask, row of the export). Raises BadInput."""
    truth = read_mask(mask)
    pixels = read_photo(photo)
    if pixels.shape[:2] != truth.shape:
        raise BadInput(
            f"{mask}: mask is {truth.shape[1]}×{truth.shape[0]}, its photo {photo.name} is "
            f"{pixels.shape[1]}×{pixels.shape[0]}; save it at the photo's size"
        )
    shutil.copyfile(photo, folder / photo.name)
    return truth, (photo.name, *truth.shape, mask_to_annotations(truth))


def convert(photos, masks, out):
    """Folder of photos, folder of masks -> COCO export at `out`; returns {photo's name: share of it that is crack}.

    Prints what is not used. Raises BadInput.
    """
    check_folder(photos)
    check_folder(masks)
    if photos.resolve() == masks.resolve():
        raise BadInput(f"{photos}: given for the photos and for the masks; put the masks into a folder of their own")
    pairs = with_masks(photos_in(photos), MaskFolder(masks))
    others = left_out(photos, pairs, silent=BESIDE_PHOTOS)
    if others:
        print(f"note: {photos}: skipped {others}")
    pictures = [path for path in pictures_in(masks) if not path.name.endswith(RESULTS[1:])]  # no overlays of our own
    used = set(pairs.values())
    unused = [mask.name for mask in pictures if mask not in used]
    if unused:
        print(f"note: {masks}: no photo goes with {some(unused)}")
    if not pairs:
        raise BadInput(f"{photos}: no photo in this folder; it takes {', '.join(sorted(SUFFIXES))}")
    rows, cracked = [], {}
    with export_folder(out) as folder:
        for photo, mask in tqdm(pairs.items(), desc="converting", unit="photo", leave=False):
            truth, row = convert_pair(photo, mask, folder)
            rows.append(row)
            cracked[photo.name] = float(truth.mean())
        write_annotations(folder, rows, "data/convert.py")
    return cracked


def main(argv=None):
    args = arguments(argv)
    cracked = convert(args.photos, args.masks, args.out)
    mostly = [f"{name} ({share:.0%})" for name, share in cracked.items() if share > MOSTLY]
    if mostly:
        print(f"WARNING: {MOSTLY_CRACK}: {some(mostly)}")
    print(f"{args.out}: {tally(len(cracked), sum(share > 0 for share in cracked.values()))}")


if __name__ == "__main__":
    execute(main)
