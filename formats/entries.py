"""What the entries of a COCO file must say before they can be put together."""

import re
from collections import Counter

REQUIRED = {
    "images": {"id": int, "file_name": str, "height": int, "width": int},
    "categories": {"id": int, "name": str},
    "annotations": {"image_id": int, "category_id": int},
}


def whole_number(value):
    """3, 3.0, "3" or "3.0" -> 3; None for anything else. Some tools write ids and sizes as floats or text."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        digits = re.fullmatch(r"\s*([0-9]{1,30})(\.0*)?\s*", value)
        return int(digits[1]) if digits else None
    return None


def check_entries(content):
    """Makes ids and sizes of a COCO file's content whole numbers, in place.

    Raises ValueError, naming the entry, where images, categories and annotations cannot be told apart or put together.
    """
    for kind, keys in REQUIRED.items():
        check_keys(kind, content[kind], keys)
    for kind in ("images", "categories"):
        for number, times in Counter(entry["id"] for entry in content[kind]).items():
            if times > 1:
                raise ValueError(f"id {number} stands for several {kind}")
    images = {entry["id"] for entry in content["images"]}
    categories = {entry["id"] for entry in content["categories"]}
    for number, entry in enumerate(content["annotations"]):
        if entry["image_id"] not in images or entry["category_id"] not in categories:
            raise ValueError(f"entry {number} of annotations belongs to no listed image and category")
    for entry in content["images"]:
        if not (0 < entry["height"] < 10**6 and 0 < entry["width"] < 10**6):
            raise ValueError(f"image {entry['file_name']!r:.80} has size {entry['width']}×{entry['height']}")


def check_keys(kind, entries, keys):
    """Raises ValueError unless each entry has the keys with values of their type; numbers become whole numbers."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{kind} is not a list of entries")
    for number, entry in enumerate(entries):
        for key, wanted in keys.items():
            value = entry.get(key)
            if wanted is int:
                value = whole_number(value)
            if type(value) is not wanted:
                raise ValueError(f"entry {number} of {kind} has {key} {entry.get(key)!r:.40}")
            entry[key] = value
