"""What the entries of a COCO file must say before they can be put together."""

from collections import Counter


def check_entries(content):
    """Raises ValueError, naming the entry, where images, categories and annotations cannot be told apart or put
    together."""
    required = {
        "images": {"id": int, "file_name": str, "height": int, "width": int},
        "categories": {"id": int, "name": str},
        "annotations": {"image_id": int, "category_id": int},
    }
    for kind, keys in required.items():
        entries = content[kind]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{kind} is not a list of entries")
        for number, entry in enumerate(entries):
            for key, wanted in keys.items():
                if type(entry.get(key)) is not wanted:
                    raise ValueError(f"entry {number} of {kind} has {key} {entry.get(key)!r:.40}")
    ids = {kind: [entry["id"] for entry in content[kind]] for kind in ("images", "categories")}
    for kind, numbers in ids.items():
        if repeated := [number for number, times in Counter(numbers).items() if times > 1]:
            raise ValueError(f"id {repeated[0]} stands for several {kind}")
    images, categories = set(ids["images"]), set(ids["categories"])
    for number, entry in enumerate(content["annotations"]):
        if entry["image_id"] not in images or entry["category_id"] not in categories:
            raise ValueError(f"entry {number} of annotations belongs to no listed image and category")
    for entry in content["images"]:
        if not (0 < entry["height"] < 10**6 and 0 < entry["width"] < 10**6):
            raise ValueError(f"image {entry['file_name']!r:.80} has size {entry['width']}×{entry['height']}")
