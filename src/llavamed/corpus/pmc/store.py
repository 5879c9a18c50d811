"""The bucket: where it is, what it lists, what it holds under a key."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urlencode, urlsplit

from lxml import etree

from llavamed.corpus.pmc.http import Body, Client, Failed
from llavamed.corpus.problem import Problem
from llavamed.errors import InputError

BUCKET = "pmc-oa-opendata"
ENDPOINT = f"https://{BUCKET}.s3.amazonaws.com"
_LISTING_BYTES = 10_000_000


class Entry(NamedTuple):
    """An object, or with a delimiter a folder (its `key` ends with it, its `etag` is empty)."""

    key: str
    etag: str


class Bucket:
    """PMC's bucket at the address `base`."""

    def __init__(self, client: Client, base: str) -> None:
        self.client = client
        self.base = base.rstrip("/")

    def list(self, prefix: str, delimiter: str = "") -> Iterator[Entry]:
        """What is under `prefix`, in the order of the keys, a page of 1,000 at a time.

        Raises:
            Problem, Failed: as `Client.read`.
        """
        query = {"list-type": "2", "prefix": prefix, "delimiter": delimiter, "encoding-type": "url"}
        while True:
            address = f"{self.base}/?{urlencode({key: value for key, value in query.items() if value})}"
            entries, token = self.client.read(address, _LISTING_BYTES, _listing)
            yield from entries
            if not token:
                return
            query["continuation-token"] = token

    def get(self, key: str, limit: int) -> Body:
        """The object in memory; errors as `Client.get`."""
        return self.client.get(self._address(key), limit)

    def save(self, key: str, path: Path, limit: int, md5: str = "") -> Body:
        """The object in a file; errors as `Client.save`."""
        return self.client.save(self._address(key), path, limit, md5)

    def _address(self, key: str) -> str:
        return f"{self.base}/{quote(key)}"


def open_bucket(client: Client, endpoint: str = ENDPOINT) -> Bucket:
    """The bucket at `endpoint`: that address itself, or the folder below it that has the bucket's name.

    Raises:
        InputError: it is no http(s) address, does not answer, or has no such bucket.
    """
    address = check_address(endpoint)
    parts = urlsplit(address)
    itself = (parts.hostname or "").startswith(f"{BUCKET}.") or parts.path.strip("/")
    why = ""
    for base in (address,) if itself else (f"{address}/{BUCKET}", address):
        try:
            client.read(f"{base}/?list-type=2&max-keys=1", _LISTING_BYTES, _listing)
            return Bucket(client, base)
        except Problem as problem:
            why = why or f"{problem.reason}: {problem.detail}"
        except Failed as error:
            raise InputError(f"{endpoint} does not answer ({error}): check the address and the connection") from None
    raise InputError(f"{endpoint} has no bucket {BUCKET} that can be listed ({why}): check --endpoint")


def check_address(url: str) -> str:
    """`url` without a slash at its end.

    Raises:
        InputError: it is no http(s) address, or names a user.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InputError(f"{url} is no address: write one as https://host or http://host:port/bucket")
    if "@" in parts.netloc:
        raise InputError("the address must hold no user name or password: it would stand in the manifest")
    return url.rstrip("/")


def _listing(data: bytes) -> tuple[list[Entry], str]:
    """The entries of a page of ListObjectsV2, and the token of the next page or ""."""
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"no XML: {error}") from None
    name = etree.QName(root).localname
    if name != "ListBucketResult":
        raise Problem("refused", f"a {name[:40]}, not a listing")
    plain = unquote_plus if _text(root, "EncodingType") == "url" else str
    entries = [
        Entry(plain(_text(node, "Key")), _text(node, "ETag").strip('"').lower()) for node in root.findall("{*}Contents")
    ] + [Entry(plain(_text(node, "Prefix")), "") for node in root.findall("{*}CommonPrefixes")]
    token = _text(root, "NextContinuationToken") if _text(root, "IsTruncated") == "true" else ""
    return sorted(entries), token


def _text(node: etree._Element, name: str) -> str:
    return node.findtext(f"{{*}}{name}") or ""


_VERSION = re.compile(r"PMC(\d{1,10})\.(\d{1,4})/")


def newest(bucket: Bucket, pmcid: int) -> int:
    """The number of the newest version of an article: 10 comes after 2.

    Raises:
        Problem: not_found: the bucket has none; and as `Client.read`.
        Failed: as `Client.read`.
    """
    found = [
        int(match[2])
        for entry in bucket.list(f"PMC{pmcid}.", "/")
        if (match := _VERSION.fullmatch(entry.key)) and int(match[1]) == pmcid
    ]
    if not found:
        raise Problem("not_found", "the bucket has no version of it")
    return max(found)
