"""Watching a training: what is written, what a resumed run keeps of it, and the stop at a loss that is no number."""

import json
import math
from types import SimpleNamespace

import pytest
from lxml import html

from llavamed import artifact
from llavamed.errors import Failed, InputError
from llavamed.train import watch
from llavamed.train.flops import Flops
from llavamed.train.packing import Lengths
from llavamed.train.tokens import Example
from page_checks import check_safe

STEPS = 120
SIZES = [watch.Size(tokens=900, computed=1000, alone=2500, labelled=100, flops=2e12)] * STEPS


@pytest.fixture
def clock(monkeypatch):
    """A second passes when a test says so."""
    now = SimpleNamespace(at=100.0)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


@pytest.fixture
def job(tmp_path):
    return artifact.start(tmp_path / "model", "model", {})


def entry(step: int) -> dict:
    return {"step": step, "loss": 5 - step / STEPS, "lr": 2e-5, "grad_norm": 1.5, "tokens": 900}


def go(job, clock, log: list, until: int, **options) -> None:
    """Steps of two seconds, after `log`."""
    with watch.watch(job, "training (instruct)", SIZES, log, device="cpu", **options) as step_done:
        for step in range(len(log) + 1, until + 1):
            clock.at += 2
            log.append(entry(step))
            step_done()


def speed(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "speed.jsonl").read_text().splitlines()]


def shown(page: str) -> dict[str, str]:
    rows = html.document_fromstring(page).xpath("//figure[@class='table']//tbody/tr")
    return {row.xpath("string(th)"): row.xpath("string(td[1])") for row in rows}


def test_a_page_in_the_artifact(job, clock):
    go(job, clock, [], STEPS)
    page = (job.out / "training.html").read_text()
    check_safe(page)
    assert 'http-equiv="refresh"' not in page
    numbers = shown(page)
    assert numbers.pop("peak memory").endswith(" GB")
    assert numbers == {
        "loss": "4.0000", "gradient norm": "1.5", "speed": "450 tokens/s", "useful tokens": "90.0 %",
        "shared prefixes": "2.50 ×", "time": "4:00",
    }  # fmt: skip
    tree = html.document_fromstring(page)
    titles = tree.xpath("//figure[@class='chart']/figcaption/text()")
    assert titles == ["Loss", "Gradient norm", "Learning rate", "Speed"]
    assert [len(line.split()) for line in tree.xpath("//polyline/@points")] == [120, 117, 120, 117, 120, 120, 117]
    assert "Step 120 of 120: done." in page
    assert str(job.folder) not in page


def test_each_step_leaves_its_time(job, clock):
    go(job, clock, [], STEPS)
    log = speed(job.out)
    assert [one["step"] for one in log] == list(range(1, STEPS + 1))
    one = log[7]
    assert one.pop("memory_bytes") > 1e7
    assert one == {"step": 8, "seconds": 2.0, "tokens": 900, "tokens_computed": 1000, "tokens_alone": 2500,
                   "tokens_per_second": 450.0, "mfu": None}  # fmt: skip


def test_the_page_is_drawn_now_and_then_and_loads_itself_anew(job, clock, monkeypatch):
    drawn = []
    write = watch.storage.write_text
    monkeypatch.setattr(watch.storage, "write_text", lambda path, text: (drawn.append(path.name), write(path, text)))
    with watch.watch(job, "training", SIZES, log := [], device="cpu") as step_done:
        for step in range(1, 22):
            clock.at += 1
            log.append(entry(step))
            step_done()
            page = (job.work / "training.html").read_text()
            assert 'http-equiv="refresh" content="10"' in page
            assert f"Step {1 + (step - 1) // 10 * 10} of 120: running, about " in page
        assert drawn.count("training.html") == 3  # after steps 1, 11 and 21
        assert shown(page)["time"] == "0:21"
        assert ", about 1:39 left." in page


def test_resumed_it_goes_on_at_the_saved_step(job, clock):
    log = []
    with pytest.raises(KeyboardInterrupt), watch.watch(job, "training", SIZES, log, device="cpu") as step_done:
        for step in range(1, 51):
            clock.at += 1
            log.append(entry(step))
            step_done()
        raise KeyboardInterrupt
    page = (job.work / "training.html").read_text()
    assert "Step 50 of 120: stopped." in page and "refresh" not in page
    with (job.work / "speed.jsonl").open("a") as stream:
        stream.write('{"step": 51, "seco')  # a kill in the middle of a line
    del log[40:]  # the saved state is older
    go(job, clock, log, STEPS)
    steps = speed(job.out)
    assert [one["step"] for one in steps] == list(range(1, STEPS + 1))
    assert [one["seconds"] for one in steps] == [1.0] * 40 + [2.0] * 80


