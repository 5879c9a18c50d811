"""`llavamed corpus fetch`: articles with their images out of PMC's bucket, as an artifact that `corpus build` reads."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from llavamed import artifact, storage
from llavamed.console import progress
from llavamed.corpus.choose import Choice, read_opt_out
from llavamed.corpus.licences import POLICIES
from llavamed.corpus.pmc.article import EXCLUDED_OBJECTS, EXCLUDED_VERSIONS, VERSIONS, Fetcher, Outcome
from llavamed.corpus.pmc.http import Client, Failed
from llavamed.corpus.pmc.ledger import Ledger
from llavamed.corpus.pmc.previous import Previous
from llavamed.corpus.pmc.search import search, search_address
from llavamed.corpus.pmc.select import (
    Line,
    Wanted,
    check_date,
    find_inventory,
    in_part,
    read_ids,
    read_inventory,
    selected,
)
from llavamed.corpus.pmc.store import BUCKET, ENDPOINT, Bucket, check_address, open_bucket
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError, Unfinished

Json = dict[str, Any]
T = TypeVar("T")
R = TypeVar("R")
IDS, OPT_OUT = "ids.txt", "opt_out.txt"  # kept beside the data, for an update
MOST_REQUESTS = 64  # at once
IN_A_ROW = 25  # articles without an answer, one after another: the endpoint is down


def fetch(
    folder: Path,
    *,
    ids: Path | None = None,
    query: str | None = None,
    inventory: str | None = None,
    endpoint: str = ENDPOINT,
    licences: str = "all",
    years: tuple[int, int] | None = None,
    part: tuple[int, int] | None = None,
    opt_out: Path | None = None,
    concurrency: int = 8,
    contact: str = "",
    force: bool = False,
) -> Json:
    """Fetch articles from PMC's Cloud Service: `data/PMC1.2/` with XML, images and metadata record, a folder a version.

    Which: those listed in `ids`, found by `query`, or of the `inventory` of a day ("latest", "2026-01-18"): one of the
    three. `licences`: commercial, open or all. `years`: first and last. `part`: k of n. `opt_out`: see
    `choose.read_opt_out`; a metadata record names DOI and PMCID, so domains and publishers are for `corpus build`.
    `contact`: an e-mail address for the service. `endpoint`: another server that holds the bucket; then nothing else is
    asked.

    Returns `{versions: {in, kept, excluded: {reason: n}}, objects: the same, bytes, requests, retries, seconds,
    artifact, hash}`; bytes: of the files kept; requests, retries, seconds: of this call.

    Raises:
        InputError: the call is wrong, the endpoint does not answer, or what `artifact.start` raises.
        Unfinished: some articles could not be had this time; the same call goes on with them.
    """
    if sum(x is not None for x in (ids, query, inventory)) != 1:
        raise InputError("which articles? give one of --ids FILE, --query Q, --inventory DATE")
    if licences not in POLICIES:
        raise InputError(f"--licences {licences}: choose one of {', '.join(POLICIES)}")
    check_concurrency(concurrency)
    if inventory is not None:
        check_date(inventory)
    by = "ids" if ids else "query" if query is not None else "inventory"
    settings = {"by": by, "query": query, "inventory": inventory, "endpoint": check_address(endpoint),
                "licences": licences, "years": years, "part": part}  # fmt: skip
    lists = {IDS: ids, OPT_OUT: opt_out}
    if ids is not None:
        read_ids(ids)  # refuses a list that cannot be read
    if opt_out is not None:
        read_opt_out(opt_out)
    job = artifact.start(folder, "articles", settings, inputs=fingerprints(lists), force=force)
    if job.manifest:
        return result(folder, job.manifest)
    keep(job, lists)
    return run(job, concurrency, contact)


def fingerprints(lists: dict[str, Path | None]) -> Json:
    """The lists a call names, by content."""
    return {name.removesuffix(".txt"): storage.sha256_file(path) for name, path in lists.items() if path}


def keep(job: artifact.Job, lists: dict[str, Path | None]) -> None:
    """Copy the lists a call names into the artifact, unless an earlier run has."""
    for name, path in lists.items():
        if path and not (job.out / name).exists():
            part = job.out / f".{name}{storage.PART}"
            shutil.copyfile(path, part)
            part.replace(job.out / name)


def check_concurrency(concurrency: int) -> None:
    """Raises: InputError: so many requests at once are none, or too many."""
    if not 1 <= concurrency <= MOST_REQUESTS:
        raise InputError(f"--concurrency {concurrency}: choose from 1 to {MOST_REQUESTS}; the service is shared")


def run(
    job: artifact.Job, concurrency: int, contact: str, previous: Previous | None = None, updates: Iterable[Json] = ()
) -> Json:
    """Do what `job.settings` ask for, from wherever an earlier run stopped, and publish it.

    `previous`: what the folder holds, to be taken over where it is still the same; `updates`: the earlier ones.

    Raises:
        InputError, Unfinished: as `fetch`.
    """
    start = time.monotonic()
    client = Client(concurrency=concurrency, contact=contact)
    ledger = Ledger(job.work / "ledger.jsonl")
    try:
        bucket = open_bucket(client, job.settings["endpoint"])
        selection = _select(job, bucket, contact)
        years = tuple(job.settings["years"]) if job.settings["years"] else None
        opted_out = read_opt_out(job.out / OPT_OUT) if (job.out / OPT_OUT).exists() else frozenset()
        choice = Choice(licences=job.settings["licences"], years=years, opt_out=opted_out)
        outcomes = _fetch_all(Fetcher(bucket, ledger, job.out, choice, previous), selection, concurrency)
    except Failed as error:
        raise Unfinished(f"{job.folder}: {error}: run the same command again to go on") from None
    except Problem as error:
        _leave_nothing(job, ledger)
        raise InputError(f"{job.folder}: the service said no ({error.reason}: {error.detail})") from None
    except InputError:
        _leave_nothing(job, ledger)
        raise
    finally:
        client.stop()
        ledger.close()
        artifact.pause(job)
    manifest = _publish(job, selection, outcomes, previous, list(updates))
    return result(job.folder, manifest, client, time.monotonic() - start)


def _leave_nothing(job: artifact.Job, ledger: Ledger) -> None:
    """A call that was wrong from the start does not keep the folder."""
    if not len(ledger):
        artifact.abandon(job)


def result(folder: Path, manifest: Json, client: Client | None = None, seconds: float = 0.0) -> Json:
    """What `fetch` and `update` return."""
    size = sum(file["bytes"] for name, file in manifest["files"].items() if name.startswith("data/"))
    return {
        **{name: manifest["counts"][name] for name in ("versions", "objects")},
        "bytes": size,
        "requests": client.requests if client else 0,
        "retries": client.retries if client else 0,
        "seconds": round(seconds, 1),
        "artifact": str(folder),
        "hash": manifest["hash"],
    }


@dataclass
class _Selection:
    wanted: list[Wanted]
    bad: list[Line]
    source: Json


def _select(job: artifact.Job, bucket: Bucket, contact: str) -> _Selection:
    """Which versions; found once, so that a killed run goes on with the same."""
    settings = job.settings
    part = tuple(settings["part"]) if settings["part"] else None
    source: Json = {"bucket": f"s3://{BUCKET}", "endpoint": settings["endpoint"]}
    if settings["by"] == "inventory":
        table, note = job.work / "selection.parquet", job.work / "inventory.json"
        if not note.exists():
            name, manifest = find_inventory(bucket, settings["inventory"])
            rows, facts = read_inventory(bucket, manifest, part, job.work / "inventory")
            pq.write_table(rows, table)
            storage.write_json(note, {"inventory": name, **facts})
            shutil.rmtree(job.work / "inventory")
        return _Selection(selected(table), [], source | json.loads(note.read_text()))
    ids = job.out / IDS
    if settings["by"] == "query" and not ids.exists():
        found = search(bucket.client, settings["query"], search_address(settings["endpoint"]), contact)
        if not found:
            raise InputError(f"--query {settings['query']}: PMC has no article that it finds")
        storage.write_text(ids, "".join(f"PMC{number}\n" for number in found))
    wanted, bad = read_ids(ids)
    if settings["by"] == "query":
        source |= {"query": settings["query"], "found": len(wanted)}
    # A line without a number belongs to no part: the first one tells of it.
    return _Selection(in_part(wanted, part), bad if part is None or part[0] == 1 else [], source)


def _fetch_all(fetcher: Fetcher, selection: _Selection, concurrency: int) -> list[Outcome]:
    """What became of every wanted version, in order.

    Raises:
        Unfinished: some could not be had, or the endpoint stopped answering.
    """
    articles = [list(rows) for _, rows in groupby(selection.wanted, key=lambda row: row.pmcid)]
    outcomes: list[Outcome] = []
    failed: list[str] = []
    in_a_row = done = 0
    client = fetcher.bucket.client
    with progress("fetch", len(articles), "articles") as advance:
        for found in _in_threads(fetcher.article, articles, concurrency, client.stop):
            done += 1
            if isinstance(found, Failed):
                failed.append(str(found))
            else:
                outcomes += found
            silent = isinstance(found, Failed) or any(outcome.unsettled for outcome in found)
            in_a_row = in_a_row + 1 if silent else 0
            if in_a_row == IN_A_ROW:
                break
            advance(note=f"{client.bytes / 1e6:.0f} MB, {client.retries} retries")
    if failed or in_a_row == IN_A_ROW:
        left = len(articles) - done + len(failed)
        why = Counter(failed).most_common(1)[0][0] if failed else "refused"
        end = "the endpoint stopped answering" if in_a_row == IN_A_ROW else "no answer"
        raise Unfinished(
            f"{left} of {len(articles)} articles are left ({end}; most often: {why}): run the same command again to "
            "go on with them"
        )
    return sorted(outcomes, key=lambda outcome: outcome.place)


def _in_threads(function: Callable[[T], R], items: Iterable[T], threads: int, stop: Callable[[], None]) -> Iterator[R]:
    """`function` of each item, as they finish; `stop` ends what is under way when the caller has enough."""
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        running: set[Future[R]] = {pool.submit(function, item) for item in islice(waiting, 2 * threads)}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                    running.update(pool.submit(function, item) for item in islice(waiting, 1))
        except BaseException:
            stop()
            pool.shutdown(cancel_futures=True)
            raise


def _publish(
    job: artifact.Job, selection: _Selection, outcomes: list[Outcome], previous: Previous | None, updates: list[Json]
) -> Json:
    kept = [outcome for outcome in outcomes if outcome.problem is None]
    lines = [
        {"source": line.source, "reason": line.problem.reason, "detail": line.problem.detail} for line in selection.bad
    ]
    left_out = lines + [
        {**o.row, "reason": o.problem.reason, "detail": o.problem.detail} for o in outcomes if o.problem
    ]
    rows = [{**outcome.row, "objects": outcome.objects} for outcome in kept]
    objects = [{**o.row, **entry} for o in kept for entry in o.objects]
    missing = [entry for entry in objects if entry["reason"]]
    storage.write_table(job.out / "versions.parquet", rows, VERSIONS)
    if left_out:
        storage.write_table(job.out / "excluded" / "versions.parquet", left_out, EXCLUDED_VERSIONS)
    if missing:
        storage.write_table(job.out / "excluded" / "objects.parquet", missing, EXCLUDED_OBJECTS)
    if previous:
        updates = [*updates, previous.compare(job.out, selection.source, rows, left_out[len(lines) :])]
    for outcome in kept:
        job.shard_files.update(outcome.files)  # hashed as they came
    _sweep(job.out, job.shard_files)
    days = sorted(outcome.row["collected"] for outcome in kept)
    return artifact.publish(
        job,
        counts={
            "versions": _count(len(kept), (row["reason"] for row in left_out)),
            "objects": _count(len(objects) - len(missing), (entry["reason"] for entry in missing)),
        },
        histograms={
            "licence": _histogram(row["licence"] for row in rows),
            "year": _histogram(row["year"] for row in rows),
        },
        card=_card(selection.source, len(kept), len(objects) - len(missing)),
        collected={"earliest": days[0], "latest": days[-1]} if days else {},
        sources=[selection.source],
        **({"updates": updates} if updates else {}),
    )


def _sweep(out: Path, files: Json) -> None:
    """Of versions that were left out in the end, or had other files when an earlier run began with them."""
    for path in (out / "data").rglob("*"):
        if path.is_file() and path.relative_to(out).as_posix() not in files:
            path.unlink()


def _count(kept: int, reasons: Iterable[str]) -> Json:
    excluded = _histogram(reasons)
    return {"in": kept + sum(excluded.values()), "kept": kept, "excluded": excluded}


def _histogram(values: Iterable[Any]) -> Json:
    return dict(sorted(Counter(str(value or "unknown") for value in values).items()))


def _card(source: Json, versions: int, objects: int) -> str:
    how = f"the inventory of {source['inventory']}" if "inventory" in source else "a list of ids"
    how = f"the search `{source['query']}`" if "query" in source else how
    return (
        f"# Articles from PubMed Central\n\n{versions:,} article versions with {objects:,} files, by {how}, fetched "
        "from PMC's Cloud Service of the National Library of Medicine (NLM), which is not responsible for this copy. "
        "Each article is under its own licence, which its XML and its metadata record state. What was left out stands "
        "in `excluded/` with its reason. `llavamed corpus update` brings it to the present; until then it may lack "
        "corrections and retractions.\n"
    )
