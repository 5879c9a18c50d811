"""A bucket in the layout of PMC's, on moto's S3 server."""

import csv
import gzip
import hashlib
import io
import json
import logging
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer
from packages import cite, encoded, fig, jats, pixels

BUCKET = "pmc-oa-opendata"
CODES = {"licenses/by/": "CC BY", "licenses/by-nc/": "CC BY-NC", "publicdomain/zero": "CC0"}


class PmcServer:
    """An empty bucket; `put` versions, `remove` them, write an `inventory` of what there is."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.s3 = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.s3.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        self._server.stop()

    def clear(self) -> None:
        for key, _ in self.objects(""):
            self.delete(key)

    def write(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data, ACL="public-read")

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def objects(self, prefix: str) -> Iterable[tuple[str, str]]:
        """(key, ETag) of each object."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["ETag"]

    def put(self, version: str, xml: bytes | None = None, media: dict[str, bytes] | None = None, **changes) -> dict:
        """A version with its files; `changes` to its metadata record, None to leave a field out."""
        number = version.removeprefix("PMC").split(".")[0]
        xml = small(version) if xml is None else xml
        media = {"g1.jpg": encoded(pixels(int(number)), "JPEG")} if media is None else media
        urls = [url(f"{version}/{name}", data) for name, data in media.items()]
        record = {
            "pmcid": f"PMC{number}", "version": int(version.split(".")[1]), "pmid": number, "doi": f"10.1000/{number}",
            "title": f"Article {number}", "citation": "J Test. 2020 Mar 4;5(1):2-9.", "is_pmc_openaccess": True,
            "is_manuscript": False, "is_historical_ocr": False, "is_retracted": False, "license_code": "CC BY",
            "xml_url": url(f"{version}/{version}.xml", xml), "media_urls": urls,
            "text_url": url(f"{version}/{version}.txt", b"text"),
        }  # fmt: skip
        record = {key: value for key, value in (record | changes).items() if value is not Ellipsis}
        for name, data in {f"{version}.xml": xml, f"{version}.txt": b"text", **media}.items():
            self.write(f"{version}/{name}", data)
        self.describe(version, record)
        return record

    def describe(self, version: str, record: dict) -> None:
        for key in (f"{version}/{version}.json", f"metadata/{version}.json"):
            self.write(key, json.dumps(record).encode())

    def remove(self, version: str) -> None:
        for key, _ in [*self.objects(f"{version}/"), (f"metadata/{version}.json", "")]:
            self.delete(key)

    def inventory(self, name: str) -> None:
        """Amazon's inventory report of what there is now, in two files."""
        rows = [(BUCKET, key, "2026-01-17T05:00:00.000Z", etag.strip('"')) for key, etag in self.objects("metadata/")]
        prefix = f"inventory-reports/{BUCKET}/metadata"
        files = []
        for index, part in enumerate((rows[::2], rows[1::2])):
            text = io.StringIO()
            csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(part)
            data = gzip.compress(text.getvalue().encode(), mtime=0)
            key = f"{prefix}/data/{name}-{index}.csv.gz"
            self.write(key, data)
            files.append({"key": key, "size": len(data), "MD5checksum": md5(data)})
        manifest = {"sourceBucket": BUCKET, "fileFormat": "CSV", "fileSchema": "Bucket, Key, LastModifiedDate, ETag",
                    "files": files}  # fmt: skip
        self.write(f"{prefix}/{name}/manifest.json", json.dumps(manifest).encode())

    def put_folder(self, folder: Path, version: str) -> None:
        """A real package: its text, the files beside it, and a record made from the text."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.put_files(files, version)

    def put_archive(self, path: Path, version: str) -> None:
        """The same, out of an old package."""
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isfile()]
            self.put_files({Path(m.name).name: tar.extractfile(m).read() for m in members}, version)

    def put_files(self, files: dict[str, bytes], version: str) -> None:
        texts = [name for name in files if name.endswith((".nxml", ".xml"))]
        xml = files[texts[0]]
        licence = next((code for part, code in CODES.items() if part.encode() in xml), "CC BY")
        year = re.search(rb"<pub-date[^>]*>.*?<year>(\d{4})</year>", xml, re.DOTALL)
        citation = f"J Test. {year[1].decode()} Mar;1(1):1." if year else ""
        media = {name: data for name, data in files.items() if name not in texts}
        self.put(version, xml, media, license_code=licence, citation=citation)


def put_real(server: PmcServer, data: Path) -> list[str]:
    """The real articles and packages under `data`, as versions; their PMCIDs."""
    ids = []
    folders = [path for part in ("articles", "packages") for path in sorted((data / part).iterdir()) if path.is_dir()]
    for number, folder in enumerate(folders):
        pmcid = folder.name if folder.name.startswith("PMC") else f"PMC{9900000 + number}"
        server.put_folder(folder, f"{pmcid}.1")
        ids.append(pmcid)
    server.put_archive(data / "packages" / "PMC3003633.tar.gz", "PMC3003633.1")
    return [*ids, "PMC3003633"]


def small(version: str, year: int = 2020) -> bytes:
    """An article with one figure, whose image is g1.jpg."""
    number = version.removeprefix("PMC").split(".")[0]
    text = jats(f"<p>Seen ({cite(1)}) in {version}.</p>{fig(1)}", ids=f"pmc:{number},pmid:{number}")
    return text.replace(b"2020", str(year).encode())


def url(key: str, data: bytes) -> str:
    return f"s3://{BUCKET}/{key}?md5={md5(data)}"


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()
