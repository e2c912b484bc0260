"""An export that comes as one .zip file -> the folder beside it, unpacked atomically.

A zip may come from anywhere. One with an entry that points outside, a link, a password or far more content than its
size suggests is refused before anything is written.
"""

import contextlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from command import BadInput, in_short, quoted

MOST_FILES, MOST_GIGABYTES = 200_000, 20  # that are unpacked
MOST_RATIO = 200  # of unpacked to packed size: photos hardly shrink, a bomb grows 1000 times
MOST_LETTERS = 250  # of a file name, in UTF-8: what common file systems take
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, NotImplementedError)
CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError)  # one name twice, or for a file and a folder
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
JUNK = ("__MACOSX", ".DS_Store", ".ipynb_checkpoints")  # left behind by a Mac and by Jupyter, never part of an export


def unpacked(file, keep, into=None):
    """export.zip -> the folder `export` beside it, or `into`, with the zip's content. Raises BadInput.

    Where all of it lies in one inner folder, that folder is left out, unless its name in small letters is in `keep`:
    the names of the parts of an export. With names to keep the zip must hold a COCO file; a zip of masks keeps none.

    A folder that is there already is used as it is, if every file of the zip is in it with its size, and every JSON
    file with its content. Otherwise it is refused and never overwritten.
    """
    folder = into or file.with_suffix("")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = entries_by_path(file, archive, keep)
            if not folder.exists():
                unpack(archive, entries, folder)
                if not into:
                    print(f"{file}: unpacked to {folder}")
    except (*DAMAGED, *CLASHES) as error:
        raise BadInput(f"{file}: damaged, or not a zip ({in_short(error)}); download it again") from None
    for name, entry in entries.items():
        if not is_same(folder / name, entry):
            raise BadInput(
                f"{folder}: differs from {file.name}, {quoted(name)} is missing or another file; rename or delete "
                "the folder to unpack the zip again, or give the folder to use what lies there"
            )
    return folder


def is_same(path, entry):
    """Whether a file is that of the zip. A photo that changes changes its size; labels may change and keep it."""
    if not path.is_file() or path.stat().st_size != entry.file_size:
        return False
    return path.suffix.lower() != ".json" or zlib.crc32(path.read_bytes()) == entry.CRC


def entries_by_path(file, archive, keep):
    """Opened zip -> {path inside the folder, with /: entry} of the files to unpack. Raises BadInput."""
    entries = {}
    for entry in archive.infolist():
        name = name_of(entry)
        parts = PurePosixPath(name).parts
        if entry.is_dir() or any(part in JUNK or part.startswith("._") for part in parts):
            continue
        problem = what_is_wrong(entry, name, parts)
        if problem is None and parts in entries:
            problem = "is in it twice"
        if problem is not None:
            raise BadInput(f"{file}: its entry {quoted(name)} {problem}; export and download it again")
        entries[parts] = entry
    check_amount(file, list(entries.values()))
    if keep and not any(parts[-1].lower().endswith(".json") for parts in entries):
        raise BadInput(f"{file}: holds no COCO file; export as COCO Segmentation")
    if not entries:
        raise BadInput(f"{file}: holds no file; make it again")
    while lie_in_one_folder(entries, keep):
        entries = {parts[1:]: entry for parts, entry in entries.items()}
    return {"/".join(parts): entry for parts, entry in entries.items()}


def lie_in_one_folder(entries, keep):
    """{path as a tuple: entry} -> does every path begin with the same folder, whose name is not to be kept?"""
    folders = {parts[0] for parts in entries if len(parts) > 1}
    files = [parts for parts in entries if len(parts) == 1]
    return len(folders) == 1 and not files and folders.pop().lower() not in keep


def name_of(entry):
    """The entry's name with /. Where the flag for UTF-8 is missing, Python reads DOS letters, but macOS wrote UTF-8."""
    name = entry.filename
    says_utf8 = entry.flag_bits & 0x800
    if not says_utf8:
        with contextlib.suppress(UnicodeError):  # then they are DOS letters
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def what_is_wrong(entry, name, parts):
    """Why an entry must not be written, in words that go on after its name, or None."""
    mode = entry.external_attr >> 16  # the upper half holds the mode of Unix
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        return "points outside"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is a link, not a file"
    if not parts or not name.isprintable() or any(len(part.encode()) > MOST_LETTERS for part in parts):
        return "has a name that no file can have"
    if entry.compress_type not in PACKINGS:
        return "is packed in another way than deflate"
    if entry.header_offset < 0:
        return "is damaged"
    if entry.flag_bits & 1:
        return "needs a password"
    return None


def check_amount(file, entries):
    """Raises BadInput where the entries are more than is unpacked."""
    packed = file.stat().st_size
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_FILES:
        problem = f"holds {len(entries)} files, more than {MOST_FILES}"
    elif size > MOST_GIGABYTES * 10**9:
        problem = f"unpacks to {size / 1e9:.0f} GB, more than {MOST_GIGABYTES}"
    elif size > MOST_RATIO * packed:
        problem = f"unpacks to {size / packed:.0f} times its size, more than {MOST_RATIO}"
    else:
        return
    raise BadInput(f"{file}: {problem}; unpack it yourself if you trust it, and give the folder")


def unpack(archive, entries, folder):
    """Write the entries into a temporary folder, then rename it: a run that is stopped leaves no half export."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        whole = Path(temporary) / folder.name
        for name, entry in entries.items():
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as source, open(path, "xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)  # stops at the size that was checked, then checks the CRC
        try:
            os.rename(whole, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster, and its folder is checked like any other
                raise
