"""What a record says besides what was understood of it, so that it can be written again as it was."""

from typing import Any


def difference(was: Any, now: Any) -> Any:
    """What makes `was` of `now`, both as JSON has them; None if they are the same.

    `{"is": was}`, or of two objects `{"keys": {key: difference}, "gone": [key]}`, or of two lists that are equally long
    `{"items": {place: difference}}`. JSON's 1, 1.0 and true are three.
    """
    if type(was) is not type(now):
        return {"is": was}
    if isinstance(was, dict):
        found: dict[str, Any] = {}
        keys = {key: {"is": was[key]} for key in was if key not in now}
        keys |= {key: part for key in was if key in now and (part := difference(was[key], now[key]))}
        if keys:
            found["keys"] = keys
        if gone := [key for key in now if key not in was]:
            found["gone"] = gone
        return found or None
    if isinstance(was, list) and len(was) == len(now):
        pairs = enumerate(zip(was, now, strict=True))
        items = {str(place): part for place, pair in pairs if (part := difference(*pair))}
        return {"items": items} if items else None
    return None if was == now else {"is": was}


def restored(now: Any, rest: Any) -> Any:
    """`now` with its `difference`."""
    if not rest:
        return now
    if "is" in rest:
        return rest["is"]
    if "items" in rest:
        return [restored(value, rest["items"].get(str(place))) for place, value in enumerate(now)]
    gone, keys = rest.get("gone", ()), rest.get("keys", {})
    kept = {key: restored(value, keys.get(key)) for key, value in now.items() if key not in gone}
    return kept | {key: part["is"] for key, part in keys.items() if key not in now}
