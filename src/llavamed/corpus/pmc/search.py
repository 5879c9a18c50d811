"""A search of PMC by NCBI's E-utilities: the PMCIDs that a query finds."""

import json
import os
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from llavamed.corpus.pmc.http import Client, Failed
from llavamed.corpus.pmc.store import ENDPOINT, check_address
from llavamed.errors import InputError

Json = dict[str, Any]
ESEARCH = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils/esearch.fcgi"
PAGE = 10_000  # ids a request
# Seconds between two requests: NCBI asks for at most 3 a second, or 10 with a key.
WITHOUT_KEY, WITH_KEY = 0.34, 0.1
_ANSWER_BYTES = 10_000_000


def search_address(endpoint: str) -> str:
    """Where to search: at NCBI for PMC's own bucket, else at the same host as the bucket, so that no other is asked."""
    if endpoint == ENDPOINT:
        return ESEARCH
    parts = urlsplit(check_address(endpoint))
    return f"{parts.scheme}://{parts.netloc}/entrez/eutils/esearch.fcgi"


def search(client: Client, query: str, address: str = ESEARCH, contact: str = "") -> list[int]:
    """The PMCIDs that `query` finds, in order. `NCBI_API_KEY` of the environment is sent to NCBI alone.

    Raises:
        InputError: the query is refused.
        Problem, Failed: as `Client.read`.
    """
    key = os.environ.get("NCBI_API_KEY", "") if address == ESEARCH else ""
    asked = {"db": "pmc", "term": query, "retmode": "json", "retmax": str(PAGE), "usehistory": "y",
             "tool": "llavamed", "email": contact, "api_key": key}  # fmt: skip
    found: set[int] = set()
    start, count = 0, 1
    while start < count:
        if start:
            time.sleep(WITH_KEY if key else WITHOUT_KEY)
        query_string = urlencode({name: value for name, value in {**asked, "retstart": str(start)}.items() if value})
        answer = client.read(f"{address}?{query_string}", _ANSWER_BYTES, _answer)
        if "ERROR" in answer:
            raise InputError(f"the search was refused ({answer['ERROR']}): mend --query")
        page = [int(x) for x in answer["idlist"]]
        found.update(page)
        start, count = start + len(page), int(answer["count"])
        if not page and start < count:
            raise Failed(f"the search ended after {start} of {count} articles")
        if answer.get("webenv"):  # the same result for every page, whatever PMC adds meanwhile
            asked |= {"WebEnv": answer["webenv"], "query_key": str(answer.get("querykey", "1"))}
    return sorted(found)


def _answer(data: bytes) -> Json:
    try:
        result: Json = json.loads(data, strict=False)["esearchresult"]
        if "ERROR" not in result:
            int(result["count"])
            [int(x) for x in result["idlist"]]
    except (KeyError, TypeError) as error:  # such as {"error": "API rate limit exceeded"}
        raise ValueError(f"no search result: {error!r}") from None
    return result
