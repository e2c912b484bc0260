"""Which photo of an export a listed file name means, where it is not the path of one.

Tools write names that other machines do not have: with the folders of a server in front, with backslashes, percent-
encoded, or with accents stored in another way (Unicode NFC and NFD).
"""

import difflib
import os
import unicodedata
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import unquote

from formats.photo import SUFFIXES, visible

COMPARED = 20  # names for which the most similar file is looked for: comparing them all would take minutes


def pictures_below(folder):
    """Every picture in a folder and its sub-folders, without hidden ones and without links to elsewhere."""
    for path in visible(folder):
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from pictures_below(path)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def slashes(name):
    """A name with / between folders."""
    return name.replace("\\", "/")


def plain(name):
    """A name in one Unicode form, with / between folders."""
    return unicodedata.normalize("NFC", slashes(name))


def decoded(name):
    """The same with %20 and the like decoded."""
    return plain(unquote(name))


def answers(names, top, taken):
    """File names that are the path of no photo -> {name: (path or None, detail)}.

    `top` is the folder of the export, `taken` its photos that other names are the path of. A name means the photo of
    the same file name; among several of that name, the one that shares most of the folders before it. Where two photos
    fit equally well, or two names mean the same photo, the path is None. `detail` says why, or
    which file has the most similar name.
    """
    paths = {path.relative_to(top).as_posix(): path for path in pictures_below(top) if path not in taken}
    meant = meanings(names, list(paths))
    claims = Counter(path for fitting in meant.values() for path in fitting)
    found = {}
    for number, (name, fitting) in enumerate(meant.items()):
        if len(fitting) > 1:
            found[name] = (None, f"it could be {fitting[0]} or {fitting[1]}")
        elif fitting and claims[fitting[0]] > 1:
            found[name] = (None, f"{fitting[0]} could be this photo or another listed one")
        elif fitting:
            found[name] = (paths[fitting[0]], "")
        else:
            found[name] = (None, most_similar(name, paths) if number < COMPARED else "")
    return found


def meanings(names, paths):
    """{name: those of the paths that it fits best}."""
    meant = dict.fromkeys(names, ())
    for form in (plain, decoded):
        called = {}  # file name -> the paths that end with it
        for path in paths:
            called.setdefault(PurePosixPath(form(path)).name, []).append(path)
        for name in names:
            wanted = parts(form(name))
            if wanted and not meant[name]:
                meant[name] = best(wanted, called.get(wanted[-1], []), form)
    return meant


def best(wanted, paths, form):
    """Those of the paths that share the most of their last parts with the wanted ones."""
    shared = {path: shared_end(wanted, parts(form(path))) for path in paths}
    return [path for path in paths if shared[path] == max(shared.values())]


def parts(name):
    """The folders and the file of a name; what leads upwards is taken away."""
    return [part for part in PurePosixPath(name).parts if part not in ("..", ".", "/")]


def shared_end(one, other):
    """How many of the last parts of two names are equal."""
    return len(os.path.commonprefix([one[::-1], other[::-1]]))  # it takes any two sequences, not only paths


def most_similar(name, paths):
    """ "but NAME is there", with the path whose file is named most like the listed one, or ""."""
    files = {PurePosixPath(path).name.lower(): path for path in paths}
    wanted = PurePosixPath(decoded(name)).name.lower()
    close = difflib.get_close_matches(wanted, files, n=1, cutoff=0.6)
    return f"but {files[close[0]]} is there" if close else ""
