"""Run one pure function per shard: in this process, in a pool of local processes, or as tasks of a Ray cluster."""

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from llavamed.errors import InputError

ENGINES = ("local", "ray")
RETRIES = 2  # of a shard whose Ray worker or node died
STORE = 100_000_000  # bytes of Ray's object store: a shard's result is small, its data goes to disk
Shard = TypeVar("Shard")
Result = TypeVar("Result")


def map_shards(
    function: Callable[[Shard], Result], shards: Iterable[Shard], workers: int = 1, engine: str = "local"
) -> Iterator[Result]:
    """Yield `function(shard)` for every shard, in the order in which they finish.

    At most two shards a worker are in flight, so memory does not grow with their number. `engine`: "local", `workers`
    processes of this machine; "ray", a task a shard, on all processors of the cluster that RAY_ADDRESS names, else of
    one that runs on this machine, else of one of `workers` processes, which is ended again.

    Raises:
        InputError: the engine is unknown, not installed, or there is no cluster at RAY_ADDRESS.
        RuntimeError: a worker process died, most often for lack of memory.
        Exception: whatever `function` raised; records that are merely bad are its own to catch.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine {engine} is unknown: the engines are {', '.join(ENGINES)}")
    if engine == "ray":
        yield from _on_ray(function, shards, workers)
    elif workers <= 1:
        yield from map(function, shards)
    else:
        yield from _in_pool(function, shards, workers)


def _in_pool(function: Callable[[Shard], Result], shards: Iterable[Shard], workers: int) -> Iterator[Result]:
    waiting = iter(shards)
    # spawn: forking a process that has threads (pyarrow's, torch's) can deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        running: set[Future[Result]] = {pool.submit(function, shard) for shard in islice(waiting, 2 * workers)}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                    running.update(pool.submit(function, shard) for shard in islice(waiting, 1))
        except BrokenProcessPool as error:
            message = "a worker process died (out of memory?): run the same command again, with fewer --workers"
            raise RuntimeError(message) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: end with it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(function: Callable[[Shard], Result], shards: Iterable[Shard], workers: int) -> Iterator[Result]:
    ray, ours = _connect(workers)
    waiting = iter(shards)
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_task)
    folder = Path.cwd()
    running: set[Any] = set()
    try:
        while True:
            free = 2 * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(running)  # a cluster can grow
            running.update(task.remote(folder, function, shard) for shard in islice(waiting, max(0, free)))
            if not running:
                break
            finished, _ = ray.wait(list(running))
            for reference in finished:
                running.remove(reference)
                yield ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0]
        message = f"a Ray worker died {RETRIES + 1} times, or the cluster did ({reason}): run the same command again"
        raise RuntimeError(message) from error
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _task(folder: Path, function: Callable[[Shard], Result], shard: Shard) -> Result:
    """One shard on a node of the cluster, where relative paths mean what they meant to the caller."""
    with suppress(OSError):  # a node without that folder does well with absolute paths
        os.chdir(folder)
    return function(shard)


def _connect(workers: int) -> tuple[Any, bool]:
    """Ray, connected to a cluster, and whether the connection was made here. Nothing is told to Ray's makers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'llavamed[ray]'") from None
    if ray.is_initialized():
        return ray, False
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _knock(address)
        ray.init(address="auto", **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if address:
            reason = str(error).splitlines()[0]
            raise InputError(f"no Ray cluster at RAY_ADDRESS={address} ({reason}): start one, or unset it") from None
        ray.init(address="local", num_cpus=workers, object_store_memory=STORE, **quiet)
    return ray, True


def _knock(address: str) -> None:
    """Ray itself tries for minutes before it says that nobody is there."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()
