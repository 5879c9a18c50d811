"""Articles from PMC's bucket, over a real S3 API with a proxy between that logs, and spoils what it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packages import encoded, pixels

from faulty_proxy import FaultyProxy
from llavamed import artifact, storage
from llavamed.corpus.build import build
from llavamed.corpus.pmc import http, record, search, select
from llavamed.corpus.pmc.fetch import fetch
from llavamed.corpus.pmc.ledger import Ledger
from llavamed.corpus.pmc.update import update
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError, Unfinished
from llavamed.summary.facts import Fact
from llavamed.summary.forms.origins import acquired
from llavamed.verify import rehash
from pmc_server import BUCKET, PmcServer, put_real, url


@pytest.fixture(scope="module")
def server():
    found = PmcServer()
    yield found
    found.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """An empty bucket; tries follow one another at once."""
    server.clear()
    monkeypatch.setattr(http, "FIRST", 0.001)
    monkeypatch.setattr(http, "READ", 1.0)
    monkeypatch.setattr(search, "WITHOUT_KEY", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return server


@pytest.fixture
def proxy(bucket):
    with FaultyProxy(bucket.url) as found:
        yield found


def listed(folder: Path, *lines: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "ids.txt").write_text("\n".join(lines) + "\n")
    return folder / "ids.txt"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder / "data").as_posix() for path in (folder / "data").rglob("*") if path.is_file()}


def excluded(folder: Path, table: str = "versions") -> list[dict]:
    path = folder / "excluded" / f"{table}.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []


def objects_asked(proxy: FaultyProxy, since: int = 0) -> list[str]:
    """Keys of the objects asked for, listings apart."""
    return [path.removeprefix(f"/{BUCKET}/") for path in proxy.paths(since) if "list-type" not in path]


# Which versions


def test_ids_the_newest_version_and_what_is_no_id(bucket, proxy, tmp_path):
    for version in ("PMC123.1", "PMC123.2", "PMC123.10", "PMC1234.11", "PMC5.1"):
        bucket.put(version)
    ids = listed(tmp_path, "PMCID,why", "PMC123 # the newest", "", "# no id", '"PMC5.1","x"', "pmc123", "PMC123.10",
                 "PMC77", "PMC5.9", "10.1371/journal.pone.1", "12345678", "nonsense",
                 "https://pmc.ncbi.nlm.nih.gov/articles/PMC1234/")  # fmt: skip
    result = fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)
    assert result["versions"] == {
        "in": 10, "kept": 3, "excluded": {"duplicate": 2, "not_a_pmcid": 3, "not_found": 2}
    }  # fmt: skip
    assert {name.split("/")[0] for name in files(tmp_path / "out")} == {"PMC123.10", "PMC1234.11", "PMC5.1"}
    reasons = {row["source"]: row for row in excluded(tmp_path / "out")}
    assert "ID converter" in reasons["10.1371/journal.pone.1"]["detail"]
    assert "PMID" in reasons["12345678"]["detail"]
    assert rehash(tmp_path / "out") == []
    before = len(proxy.log)
    assert fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)["hash"] == result["hash"]
    assert len(proxy.log) == before  # nothing to do, nothing asked


def test_build_pairs_figures_with_images(bucket, proxy, tmp_path):
    bucket.put("PMC1.2")
    bucket.put("PMC2.1", license_code="CC BY-NC")
    fetch(tmp_path / "out", ids=listed(tmp_path, "PMC1", "PMC2"), endpoint=proxy.url)
    built = build([tmp_path / "out"], tmp_path / "corpus")
    assert built["articles"] == 2 and built["figures"]["kept"] == 2
    manifest = artifact.read_manifest(tmp_path / "corpus")
    assert manifest["parents"][0]["manifest"]["sources"][0]["bucket"] == f"s3://{BUCKET}"
    today = artifact.read_manifest(tmp_path / "out")["collected"]["latest"]
    assert manifest["histograms"]["collected"] == {today: 2}


def test_inventory_in_parts(bucket, proxy, tmp_path):
    for number in range(1, 8):
        bucket.put(f"PMC{number}.1")
    bucket.put("PMC3.2")
    bucket.write("metadata/readme.txt", b"no record")
    bucket.inventory("2026-01-17T01-00Z")
    bucket.put("PMC8.1")
    bucket.inventory("2026-01-18T01-00Z")
    bucket.write(f"inventory-reports/{BUCKET}/metadata/2026-01-19T01-00Z/manifest.checksum", b"being written")
    whole = fetch(tmp_path / "whole", inventory="2026-01-17", endpoint=proxy.url)
    assert whole["versions"]["kept"] == 7
    assert "PMC3.2/PMC3.2.xml" in files(tmp_path / "whole") and "PMC3.1/PMC3.1.xml" not in files(tmp_path / "whole")
    assert "list-type" not in "".join(path for path in proxy.paths() if "prefix=PMC" in path)  # nothing is looked up
    parts = [fetch(tmp_path / f"{k}", inventory="latest", part=(k, 3), endpoint=proxy.url) for k in (1, 2, 3)]
    assert sum(part["versions"]["in"] for part in parts) == 8
    assert len(set.union(*(files(tmp_path / f"{k}") for k in (1, 2, 3)))) == 8 * 3
    assert artifact.read_manifest(tmp_path / "1")["sources"][0]["inventory"] == "2026-01-18T01-00Z"
    with pytest.raises(InputError, match=r"no inventory of 2025-01-01.*from 2026-01-17T01-00Z"):
        fetch(tmp_path / "none", inventory="2025-01-01", endpoint=proxy.url)
    assert not (tmp_path / "none").exists()


def test_query_is_asked_of_the_endpoint_page_by_page(bucket, proxy, tmp_path, monkeypatch):
    for number in (3, 4, 30):
        bucket.put(f"PMC{number}.1")
    proxy.ids = [30, 4, 3]
    monkeypatch.setattr(search, "PAGE", 2)
    monkeypatch.setenv("NCBI_API_KEY", "secret")
    result = fetch(tmp_path / "out", query="x-ray[Title] AND y", endpoint=proxy.url, contact="a@b.org")
    assert result["versions"]["kept"] == 3
    asked = [path for path in proxy.paths() if "esearch" in path]
    assert len(asked) == 2 and "tool=llavamed&email=a@b.org" in asked[0] and "WebEnv=MCID_1" in asked[1]
    assert "secret" not in "".join(proxy.paths())
    assert "secret" not in (tmp_path / "out" / "manifest.json").read_text()
    proxy.ids = []
    with pytest.raises(InputError, match="no article"):
        fetch(tmp_path / "none", query="nothing", endpoint=proxy.url)


# Filters, and records as they come


def test_filters_act_before_media_is_fetched(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    bucket.put("PMC2.1", license_code="CC BY-NC-ND")
    bucket.put("PMC3.1", is_retracted="True")
    bucket.put("PMC4.1", citation="J Test. 1998;5(1):2020-9.")
    bucket.put("PMC5.1", license_code="TDM", media_urls=...)
    bucket.put("PMC6.1", citation=None)
    bucket.put("PMC7.1", license_code=None)
    ids = listed(tmp_path, *(f"PMC{n}" for n in range(1, 8)))
    result = fetch(tmp_path / "out", ids=ids, endpoint=proxy.url, licences="commercial", years=(2015, 2024))
    assert result["versions"] == {"in": 7, "kept": 1, "excluded": {"licence": 3, "retracted": 1, "year": 2}}
    assert {key.split("/")[0] for key in objects_asked(proxy)} == {"metadata", "PMC1.1"}
    details = {row["pmcid"]: row["detail"] for row in excluded(tmp_path / "out")}
    assert details["PMC5"] == "TDM" and details["PMC4"] == "1998" and details["PMC7"] == "none-stated"
    assert artifact.read_manifest(tmp_path / "out")["histograms"] == {"licence": {"CC-BY": 1}, "year": {"2020": 1}}


def test_what_is_missing_is_a_fact(bucket, proxy, tmp_path):
    image = encoded(pixels(1), "JPEG")
    gone = [url("PMC1.1/gone.jpg", b""), url("PMC1.1/g1.jpg", image), url("PMC1.1/film.mp4", b"")]
    bucket.put("PMC1.1", media={"g1.jpg": image}, media_urls=gone)
    bucket.put("PMC2.1")
    bucket.delete("PMC2.1/PMC2.1.xml")
    bucket.put("PMC3.1", media={"g1.jpg": image, "odd name+#é%41.png": image, "data.zip": b"x"}, media_urls=None)
    bucket.put("PMC4.1", xml_url=..., media_urls=[f"s3://{BUCKET}/PMC4.1/g1.jpg"])
    bucket.put("PMC5.1")
    bucket.write("metadata/PMC5.1.json", b"{broken")
    bucket.put("PMC6.1", media={})
    ids = listed(tmp_path, *(f"PMC{n}" for n in range(1, 7)))
    result = fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)
    assert result["versions"]["excluded"] == {"bad_metadata": 1, "no_xml": 1}
    assert result["objects"]["excluded"] == {"missing": 1, "not_an_image": 2}
    assert {row["key"]: row["reason"] for row in excluded(tmp_path / "out", "objects")} == {
        "PMC1.1/gone.jpg": "missing", "PMC1.1/film.mp4": "not_an_image", "PMC3.1/data.zip": "not_an_image"
    }  # fmt: skip
    assert "PMC3.1/odd name+#é%41.png" in files(tmp_path / "out")
    checked = {
        entry["key"]: entry["checked"]
        for row in pq.read_table(tmp_path / "out" / "versions.parquet").to_pylist()
        for entry in row["objects"]
    }
    assert checked["PMC1.1/g1.jpg"] == "md5" and checked["PMC4.1/g1.jpg"] == "etag"


@pytest.mark.parametrize(
    "key",
    ["PMC1.1/../../evil.jpg", "/etc/evil.jpg", "PMC1.1/..\\evil.jpg", "PMC2.1/evil.jpg", "PMC1.1/a/evil.jpg",
     "PMC1.1/.evil.jpg", "PMC1.1/evil\n.jpg", f"PMC1.1/{'x' * 300}.jpg", "PMC1.1/", "C:/evil.jpg"],
)  # fmt: skip
def test_no_key_leads_outside(key):
    with pytest.raises(Problem, match="unsafe_key"):
        record.object_of(f"s3://{BUCKET}/{key}?md5={'0' * 32}", "PMC1.1")


def test_unsafe_keys_are_refused_and_recorded(bucket, proxy, tmp_path):
    bucket.put("PMC1.1", media_urls=[f"s3://{BUCKET}/PMC1.1/../../../evil.jpg", "s3://other/PMC1.1/g1.jpg", 7])
    result = fetch(tmp_path / "in" / "out", ids=listed(tmp_path, "PMC1"), endpoint=proxy.url)
    assert result["objects"]["excluded"] == {"unsafe_key": 2}
    assert files(tmp_path / "in" / "out") == {"PMC1.1/PMC1.1.json", "PMC1.1/PMC1.1.xml"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "ids.txt"}


@pytest.mark.parametrize(
    ("citation", "year"),
    [("J Test. 2019 Mar 4;5(1):2-9. doi: 10.1/j.2001.1", 2019), ("PLoS One. 2014;9(4):e1998", 2014), ("", None),
     ("Care in 1918, 2020 and now. Lancet. 2021 Jan-Feb; 3:1", 2021), ("J Test (2017)", 2017), (2019, 2019)],
)  # fmt: skip
def test_the_year_of_a_citation(citation, year):
    assert record.parse(json.dumps({"citation": citation}).encode(), "PMC1.1").year == year


# Endpoints


def test_the_endpoint_is_the_bucket_or_holds_it(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    ids = listed(tmp_path, "PMC1")
    hashes = {
        fetch(tmp_path / str(n), ids=ids, endpoint=f"{proxy.url}{path}")["hash"]
        for n, path in enumerate(("", "/", f"/{BUCKET}", f"/{BUCKET}/"))
    }
    assert len(hashes) == 1
    for wrong, why in (("ftp://x", "no address"), ("http://u:p@x", "password"), (f"{proxy.url}/none", "no bucket")):
        with pytest.raises(InputError, match=why):
            fetch(tmp_path / "wrong", ids=ids, endpoint=wrong)
    assert not (tmp_path / "wrong").exists()


def test_no_redirect_to_another_host_is_followed(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    with FaultyProxy(bucket.url) as other:
        proxy.always = {"g1.jpg": f"to:{other.url}/{BUCKET}/PMC1.1/g1.jpg"}
        result = fetch(tmp_path / "out", ids=listed(tmp_path, "PMC1"), endpoint=proxy.url)
        assert result["objects"]["excluded"] == {"redirected": 1}
        assert other.log == []


# Faults


def test_retry_after_is_obeyed(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    proxy.faults, proxy.rate, proxy.seed = ("503",), 0.4, 3
    result = fetch(tmp_path / "out", ids=listed(tmp_path, "PMC1"), endpoint=proxy.url)
    pauses = [
        later - now for (_, fault, now), (_, _, later) in zip(proxy.log, proxy.log[1:], strict=False) if fault == "503"
    ]
    assert result["retries"] == len(pauses) > 0
    assert min(pauses) > 0.9


def test_the_same_wrong_bytes_are_a_fact_and_a_silent_endpoint_is_none(bucket, proxy, tmp_path):
    for number in (1, 2, 3):
        bucket.put(f"PMC{number}.1")
    ids = listed(tmp_path, "PMC1", "PMC2", "PMC3")
    proxy.always = {"PMC2.1/g1.jpg": "same", "PMC3.1/g1.jpg": "500"}
    with pytest.raises(Unfinished, match=r"1 of 3 articles are left .*HTTP 500, 8 times tried"):
        fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)
    assert not (tmp_path / "out" / "manifest.json").exists()
    del proxy.always["PMC3.1/g1.jpg"]
    before = len(proxy.log)
    result = fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)
    assert result["objects"] == {"in": 6, "kept": 5, "excluded": {"wrong_md5": 1}}
    assert objects_asked(proxy, before) == ["PMC3.1/g1.jpg"]  # the rest was settled


def test_an_endpoint_that_goes_down_ends_the_run(bucket, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr("llavamed.corpus.pmc.fetch.IN_A_ROW", 4)
    ids = listed(tmp_path, *(f"PMC{n}" for n in range(1, 200)))
    proxy.always = {"prefix=PMC": "403"}
    with pytest.raises(Unfinished, match="stopped answering"):
        fetch(tmp_path / "out", ids=ids, endpoint=proxy.url, concurrency=2)
    assert len(proxy.log) < 30


def test_the_command_line_ends_with_1_and_one_line_then_goes_on(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    bucket.put("PMC2.1")
    proxy.always = {"PMC2.1/g1.jpg": "tomorrow"}
    main = [sys.executable, "-c", "from llavamed.cli import main; main()", "corpus"]
    command = [*main, "fetch", "--ids", listed(tmp_path, "PMC1", "PMC2"), "-o", tmp_path / "out", "--endpoint",
               proxy.url, "--licences", "open", "--years", "2019-", "--part", "1/1", "--quiet", "--json"]  # fmt: skip
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 1 and first.stdout == ""
    assert first.stderr.count("\n") == 1 and "1 of 2 articles are left" in first.stderr
    proxy.always = {}
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(second.stdout)["versions"] == {"in": 2, "kept": 2, "excluded": {}}
    again = subprocess.run([*main, "update", tmp_path / "out", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["update"] == {"new": 0, "changed": 0, "unchanged": 2, "removed": {}}


CHILD = """
import sys
from pathlib import Path

