"""What the rules of corpus/modality.yaml get right, how sure they may be, and what they cost.

    python benchmarks/kinds.py            # both halves of the hand labels; --errors lists those of the tune half

Against the five domains of `llava_med_eval` (captions that were looked at while the rules were made), and against
tests/corpus/kind_labels.tsv (of which only the tune half was). Reads the real articles of ../shared/data, or of
LLAVAMED_DATA.
"""

import argparse
import csv
import hashlib
import json
import os
import tarfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from llavamed.corpus import jats
from llavamed.corpus.modality import domain_of, modality_of
from llavamed.corpus.schema import DOMAINS, KINDS

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LLAVAMED_DATA", ROOT.parent / "shared" / "data"))
LABELS = ROOT / "tests" / "corpus" / "kind_labels.tsv"
BINS = (0.0, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.01)
Pair = tuple[set[str], set[str]]  # what is true, what is said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--errors", action="store_true", help="list the figures of the tune half that are not exact")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no real data at {DATA}: set LLAVAMED_DATA")
    print("\nllava_med_eval: five domains")
    report(list(domains()), list(DOMAINS))
    figures = {(article, figure.fig_id): figure for article, figure in read_figures()}
    said = {key: modality_of(figure.fig_caption, figure.in_text_mention) for key, figure in figures.items()}
    halves: dict[str, list[tuple[tuple[str, str], set[str]]]] = {"tune": [], "test": []}
    for article, figure, true in read_labels():
        halves[half_of(article)].append(((article, figure), true))
    for half, rows in halves.items():
        if args.errors and half == "test":
            continue
        print(f"\nown labels, {half}: {len(rows)} figures")
        report([(true, {entry["name"] for entry in said[key]}) for key, true in rows], list(KINDS))
        first = sum(bool(said[key]) and said[key][0]["name"] in true for key, true in rows)
        exact = sum({entry["name"] for entry in said[key]} == true for key, true in rows)
        print(f"  exact set {exact / len(rows):.3f}   first kind right {first / len(rows):.3f}")
        print(f"  confidence: {calibration((entry, true) for key, true in rows for entry in said[key])}")
    if args.errors:
        for key, true in halves["tune"]:
            if true != {entry["name"] for entry in said[key]}:
                print("\n", *key, "|", ",".join(sorted(true)), "| said", *said[key])
                print("  ", figures[key].fig_caption[:900])
    coverage(list(said.values()))
    speed(list(figures.values()))


def domains() -> Iterator[Pair]:
    path = DATA / "llava_med_eval" / "llava_med_eval_qa50_fig_captions.json"
    for group in json.loads(path.read_text(encoding="utf-8")).values():
        for record in group:
            mentions = [mention["tokens"] for mention in record["in_text_mention"] or []]
            said = domain_of(modality_of(record["fig_caption"], mentions))
            yield {name for name in DOMAINS if record["domain"][name]}, {name for name in DOMAINS if said[name]}


def read_figures() -> Iterator[tuple[str, jats.Figure]]:
    """(article, figure) of the 1,000 articles, then of the folder's."""
    with tarfile.open(DATA / "articles_xml.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file:
                yield from of_article(Path(member.name).stem, file.read())
    for path in sorted((DATA / "articles").glob("*/*.nxml")):
        yield from of_article(path.stem, path.read_bytes())


def of_article(name: str, data: bytes) -> Iterator[tuple[str, jats.Figure]]:
    return ((name, figure) for article in jats.parse(data) for figure in article.figures)


def read_labels() -> Iterator[tuple[str, str, set[str]]]:
    with LABELS.open(encoding="utf-8") as file:
        for row in csv.DictReader((line for line in file if not line.startswith("#")), delimiter="\t"):
            yield row["article"], row["figure"], set(row["kinds"].split(","))


def half_of(article: str) -> str:
    return "test" if hashlib.sha256(article.encode()).digest()[0] % 2 else "tune"


def report(pairs: list[Pair], names: list[str]) -> None:
    scores = []
    for name in names:
        true, said = (sum(name in pair[side] for pair in pairs) for side in (0, 1))
        both = sum(name in pair[0] and name in pair[1] for pair in pairs)
        if true:
            scores.append(2 * both / (true + said))
            precision = f"{both / said:.2f}" if said else "   -"
            print(f"  {name:15} n {true:4}  precision {precision}  recall {both / true:.2f}  F1 {scores[-1]:.2f}")
        elif said:
            print(f"  {name:15} n    0  said {said} times")
    print(f"  macro F1 {sum(scores) / len(scores):.3f} of {len(scores)}")


def calibration(entries: Iterable[tuple[dict, set[str]]]) -> str:
    """Of what was said with a confidence in each bin, the part that is true."""
    n, right = Counter(), Counter()
    for entry, true in entries:
        place = sum(entry["confidence"] >= edge - 1e-9 for edge in BINS) - 1
        n[place] += 1
        right[place] += entry["name"] in true
    return "; ".join(f"{BINS[i]:.2f}-: {right[i] / n[i]:.2f} of {n[i]}" for i in sorted(n))


def coverage(said: list[list[dict]]) -> None:
    kinds = Counter(entry["name"] for entries in said for entry in entries)
    print(f"\ncoverage: {sum(map(bool, said)) / len(said):.3f} of {len(said):,} figures have a kind")
    print("  " + ", ".join(f"{name} {kinds[name]:,}" for name in KINDS))


def speed(figures: list[jats.Figure]) -> None:
    begin = time.process_time()
    for figure in figures:
        modality_of(figure.fig_caption, figure.in_text_mention)
    print(f"\nspeed: {len(figures) / (time.process_time() - begin):,.0f} figures a second of one core")
    longest = " ".join(figure.fig_caption for figure in figures)[:1_000_000]
    worst = {"captions": longest, "letters": "a" * 1_000_000, "words": "the left lung " * 71_000, "spaces": " " * 10**6}
    worst |= {"digits": "12 x 5 " * 143_000, "stains": "stain gfp fish cells " * 48_000}
    for name, text in worst.items():
        begin = time.process_time()
        modality_of(text, [])
        print(f"  1 MB of {name}: {time.process_time() - begin:.2f} s")


if __name__ == "__main__":
    main()
