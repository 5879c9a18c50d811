"""The grade in docs/summary.md is what the verdicts in docs/summary-grade.tsv add up to."""

import csv
import re
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
GROUPS = {
    "transparency": ("Clarity", "Completeness", "Consistency", "Correctness"),
    "usefulness": ("Accessibility", "Comprehension"),
}


def verdicts():
    with (DOCS / "summary-grade.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def grade(rows, dimensions):
    """(weight met, weight of all that applies)."""
    applies = [row for row in rows if row["dimension"] in dimensions and row["verdict"] != "not applicable"]
    return sum(int(row["weight"]) for row in applies if row["verdict"] == "met"), sum(int(r["weight"]) for r in applies)


def test_every_metric_has_a_verdict_and_a_reason():
    rows = verdicts()
    assert len({row["metric"] for row in rows}) == len(rows) == 242
    assert {row["verdict"] for row in rows} == {"met", "not met", "not applicable"}
    assert all(row["reason"].strip() for row in rows)
    assert {row["dimension"] for row in rows} == {name for names in GROUPS.values() for name in names}


def test_the_page_says_what_they_add_up_to():
    page, rows = (DOCS / "summary.md").read_text(encoding="utf-8"), verdicts()
    for name, dimensions in GROUPS.items():
        met, whole = grade(rows, dimensions)
        said = re.search(rf"\| {name} \([^|]+\) \| (\d+) \| (\d+) \| ([\d.]+) % \|", page)
        assert said, name
        assert (int(said[1]), int(said[2]), said[3]) == (met, whole, f"{100 * met / whole:.1f}")
        assert f"{said[3]} % {name}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
        assert 100 * met / whole >= 95
    count = Counter(row["verdict"] for row in rows)
    assert f"{count['met']} met, {count['not met']} not met, {count['not applicable']} not applicable" in page


def test_every_deduction_is_on_the_page():
    page = (DOCS / "summary.md").read_text(encoding="utf-8")
    for row in verdicts():
        if row["verdict"] == "not met":
            assert f"| {row['metric']} | {row['weight']} | {row['reason']} |" in page