log = open(sys.argv[4], "a", buffering=1)
sys.addaudithook(lambda event, args: event in ("socket.connect", "socket.getaddrinfo", "socket.sendto")
                 and print(event, *args[-1 if event == "socket.connect" else 0 :][:2], file=log))
from llavamed.corpus.pmc import http
from llavamed.corpus.pmc.fetch import fetch
from llavamed.errors import Unfinished

http.FIRST, http.READ = 0.01, 1.0
try:
    fetch(Path(sys.argv[1]), ids=Path(sys.argv[2]), endpoint=sys.argv[3], concurrency=6)
except Unfinished as error:
    sys.exit(str(error))
"""


def _run_and_kill(proxy: FaultyProxy, out: Path, ids: Path, kills: list[int]) -> dict:
    """Run in a process of its own, killed each time the proxy has seen so many requests more; then to the end.

    Checks that nothing a killed run recorded is asked for again, and that no other address is spoken to.
    """
    script, contacts = out.with_name("child.py"), out.with_name("contacts.txt")
    script.write_text(CHILD)
    command = [sys.executable, script, out, ids, proxy.url, contacts]
    settled: set[str] = set()
    for kill in [*kills, 0, 0, 0]:
        since = len(proxy.log)
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
        while kill and process.poll() is None and len(proxy.log) < since + kill:
            time.sleep(0.002)
        if kill:
            assert process.poll() is None, "finished before it was killed"
            os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[1]
        again = settled & set(objects_asked(proxy, since))
        assert not again, f"asked again: {again}"
        if kill:
            time.sleep(0.1)  # what the proxy was still writing
            ledger = Ledger(out / ".job" / "ledger.jsonl")
            settled = set(ledger._known)
            ledger.close()
        elif process.returncode == 0:
            break
        assert kill or "run the same command again" in said, said
    address = proxy.url.removeprefix("http://").replace(":", "', ")
    assert {line for line in contacts.read_text().splitlines() if line.startswith("socket.connect")} == {
        f"socket.connect ('{address})"
    }
    assert all("127.0.0.1" in line for line in contacts.read_text().splitlines())
    return artifact.read_manifest(out)


def test_killed_under_faults(bucket, proxy, tmp_path):
    for number in range(1, 9):
        media = {f"g{n}.jpg": encoded(pixels(number * 10 + n), "JPEG") for n in (1, 2, 3)}
        bucket.put(f"PMC{number}.1", media=media)
    ids = listed(tmp_path, *(f"PMC{number}" for number in range(1, 9)), "PMC99", "x")
    whole = fetch(tmp_path / "whole", ids=ids, endpoint=proxy.url, concurrency=1)
    with FaultyProxy(bucket.url, rate=0.3, seed=1, faults=("500", "slow", "cut", "wrong", "reset")) as faulty:
        manifest = _run_and_kill(faulty, tmp_path / "out", ids, [20, 20])
        assert faulty.faults_met() > 8
    assert manifest["hash"] == whole["hash"]
    assert rehash(tmp_path / "out") == []


@pytest.mark.slow
def test_killed_under_faults_on_real_packages(bucket, proxy, data, tmp_path):
    ids = listed(tmp_path, *put_real(bucket, data))
    whole = fetch(tmp_path / "whole", ids=ids, endpoint=proxy.url)
    plain = len(proxy.log)
    with FaultyProxy(bucket.url, rate=0.3, seed=7) as faulty:
        start = time.monotonic()
        manifest = _run_and_kill(faulty, tmp_path / "out", ids, [80, 120])
        seconds = time.monotonic() - start
        met = faulty.faults_met()
        print(f"\n{whole['versions']['kept']} versions, {whole['objects']['kept']} objects, {whole['bytes']:,} bytes; "
              f"without faults {plain} requests, {whole['seconds']} s; with: {len(faulty.log)} requests, {met} spoilt, "
              f"killed twice, {seconds:.1f} s")  # fmt: skip
    assert met > 0.2 * len(faulty.log)
    assert manifest["hash"] == whole["hash"]
    assert rehash(tmp_path / "out") == []
    assert build([tmp_path / "out"], tmp_path / "corpus")["figures"]["kept"] > 100


# Updates


def _change(bucket: PmcServer) -> None:
    """One version new, one changed, one replaced by a newer one, one withdrawn, one retracted, one relicensed."""
    bucket.put("PMC20.1")
    image = encoded(pixels(2), "JPEG")
    bucket.put("PMC2.1", media={"g1.jpg": image, "g2.jpg": image}, title="Another title")
    bucket.put("PMC3.2")
    bucket.remove("PMC4.1")
    bucket.put("PMC5.1", is_retracted=True)
    bucket.put("PMC6.1")


@pytest.fixture
def old(bucket):
    for number in range(1, 8):
        bucket.put(f"PMC{number}.1", license_code="CC BY-NC" if number in (6, 7) else "CC BY")
    bucket.inventory("2026-01-17T01-00Z")
    return bucket


def test_update_to_a_newer_inventory(old, proxy, tmp_path):
    fetch(tmp_path / "out", inventory="latest", endpoint=proxy.url, licences="commercial")
    before = len(proxy.log)
    kept = (tmp_path / "out" / "data" / "PMC1.1" / "PMC1.1.xml").stat()
    assert update(tmp_path / "out")["requests"] == 0  # no newer one
    _change(old)
    old.inventory("2026-01-18T01-00Z")
    result = update(tmp_path / "out")
    assert result["update"] == {
        "new": 3, "changed": 1, "unchanged": 1, "removed": {"retracted": 1, "superseded": 1, "withdrawn": 1}
    }  # fmt: skip
    asked = {key.split("?")[0] for key in objects_asked(proxy, before) if "inventory" not in key}
    assert asked == {
        *(f"metadata/PMC{name}.json" for name in ("20.1", "2.1", "3.2", "5.1", "6.1")),
        *(f"PMC{name}.1/PMC{name}.1.xml" for name in (20, 6)), "PMC20.1/g1.jpg", "PMC6.1/g1.jpg",
        "PMC3.2/PMC3.2.xml", "PMC3.2/g1.jpg", "PMC2.1/g2.jpg",
    }  # fmt: skip
    fresh = fetch(tmp_path / "fresh", inventory="2026-01-18", endpoint=proxy.url, licences="commercial")
    assert result["hash"] == fresh["hash"] and result["versions"] == fresh["versions"]
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    assert rehash(tmp_path / "out") == []
    after = (tmp_path / "out" / "data" / "PMC1.1" / "PMC1.1.xml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (kept.st_ino, kept.st_mtime_ns)
    removed = {row["pmcid"]: row["reason"] for row in pq.read_table(tmp_path / "out" / "removed.parquet").to_pylist()}
    assert removed == {"PMC3": "superseded", "PMC4": "withdrawn", "PMC5": "retracted"}
    with pytest.raises(InputError, match="older"):
        update(tmp_path / "out", inventory="2026-01-17")


def test_update_of_what_was_fetched_by_ids(old, proxy, tmp_path):
    ids = listed(tmp_path, *(f"PMC{n}" for n in (1, 2, 3, 4, 5, 20)))
    first = fetch(tmp_path / "out", ids=ids, endpoint=proxy.url)
    assert update(tmp_path / "out")["hash"] == first["hash"]
    _change(old)
    before = len(proxy.log)
    result = update(tmp_path / "out")
    assert "PMC1.1/PMC1.1.xml" not in objects_asked(proxy, before)
    assert result["hash"] == fetch(tmp_path / "fresh", ids=ids, endpoint=proxy.url)["hash"]
    assert result["update"]["removed"] == {"retracted": 1, "superseded": 1, "withdrawn": 1}
    with pytest.raises(InputError, match="leave --inventory"):
        update(tmp_path / "out", inventory="latest")


def test_opt_outs_are_obeyed_and_a_new_list_by_an_update(old, proxy, tmp_path):
    out_of_2, out_of_1_7 = listed(tmp_path / "first", "10.1000/2\r"), listed(tmp_path / "second", "PMC7", "PMC1")
    how = {"inventory": "latest", "endpoint": proxy.url, "licences": "commercial"}
    first = fetch(tmp_path / "out", opt_out=out_of_2, **how)
    assert first["versions"]["excluded"] == {"licence": 2, "opt_out": 1}
    assert "PMC2.1/PMC2.1.xml" not in objects_asked(proxy)
    assert update(tmp_path / "out")["requests"] == 0
    result = update(tmp_path / "out", opt_out=out_of_1_7)
    assert result["versions"]["excluded"] == {"licence": 1, "opt_out": 2}
    assert result["update"]["removed"] == {"opt_out": 1}
    assert update(tmp_path / "out")["hash"] == result["hash"]
    fresh = fetch(tmp_path / "fresh", opt_out=out_of_1_7, **how)
    assert fresh["hash"] == result["hash"]


def test_update_searches_again(old, proxy, tmp_path):
    proxy.ids = [1, 2, 4]
    fetch(tmp_path / "out", query="x", endpoint=proxy.url)
    _change(old)
    proxy.ids, before = [1, 2, 20], len(proxy.log)
    result = update(tmp_path / "out")
    assert result["update"] == {"new": 1, "changed": 1, "unchanged": 1, "removed": {"withdrawn": 1}}
    assert {"PMC1.1/PMC1.1.xml", "PMC2.1/PMC2.1.xml", "PMC2.1/g1.jpg"}.isdisjoint(objects_asked(proxy, before))
    assert result["hash"] == fetch(tmp_path / "fresh", query="x", endpoint=proxy.url)["hash"]


def test_an_update_that_fails_leaves_what_was(old, proxy, tmp_path):
    first = fetch(tmp_path / "out", inventory="latest", endpoint=proxy.url)
    _change(old)
    old.inventory("2026-01-18T01-00Z")
    proxy.always = {"PMC20.1/g1.jpg": "500"}
    with pytest.raises(Unfinished):
        update(tmp_path / "out")
    assert artifact.read_manifest(tmp_path / "out")["hash"] == first["hash"]
    assert rehash(tmp_path / "out") == []
    proxy.always, before = {}, len(proxy.log)
    result = update(tmp_path / "out")
    assert [key for key in objects_asked(proxy, before) if "inventory" not in key] == ["PMC20.1/g1.jpg"]
    assert result["hash"] == fetch(tmp_path / "fresh", inventory="2026-01-18", endpoint=proxy.url)["hash"]


@pytest.mark.parametrize("moved", (0, 7))
def test_an_update_killed_while_it_publishes(old, proxy, tmp_path, monkeypatch, moved):
    fetch(tmp_path / "out", inventory="latest", endpoint=proxy.url)
    _change(old)
    old.inventory("2026-01-18T01-00Z")
    fresh = fetch(tmp_path / "fresh", inventory="latest", endpoint=proxy.url)
    replace, calls = os.replace, []

    def killed(source, target):
        if (tmp_path / "out" / ".job" / "manifest.json").exists():
            calls.append(source)
            if len(calls) > moved:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        update(tmp_path / "out")
    monkeypatch.setattr(os, "replace", replace)
    assert update(tmp_path / "out")["hash"] == fresh["hash"]
    assert rehash(tmp_path / "out") == []


def test_only_what_was_fetched_can_be_updated(tmp_path):
    job = artifact.start(tmp_path / "made", "articles", {})
    storage.write_text(job.out / "data" / "a.nxml", "<article/>")
    artifact.publish(job, counts={})
    with pytest.raises(InputError, match="not made by `corpus fetch`"):
        update(tmp_path / "made")


# Parts


def test_a_ledger_line_half_written_is_dropped(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.record("a", bytes=1)
    ledger.record("b", bytes=2)
    ledger.close()
    path.write_bytes(path.read_bytes()[:-3])
    again = Ledger(path)
    assert again.get("a")["bytes"] == 1 and again.get("b") is None
    again.record("c", bytes=3)
    again.close()
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "c"]


def test_a_part_is_one_of_so_many():
    assert select.part_of("2/8") == (2, 8) and select.part_of("") is None
    for text in ("0/2", "3/2", "1", "a/b", "1/2/3"):
        with pytest.raises(InputError, match="K/N"):
            select.part_of(text)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [({}, "which articles"), ({"ids": Path("x"), "query": "y"}, "which articles"),
     ({"query": "x", "licences": "free"}, "commercial, open, all"), ({"inventory": "yesterday"}, "write a day"),
     ({"query": "x", "concurrency": 1000}, "1 to 64"), ({"ids": Path("/none.txt")}, "cannot be read")],
)  # fmt: skip
def test_a_call_that_is_wrong(bucket, proxy, tmp_path, arguments, why):
    with pytest.raises(InputError, match=why):
        fetch(tmp_path / "out", endpoint=proxy.url, **arguments)
    assert not (tmp_path / "out").exists()


def test_the_summary_says_where_articles_came_from(bucket, proxy, tmp_path):
    bucket.put("PMC1.1")
    fetch(tmp_path / "out", ids=listed(tmp_path, "PMC1"), endpoint=proxy.url)
    sources = artifact.read_manifest(tmp_path / "out")["sources"]
    said = acquired({"collected.sources": Fact(sources, "articles: sources")})
    assert said.text == (
        f"Articles were fetched from PubMed Central, s3://{BUCKET} at {proxy.url}, by a list of PMCIDs."
    )
