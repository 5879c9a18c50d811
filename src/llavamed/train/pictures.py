"""Pictures as rows need them: features of a frozen vision tower, computed once, or decoded anew each time."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from llavamed.train.tokens import opened, pixels

T = TypeVar("T")
AT_ONCE = 16  # pictures in a batch of the vision tower
ROWS_AHEAD = 4  # whose pictures are decoded while one trains
DECODERS = 4


class Features:
    """What the projector reads, [image tokens, width of the vision tower] of each picture, in a file that is mapped
    into memory: the vision tower is frozen, so each picture passes it once."""

    def __init__(self, store: Path, model: Any, processor: Any) -> None:
        self._store, self._model, self._processor = store, model, processor
        self._file = store.open("wb")
        self._places: dict[str, int] = {}
        self._waiting: list[Any] = []
        self._all: Any = None  # [pictures, image tokens, width]

    def add(self, key: str, _data: bytes, picture: Any) -> None:
        """Take a picture: its file's bytes, and what they are decoded."""
        self._places[key] = len(self._places)
        self._waiting.append(pixels(picture, self._processor))
        if len(self._waiting) == AT_ONCE:
            self._compute()

    def close(self) -> None:
        """After the last: map the file."""
        import torch

        self._compute()
        self._file.close()
        shape, kind = self._all
        count = len(self._places) * shape[0] * shape[1]
        self._all = torch.from_file(str(self._store), shared=True, size=count, dtype=kind).view(-1, *shape)

    def feed(self, rows: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, Any]]:
        """Rows with the keys of their pictures -> with what those are: [n, image tokens, width]."""
        return ((row, self._all[[self._places[key] for key in keys]]) for row, keys in rows)

    def sample(self, n: int) -> list[Any]:
        """Features of the first pictures, at most `n`, each [image tokens, width]."""
        return list(self._all[:n])

    def _compute(self) -> None:
        import torch

        if self._waiting:
            found = image_features(self._model, torch.stack(self._waiting)).contiguous()
            self._all = found.shape[1:], found.dtype
            self._file.write(found.view(torch.uint8).numpy().data)
            self._waiting.clear()


class Pictures:
    """Pixels [3, side, side] of each picture, decoded by threads ahead of their row, from a file of the pictures."""

    def __init__(self, store: Path, model: Any, processor: Any) -> None:
        self._store, self._model, self._processor = store, model, processor
        self._file: Any = store.open("wb")
        self._places: dict[str, tuple[int, int]] = {}  # offset, bytes

    def add(self, key: str, data: bytes, _picture: Any) -> None:
        """Take a picture: its file's bytes, and what they are decoded."""
        self._places[key] = self._file.tell(), len(data)
        self._file.write(data)

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


def image_features(model: Any, images: Any) -> Any:
    """What the projector is fed for `images` [n, 3, side, side]: [n, image tokens, width of the vision tower]."""
    import torch

    seen: list[Any] = []
    hook = model.model.multi_modal_projector.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.inference_mode():
            model.get_image_features(images.to(model.device, model.dtype))
    finally:
        hook.remove()
    return seen[0].cpu()
