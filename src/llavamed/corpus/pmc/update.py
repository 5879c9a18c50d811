"""`llavamed corpus update`: fetched articles brought to the present; only what changed is downloaded."""

import json
from pathlib import Path
from typing import Any

from llavamed import artifact
from llavamed.corpus.choose import read_opt_out
from llavamed.corpus.pmc.fetch import IDS, OPT_OUT, check_concurrency, fingerprints, keep, result, run
from llavamed.corpus.pmc.http import Client, Failed
from llavamed.corpus.pmc.previous import Previous
from llavamed.corpus.pmc.select import find_inventory
from llavamed.corpus.pmc.store import open_bucket
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError, Unfinished

Json = dict[str, Any]


def update(
    folder: Path,
    *,
    inventory: str | None = None,
    opt_out: Path | None = None,
    concurrency: int = 8,
    contact: str = "",
) -> Json:
    """Fetch what is new or changed since `folder` was fetched, drop what is gone: as if fetched anew, byte for byte.

    What was fetched by inventory is compared with a newer `inventory` (default: the latest); what was fetched by ids or
    by a query, with the bucket itself. A version whose metadata record has the same ETag is taken over as it is. A new
    `opt_out` list takes the place of the one it was fetched with. `removed.parquet` lists versions that were dropped,
    with the reason (withdrawn, superseded, retracted ...).

    Returns what `fetch` returns, and `update: {new, changed, unchanged, removed: {reason: n}}` of the last update.

    Raises:
        InputError: `folder` was not made by `corpus fetch`; the inventory is older than what it holds; as `fetch`.
        Unfinished: as `fetch`; the folder still holds what it held.
    """
    check_concurrency(concurrency)
    _finish_publishing(folder)
    manifest = artifact.require(folder, "articles")
    settings = dict(manifest["settings"])
    lists = {name: folder / name if (folder / name).exists() else None for name in (IDS, OPT_OUT)}
    if opt_out is not None:
        read_opt_out(opt_out)
        lists[OPT_OUT] = opt_out
    if "by" not in settings:
        raise InputError(f"{folder} was not made by `corpus fetch`: there is nothing to update it from")
    if settings["by"] == "inventory":
        held = manifest["sources"][0]["inventory"]
        settings["inventory"] = _newer(settings["endpoint"], inventory or "latest", held, contact)
        before = manifest["request"]["inputs"].get("opt_out")
        if settings["inventory"] == held and fingerprints(lists).get("opt_out") == before:
            return _with_update(folder, result(folder, manifest), manifest)
    elif inventory is not None:
        raise InputError(f"{folder} was fetched by {settings['by']}: it is compared with the bucket: leave --inventory")
    else:
        settings["update"] = settings.get("update", 0) + 1
    if settings["by"] == "query":
        lists[IDS] = None  # the search is made again
    job = artifact.start(folder, "articles", settings, inputs=fingerprints(lists), force=True)
    keep(job, lists)
    previous = Previous(folder)
    done = run(job, concurrency, contact, previous, manifest.get("updates", []))
    return _with_update(folder, done, artifact.read_manifest(folder))


def _with_update(folder: Path, done: Json, manifest: Json) -> Json:
    updates = manifest.get("updates") or [{}]
    facts = {key: updates[-1].get(key, 0) for key in ("new", "changed", "unchanged")}
    return {**done, "update": {**facts, "removed": updates[-1].get("removed", {})}}


def _newer(endpoint: str, date: str, held: str, contact: str) -> str:
    client = Client(contact=contact)
    try:
        name, _ = find_inventory(open_bucket(client, endpoint), date)
    except Failed as error:
        raise Unfinished(f"{endpoint}: {error}: run the same command again") from None
    except Problem as problem:
        raise InputError(f"{endpoint}: the inventory was refused ({problem.reason}: {problem.detail})") from None
    if name < held:
        raise InputError(f"the inventory {name} is older than {held}, which the folder holds: name a newer one")
    return name


def _finish_publishing(folder: Path) -> None:
    """Where a run was killed while its files moved into place, move the rest."""
    work = folder / ".job"
    if (work / "manifest.json").exists() and (work / "job.json").exists():
        request = json.loads((work / "job.json").read_text())["request"]
        artifact.start(folder, request["kind"], request["settings"], inputs=request["inputs"], force=True)
