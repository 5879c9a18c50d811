"""Hostile inputs through the whole build: no crash, no hang, nothing lost, nothing read or written outside."""

import json
import os
import selectors
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import CANARY, SOURCES, TOTAL

TESTS = Path(__file__).parent
SECONDS = 5  # of CPU, for one input
HANGS = 60  # seconds of the clock after which an input is given up
MEMORY = 2_000_000_000  # bytes, of the whole process


@pytest.mark.parametrize(
    "numbers",
    [pytest.param(range(0, TOTAL, 29), id="some"), pytest.param(range(TOTAL), id="all", marks=pytest.mark.slow)],
)
def test_hostile_articles(tmp_path, numbers):
    _check(tmp_path, numbers)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(TOTAL, TOTAL + SOURCES, 19), id="some"),
        pytest.param(range(TOTAL, TOTAL + SOURCES), id="all", marks=pytest.mark.slow),
    ],
)
def test_hostile_sources(tmp_path, numbers):
    _check(tmp_path, numbers)


def _check(tmp_path: Path, numbers: range) -> None:
    sandbox = tmp_path / "sandbox"
    for folder in ("in", "out", "home", "cwd"):
        (sandbox / folder).mkdir(parents=True)
    (sandbox / "canary.txt").write_text(CANARY)
    before = _snapshot(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        results = _all(sandbox, f"http://127.0.0.1:{server.getsockname()[1]}", list(numbers))
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody came
    assert _snapshot(sandbox) == before
    slowest = sorted(results, key=lambda r: -r["seconds"])[:10]
    largest = sorted(results, key=lambda r: -r["peak"])[:10]
    print("\nslowest:", *(f"{r['name']} {r['seconds']:.1f} s" for r in slowest), sep="\n  ")
    print("largest:", *(f"{r['name']} {r['peak'] / 1e6:.0f} MB" for r in largest), sep="\n  ")
    bad = {r["name"]: _wrong(r) for r in results if _wrong(r)}
    assert not bad, json.dumps(bad, indent=1)
    kept = sum(not r["refused"] and r["figures"]["kept"] > 0 for r in results)
    assert kept > len(results) / 5  # or they would be too broken to reach what lies deep
    assert [r["n"] for r in results] == list(numbers)


def _wrong(r: dict) -> str:
    """What is wrong with the result of one input; "" for nothing."""
    if r["error"]:
        return r["error"]
    if r["seconds"] > SECONDS or r["peak"] > MEMORY:
        return f"{r['seconds']:.1f} s, {r['peak'] / 1e6:.0f} MB"
    if r["refused"]:
        return "" if r["n"] >= TOTAL and r["named"] else r["refused"]
    articles, figures = r["articles"] + sum(r["articles_excluded"].values()), r["figures"]
    excluded, kept = r["rows"]["excluded"], r["rows"]["data"]
    lost = (
        articles + figures["in"] < r["records"]
        or (r["n"] < TOTAL and articles < 1)
        or figures["in"] != figures["kept"] + sum(figures["excluded"].values())
        or sum(kept.values()) != figures["kept"]
        or excluded.get("figures", 0) + excluded.get("copies", 0) != sum(figures["excluded"].values())
        or excluded.get("articles", 0) != sum(r["articles_excluded"].values())
    )
    return "lost" if lost else "leaked" if r["leaked"] else ""


def _all(sandbox: Path, url: str, numbers: list[int]) -> list[dict]:
    """The results of all inputs; a child that hangs or dies is noted and another one goes on behind it."""
    results: list[dict] = []
    while len(results) < len(numbers):
        rest = numbers[len(results) :]
        found, last = _child(sandbox, url, rest)
        results += found
        if len(found) < len(rest):
            results.append(
                {
                    "n": rest[len(found)],
                    "name": last,
                    "error": "hung or died",
                    "seconds": HANGS,
                    "peak": 0,
                    "refused": "",
                }
            )
            subprocess.run(["rm", "-rf", *(sandbox / "in").iterdir(), *(sandbox / "out").iterdir()], check=True)
    return results


def _child(sandbox: Path, url: str, numbers: list[int]) -> tuple[list[dict], str]:
    paths = [str(TESTS.parent.parent / "src"), str(TESTS)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HOME": str(sandbox / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment |= {"http_proxy": url, "https_proxy": url, "TMPDIR": str(sandbox / "home")}
    command = [sys.executable, "-m", "hostile.run", str(sandbox), url, *map(str, numbers)]
    found: list[dict] = []
    last = "start"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=sandbox / "cwd", env=environment, text=True, bufsize=1
    ) as child:
        selector = selectors.DefaultSelector()
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select(HANGS) and (line := child.stdout.readline()):
            said = json.loads(line)
            last = said.get("begun", last)
            if "n" in said:
                found.append(said)
        child.kill()
    return found, last


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, but what the inputs and the output are in."""
    names = (Path(here, name) for here, folders, files in os.walk(folder) for name in (*folders, *files))
    stats = {str(path.relative_to(folder)): path.lstat() for path in names}
    return {name: (s.st_size, s.st_mtime_ns) for name, s in stats.items() if name not in ("in", "out")}