def test_steps_whose_times_are_lost_are_drawn_without(job, clock):
    log = [entry(step) for step in range(1, 41)]
    go(job, clock, log, STEPS)
    page = html.document_fromstring((job.out / "training.html").read_text())
    assert [len(line.split()) for line in page.xpath("//polyline/@points")] == [120, 117, 120, 117, 120, 80, 78]


def test_mfu_is_shown_where_the_peak_is_known(job, clock, monkeypatch):
    monkeypatch.setattr(watch.flops, "peak", lambda device: 4e12)
    go(job, clock, [], STEPS)
    assert speed(job.out)[3]["mfu"] == 0.25  # 2e12 model FLOPs in 2 seconds
    assert shown((job.out / "training.html").read_text())["MFU"] == "25.0 %"


def test_only_the_first_rank_watches(job, clock, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    go(job, clock, [], 5)
    assert not (job.work / "speed.jsonl").exists() and not (job.out / "speed.jsonl").exists()


def test_the_line_of_progress(job, clock, capsys, monkeypatch):
    monkeypatch.setattr(watch.flops, "peak", lambda device: 4e12)
    go(job, clock, [], STEPS)
    said = capsys.readouterr().err
    assert f"{job.work / 'training.html'}" in said
    assert "training (instruct) 108000/108000" in said
    assert "loss 4.000, useful 90 %, prefixes 2.5×, MFU 25 %, " in said


def test_tensorboard_reads_what_was_written_after_the_saved_step(job, clock, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch.check_board(tmp_path / "board")
    log = []
    go(job, clock, log, 50, board=tmp_path / "board")
    del log[40:]
    clock.at += 1000
    go(job, clock, log, 60, board=tmp_path / "board")
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "grad_norm", "lr", "tokens_per_second", "memory_bytes"}
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 61))
    assert events.Scalars("loss")[9].value == pytest.approx(entry(10)["loss"])


def test_tensorboard_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    watch.check_board(None)
    with pytest.raises(InputError, match=r"llavamed\[tensorboard\]"):
        watch.check_board(tmp_path)


@pytest.mark.parametrize(("ranks", "computed"), [(1, 26), (2, 32)])
def test_the_size_of_a_step(monkeypatch, ranks, computed):
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    lengths = [Lengths(4, 3, 2), Lengths(4, 2, 1), Lengths(5, 1, 1), Lengths(6, 5, 3)]
    size = watch.size([[(0, 1)], [(2,)], [(3,)]], lengths, Flops(token=1, labelled=100, pair=10_000, picture=1e8))
    seen = (10 + 3 * 4 + 6 + 2 * 4 + 3) + (6 * 7 // 2) + (11 * 12 // 2)
    assert size == (26, computed, 7 + 6 + 6 + 11, 7, 26 + 700 + 10_000 * seen + 3e8)


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [(math.nan, 1.0, "the loss is nan"), (2.0, math.inf, "the norm of the gradient is inf")],
)
def test_a_loss_that_is_no_number_stops_and_keeps_its_batch(job, loss, norm, said):
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    batch = [(Example(f"c{n}", (n,), [5, 6], b"\1\1", 1), f"{n:064x}") for n in range(6)]
    watch.check(job, 7, 2.0, 1.0, batch)
    assert not (job.work / "nan-step-7").exists()
    with pytest.raises(Failed, match=f"step 7: {said}, of conversations c0, c1, c2, c3 and 2 more") as failed:
        watch.check(job, 7, loss, norm, batch)
    folder = job.work / "nan-step-7"
    assert str(folder) in str(failed.value)
    tensors = load_file(folder / "batch.safetensors")
    assert len(tensors) == 12
    assert (tensors["3.ids"].tolist(), tensors["3.labels"].tolist()) == ([3, 5, 6], [-100, 5, 6])
    kept = json.loads((folder / "batch.json").read_text())
    assert (kept["step"], kept["loss"], kept["grad_norm"]) == (7, str(loss), str(norm))
    assert kept["records"] == [{"id": f"c{n}", "image_sha256": f"{n:064x}"} for n in range(6)]
