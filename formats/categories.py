"""Which categories of an export mean crack: names decide, ids never do."""

import re

from command import BadInput, some

CRACK = {"crack", "cracks", "cracked", "cracking", "crackings"}
MISSPELT = {"crank", "cranks", "crak", "craks", "crac", "cracs", "crck", "carck", "cracck"}
DIRECTION = {"longitudinal", "transverse", "transversal", "lateral", "diagonal", "oblique", "horizontal", "vertical"}
PATTERN = (
    {"alligator", "crocodile", "map", "block", "net", "network", "mesh", "fatigue", "edge", "reflection"}
    | {"reflective", "slippage", "shrinkage", "thermal", "hairline", "branched", "branching", "single"}
    | {"multiple", "linear", "wheel", "path", "wheelpath", "abnormal"}
)
SEVERITY = (
    {"low", "medium", "moderate", "high", "severe", "mild", "light", "heavy", "minor", "major", "slight"}
    | {"small", "large", "big", "thin", "thick", "fine", "wide", "narrow", "micro", "macro", "severity"}
    | {"level", "type", "class"}
)
MATERIAL = {"asphalt", "pavement", "road", "concrete", "bitumen", "bituminous", "tarmac", "cement", "surface"}
QUALIFIERS = DIRECTION | PATTERN | SEVERITY | MATERIAL
DENIALS = {"no", "non", "not", "un", "without", "free", "false", "never", "zero"}
FILLERS = {"a", "an", "any", "the", "of", "from", "visible", "found", "detected", "present"}  # inside a denial
SOUND = {"undamaged", "normal", "intact", "background", "healthy"}


def words_of(name):
    """A category's name -> its words in small letters: "UnCracked_low" -> ["un", "cracked", "low"]."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    name = re.sub(r"(crack(?:ings?|ed|s)?)", r" \1 ", name.lower())  # alligatorcrack, uncracked, crackfree
    return re.findall(r"[^\W\d_]+", name)  # a number beside a name says nothing about it


def is_crack(words):
    """Whether the words are a spelling of crack, alone or with a direction, pattern, severity or material."""
    others = [word for word in words if word not in CRACK | MISSPELT]
    return len(others) < len(words) and all(word in QUALIFIERS for word in others)


def is_denial(words):
    """Whether the words deny a crack: "not a crack", "free of cracks", "crack-free", "uncracked"."""
    if not words:
        return False
    if words[0] in DENIALS:
        rest = words[1:]
    elif words[-1] in ("free", "less"):
        rest = words[:-1]
    else:
        return False
    return is_crack([word for word in rest if word not in FILLERS])


def says_crack(name):
    """True for a known form of crack, False for a name that denies it or says undamaged, None for anything else."""
    words = words_of(name)
    if is_crack(words):
        return True
    sound = any(word in SOUND for word in words) and all(word in SOUND | MATERIAL for word in words)
    return False if sound or is_denial(words) else None


def read_categories(names, used, classes, file):
    """{name: "crack", "not crack" or "unused"} of an export's category names. Raises BadInput.

    `names` are all of them and `used` those that some annotation has; `classes` are the names that the user says mean
    crack, None where the names speak for themselves.
    """
    names, used = sorted(names), sorted(used)
    wanted = {name.strip().lower() for name in classes or ()}
    check_classes(wanted, names, used, file)
    meaning = {}
    for name in names:
        meaning[name] = name.strip().lower() in wanted if wanted else says_crack(name)
    found = some(map(repr, names), 20) or "none"
    unclear = [name for name in used if meaning[name] is None]
    if unclear:
        raise BadInput(
            f"{file}: cannot tell whether {some(map(repr, unclear))} means crack; classes found: {found}; "
            "name all classes that mean crack with --classes NAME ..."
        )
    if not any(meaning.values()):
        raise BadInput(f"{file}: no crack class; classes found: {found}; name it with --classes NAME ...")
    words = {True: "crack", False: "not crack"}
    return {name: words[meaning[name]] if name in used else "unused" for name in names}


def check_classes(wanted, names, used, file):
    """Raises BadInput where a class that the user named is in no category, or none of them has an annotation."""
    there = {name.strip().lower() for name in names}
    drawn = {name.strip().lower() for name in used}
    lost = wanted - there
    if not wanted & drawn:  # beside a class that some annotation has, one that none has may stand
        lost = lost or wanted
    if lost:
        raise BadInput(
            f"{file}: no annotation has the class {sorted(lost)[0]!r}; classes that some have: "
            f"{some(map(repr, used), 20) or 'none'}; correct --classes"
        )
