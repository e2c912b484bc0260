"""An export as one .zip file -> the folder beside it, unpacked whole or not at all.

A zip comes from strangers too: an entry that points outside, a link, a code word or a bomb is refused before the first
byte is written.
"""

import contextlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath

from command import BadInput

ENTRIES, GIGABYTES, RATIO = 200_000, 20, 200  # the most that is unpacked; photos hardly shrink, deflate can 1000 times
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, NotImplementedError)
CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError)  # names that are one file, or folder and file
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
JUNK = ("__MACOSX", ".DS_Store", ".ipynb_checkpoints")  # left behind by a Mac and by Jupyter, never a part of an export


def unpacked(file, keep, into=None):
    """export.zip -> the folder `export` beside it, or `into`, with the zip's content. Raises BadInput.

    Where all of it lies in one inner folder, that one is left out, unless its name in small letters is in `keep`: the
    parts of an export, which must hold a COCO file; a zip of masks has none, and keeps no folder. The unpacked
    folder is used again while it holds what the zip holds, and never overwritten.
    """
    folder = into or file.with_suffix("")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = named(file, archive, keep)
            if not folder.exists():
                unpack(archive, entries, folder)
                if not into:
                    print(f"{file}: unpacked to {folder}")
    except (*DAMAGED, *CLASHES) as error:
        raise BadInput(f"{file}: damaged, or no zip ({error!s:.80}); download it again") from None
    for name, entry in entries.items():
        if not holds(folder / name, entry):
            raise BadInput(
                f"{folder}: not what {file.name} holds, its {name!r:.80} is missing or differs; rename or delete that "
                "folder to use the zip, or give it to go on with what lies there"
            )
    return folder


def named(file, archive, keep):
    """{path inside the folder: entry} of all files in the zip. Raises BadInput where one should not be written."""
    entries = {}
    for entry in archive.infolist():
        name = name_of(entry)
        parts = PurePosixPath(name).parts
        if entry.is_dir() or any(part in JUNK or part.startswith("._") for part in parts):
            continue
        if problem := wrong(entry, name, parts) or ("stands in it twice" if parts in entries else None):
            raise BadInput(f"{file}: its entry {name!r:.80} {problem}; export again and download it anew")
        entries[parts] = entry
    if problem := too_much(list(entries.values()), file.stat().st_size):
        raise BadInput(f"{file}: {problem}; unpack it yourself if you trust it, and give the folder")
    if keep and not any(parts[-1].lower().endswith(".json") for parts in entries):
        raise BadInput(f"{file}: holds no COCO file; export as COCO Segmentation")
    if not entries:
        raise BadInput(f"{file}: holds no file; make it again")
    while len({parts[0] for parts in entries}) == 1 and all(len(parts) > 1 for parts in entries):
        if next(iter(entries))[0].lower() in keep:
            break
        entries = {parts[1:]: entry for parts, entry in entries.items()}
    return {"/".join(parts): entry for parts, entry in entries.items()}


def name_of(entry):
    """The entry's name with /. Without the flag for UTF-8 Python takes it for the letters of DOS; macOS means UTF-8."""
    name = entry.filename
    if not entry.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):  # then they are truly the letters of DOS
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def wrong(entry, name, parts):
    """Why an entry must not be written, or None."""
    if ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive:
        return "points outside"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):  # the upper half holds the mode of Unix
        return "is a link, not a file"
    if not name.isprintable() or any(len(part.encode()) > 250 for part in parts):
        return "has a name that no file can have"
    if entry.compress_type not in PACKINGS:
        return "is packed in another way than deflate"
    if entry.header_offset < 0:
        return "is damaged"
    return "needs a password" if entry.flag_bits & 1 else None


def too_much(entries, packed):
    """Why the entries are more than is unpacked from `packed` bytes, or None."""
    size = sum(entry.file_size for entry in entries)
    if len(entries) > ENTRIES:
        return f"holds {len(entries)} files, more than {ENTRIES}"
    if size > GIGABYTES * 10**9:
        return f"unpacks to {size / 1e9:.0f} GB, more than {GIGABYTES}"
    return f"unpacks to {size / packed:.0f} times its size, more than {RATIO}" if size > RATIO * packed else None


def unpack(archive, entries, folder):
    """Write the entries into a folder of another name, then give it its own: a killed run leaves no half export."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        whole = os.path.join(temporary, folder.name)
        for name, entry in entries.items():
            path = os.path.join(whole, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(entry) as source, open(path, "xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)  # ends at the size that was checked, then checks the CRC
        try:
            os.rename(whole, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster; what it wrote is compared like any other
                raise


def holds(path, entry):
    """Is the file the entry, byte for byte as far as size and CRC can tell?"""
    if not path.is_file() or path.stat().st_size != entry.file_size:
        return False
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum == entry.CRC
