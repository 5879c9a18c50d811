"""Run one pure function per shard, in this process or in a pool of local processes."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")


def map_shards(function: Callable[[Shard], Result], shards: Iterable[Shard], workers: int = 1) -> Iterator[Result]:
    """Yield `function(shard)` for every shard, in the order in which they finish.

    At most two shards a worker are in flight, so memory does not grow with their number.

    Raises:
        RuntimeError: a worker process died, most often for lack of memory.
        Exception: whatever `function` raised; records that are merely bad are its own to catch.
    """
    if workers <= 1:
        yield from map(function, shards)
        return
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
