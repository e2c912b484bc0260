"""Which categories of an export mean crack: names decide, ids never do."""

import re

from command import BadInput

MISSPELT = {"crank", "cranks", "crak", "craks", "crac", "cracs", "crck", "carck", "cracck"}
DENIED = re.compile(r"\b(un|no|non|not|without)( any)? ?crack|crack ?(free|less)\b")
SOUND = re.compile(r"\b(undamaged|normal|intact|background|healthy)\b")
REPAIRED = re.compile(r"\b(sealed|seal|filled|repaired)\b")


def says_crack(name):
    """True for a spelling of crack, False for a name that says undamaged, None for anything else."""
    name = re.sub(r"[\s_-]+", " ", name).strip().lower()
    crack, sound = "crack" in name or name in MISSPELT, bool(SOUND.search(name))
    if DENIED.search(name) or (sound and not crack):
        return False
    return True if crack and not sound and not REPAIRED.search(name) else None


def read_categories(cocos, classes, file):
    """{name: "crack", "not crack" or "unused"}: names decide, ids never do. Raises BadInput."""
    names = sorted({c["name"] for coco in cocos for c in coco.cats.values()})
    used = {coco.cats[a["category_id"]]["name"] for coco in cocos for a in coco.dataset["annotations"]}
    shown = ", ".join(map(repr, names)) or "none"
    wanted = {name.strip().lower() for name in classes or ()}
    there, drawn = ({name.strip().lower() for name in some} for some in (names, used))
    # beside a class that some annotation has, one that none has may stand
    if lost := wanted - there or (set() if wanted & drawn else wanted):
        with_some = ", ".join(map(repr, sorted(used))) or "none"
        raise BadInput(
            f"{file}: no annotation has the class {sorted(lost)[0]!r}; classes that some have: {with_some}; "
            "correct --classes"
        )
    reads = {name: name.strip().lower() in wanted if wanted else says_crack(name) for name in names}
    if unclear := [name for name in names if reads[name] is None and name in used]:
        raise BadInput(
            f"{file}: cannot tell whether {', '.join(map(repr, unclear))} means crack; classes found: {shown}; "
            "name all classes that mean crack with --classes NAME ..."
        )
    if not any(reads.values()):
        raise BadInput(f"{file}: no crack class; classes found: {shown}; name it with --classes NAME ...")
    return {n: "unused" if n not in used else "crack" if reads[n] else "not crack" for n in names}
