"""Pictures as rows need them: features of a frozen vision tower, computed once, or decoded anew each time."""

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from llavamed.train import parallel
from llavamed.train.tokens import opened, pixels

T = TypeVar("T")
AT_ONCE = 16  # pictures in a batch of the vision tower
ROWS_AHEAD = 4  # whose pictures are decoded while one trains
DECODERS = 4


class Features:
    """What the projector reads, [image tokens, width of the vision tower] of each picture, in a file that is mapped
    into memory: the vision tower is frozen, so each picture passes it once. Ranks take turns, each with a file."""

    def __init__(self, store: Path, model: Any, processor: Any) -> None:
        self._model, self._processor = model, processor
        self._stores = [store.with_name(f"{store.name}-{rank}") for rank in range(parallel.world())]
        self._file = self._stores[parallel.rank()].open("wb")
        self._places: dict[str, tuple[int, int]] = {}  # rank, place in its file
        self._waiting: list[Any] = []
        self.like = blank(model, processor)

    def add(self, key: str, _data: bytes, picture: Any) -> None:
        """Take a picture: its file's bytes, and what they are decoded."""
        place, rank = divmod(len(self._places), parallel.world())
        self._places[key] = rank, place
        if rank == parallel.rank():
            self._waiting.append(pixels(picture, self._processor))
        if len(self._waiting) == AT_ONCE:
            self._compute()

    def close(self) -> None:
        """After the last. What is below needs the files of all ranks."""
        self._compute()
        self._file.close()

    def feed(self, rows: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, Any]]:
        """Rows with the keys of their pictures -> with what those are: [n, image tokens, width]."""
        import torch

        return ((row, torch.stack([self._of(key) for key in keys])) for row, keys in rows)

    def sample(self, n: int) -> list[Any]:
        """Features of the first pictures, at most `n`, each [image tokens, width]."""
        return [self._of(key) for key in islice(self._places, n)]

    def _of(self, key: str) -> Any:
        rank, place = self._places[key]
        return self._maps[rank][place]

    @cached_property
    def _maps(self) -> dict[int, Any]:
        """By rank, its file: [pictures, image tokens, width]."""
        import torch

        counts = Counter(rank for rank, _ in self._places.values())
        return {
            rank: torch.from_file(
                str(self._stores[rank]), shared=True, size=count * self.like.numel(), dtype=self.like.dtype
            ).view(-1, *self.like.shape)
            for rank, count in counts.items()
        }

    def _compute(self) -> None:
        import torch

        if self._waiting:
            found = image_features(self._model, torch.stack(self._waiting)).contiguous()
            self._file.write(found.view(torch.uint8).numpy().data)
            self._waiting.clear()


class Pictures:
    """Pixels [3, side, side] of each picture, decoded by threads ahead of their row, from a file of the pictures, which
    the first rank writes."""

    def __init__(self, store: Path, model: Any, processor: Any) -> None:
        self._store, self._model, self._processor = store, model, processor
        self._file: Any = (store if parallel.first() else Path(os.devnull)).open("wb")
        self._places: dict[str, tuple[int, int]] = {}  # offset, bytes
        self._size = 0
        self.like = blank(model, processor)

    def add(self, key: str, data: bytes, _picture: Any) -> None:
        """Take a picture: its file's bytes, and what they are decoded."""
        self._places[key] = self._size, len(data)
        self._size += self._file.write(data)

    def close(self) -> None:
        """After the last."""
        self._file.close()

    def feed(self, rows: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, Any]]:
        """Rows with the keys of their pictures -> with what those are: [n, 3, side, side]."""
        import torch

        waiting = iter(rows)
        with ThreadPoolExecutor(DECODERS) as pool:
            ahead: deque[tuple[T, list[Future[Any]]]] = deque()
            while True:
                for row, keys in islice(waiting, ROWS_AHEAD + 1 - len(ahead)):
                    ahead.append((row, [pool.submit(self._pixels, key) for key in keys]))
                if not ahead:
                    return
                row, pictures = ahead.popleft()
                yield row, torch.stack([picture.result() for picture in pictures])

    def sample(self, n: int) -> list[Any]:
        """Features of the first pictures, at most `n`, each [image tokens, width]."""
        keys = list(self._places)[:n]
        batches = [(None, keys[start : start + AT_ONCE]) for start in range(0, len(keys), AT_ONCE)]
        return [one for _, seen in self.feed(batches) for one in image_features(self._model, seen)]

    def _pixels(self, key: str) -> Any:
        start, size = self._places[key]
        with self._store.open("rb") as stream:
            stream.seek(start)
            return pixels(opened({"bytes": stream.read(size)}), self._processor)


def blank(model: Any, processor: Any) -> Any:
    """Features of an empty picture: what those of any look like."""
    from PIL import Image

    return image_features(model, pixels(Image.new("RGB", (8, 8)), processor)[None])[0]


def image_features(model: Any, images: Any) -> Any:
    """What the projector is fed for `images` [n, 3, side, side]: [n, image tokens, width of the vision tower]."""
    import torch

    projector = model.model.multi_modal_projector
    model.model.multi_modal_projector = torch.nn.Identity()
    try:
        with torch.inference_mode():
            return torch.stack(list(model.get_image_features(images.to(model.device, model.dtype)).pooler_output)).cpu()
    finally:
        model.model.multi_modal_projector = projector
