"""Train a LLaVA checkpoint on conversations: the parts that a stage names."""

import json
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.artifact import Job
from llavamed.cards import model_head
from llavamed.console import console
from llavamed.errors import InputError
from llavamed.instruct.schema import EXCLUDED
from llavamed.storage import Json
from llavamed.train import parallel, watch
from llavamed.train.packing import Row
from llavamed.train.seen import SEEN
from llavamed.train.seen import rows as seen_rows
from llavamed.train.stage import Stage, check_window

SAVE_SECONDS, SAVE_SHARE = 60.0, 0.05  # between two saved states: so long, and of the time at most this in saving
LOGITS = 2048  # tokens whose logits are in memory at once


def train(
    model: Path,
    data: Path,
    folder: Path,
    stage: Stage,
    *,
    force: bool = False,
    device: str = "auto",
    board: Path | None = None,
) -> dict[str, Any]:
    """Train `model` on the train split of `data` and write the result to `folder`.

    Returns `{steps, loss_first, loss_last, tokens, useful_tokens, seconds, artifact, hash}`. `tokens`: computed by
    the language model; `useful_tokens`: those of them that are no padding: all. Loss: mean negative log-likelihood in
    nats of the assistant's tokens.
    A killed run goes on where its last saved state stood and ends with the same weights. `board`: a folder for
    TensorBoard.

    Raises:
        InputError: `model` or `data` is not such an artifact, has no train split or a damaged or missing weight; no
            conversation can be used; no such device; or what `artifact.start` refuses.
        Failed: the loss or the gradient is no longer finite.
    """
    with parallel.joined(device):
        parallel.together(lambda: watch.check_board(board))
        manifest = _in_folder(model, data, folder, stage, force, device, board)
    done = manifest["training"]
    keys = ("steps", "loss_first", "loss_last", "tokens", "useful_tokens", "seconds")
    return {**{key: done[key] for key in keys}, "artifact": str(folder), "hash": manifest["hash"]}


def _in_folder(
    model: Path, data: Path, folder: Path, stage: Stage, force: bool, device: str, board: Path | None
) -> Json:
    start = parallel.together(lambda: _start(model, data, stage))
    weights = sum(file["bytes"] for name, file in start["files"].items() if name.endswith(".safetensors"))
    whole = "full" in (stage.language.train, stage.vision.train)
    needs = weights * (14 if whole else 2)  # two saved states of three float32 each, and the result
    settings = stage.model_dump()
    job = parallel.open_job(folder, "model", settings, parents=[model, data], force=force, needs_bytes=needs)
    try:
        return job.manifest or _train(job, model, data, stage, device, board, start)
    except InputError:
        if not (job.work / "state").exists():
            artifact.abandon(job)
        raise
    finally:
        if parallel.first():
            artifact.pause(job)


def _start(model: Path, data: Path, stage: Stage) -> Json:
    """The manifest of the model to start from."""
    start = artifact.require(model, "model")
    check_window(model, stage.max_length)
    artifact.require(data, "conversations")
    if start.get("backbone", {}).get("projector") == "new" and stage.projector.train != "full":
        raise InputError(f"{model} has a new projector: train it first, projector: full")
    if not storage.has_rows(data, "train"):
        raise InputError(f"{data} has no conversation in its train split: build it from more articles")
    return start


def _train(job: Job, model: Path, data: Path, stage: Stage, device: str, board: Path | None, start: Json) -> Json:
    weights, found, log, training = _fit(job, model, data, stage, device, board, start)
    del found.pictures  # they hold the model that was trained: its memory is for the result, which is loaded next
    parallel.together(lambda: _publish(job, model, data, stage, weights, found, log, training, start))
    return job.manifest or artifact.read_manifest(job.folder)


def _fit(
    job: Job, model: Path, data: Path, stage: Stage, device: str, board: Path | None, start: Json
) -> tuple[Json, Any, list[Json], Json]:
    """Whole trained weights by name (on the first rank), what was read, the log, and what the manifest tells."""
    if parallel.first():
        console.print(f"loading PyTorch and {model}", highlight=False, soft_wrap=True)
    import torch

    from llavamed.model import checkpoint
    from llavamed.model.device import fast_bf16, pick
    from llavamed.train import attention, parts, projector
    from llavamed.train.data import read
    from llavamed.train.pictures import Features, Pictures

    device = parallel.together(lambda: pick(device))
    bf16 = stage.precision == "bf16" or (stage.precision == "auto" and fast_bf16(device))
    alone = parallel.world() == 1
    dtype = None if bf16 else torch.float32  # bfloat16 ones would be in memory beside them
    net, processor = parallel.together(lambda: checkpoint.load(model, dtype=dtype, device=device if alone else "cpu"))
    trained = parallel.together(lambda: parts.choose(net, stage))
    spread = net.get_input_embeddings().weight.float().std().item()
    compiled = stage.compile and device == "cuda"
    masters = _masters(net, trained, bf16, compiled) if alone else parallel.prepare(net, trained, device, bf16)
    keep = Features if stage.cache_features and stage.vision.train == "frozen" else Pictures
    found = parallel.together(
        lambda: read(data, net, processor, stage.max_length, keep(job.work / "pictures", net, processor))
    )
    parallel.check(data, found.lengths())
    if start.get("backbone", {}).get("projector") == "new":
        prefix = parts.PREFIXES["projector"][0]
        of_projector = {n.removeprefix(prefix): weight for n, weight in masters.items() if n.startswith(prefix)}
        projector.fit(of_projector, found.pictures.sample(projector.PICTURES), spread)
    attention.use(net.model.language_model)
    layers = net.model.language_model.layers
    if compiled:
        compile_each(layers)
    if stage.checkpointing:
        recompute(layers)
    if not alone:
        trained = masters = parallel.shard(net, trained, device, bf16)
    log, seconds = _run(job, net, trained, masters, found, stage, board)
    training = {
        **stage.model_dump(),
        "precision": "bf16" if bf16 else "fp32",
        "steps": len(log),
        "loss_first": log[0]["loss"],
        "loss_last": log[-1]["loss"],
        "tokens": sum(entry["tokens"] for entry in log),
        "useful_tokens": sum(entry["tokens"] for entry in log),  # there is no padding
        "conversation_tokens": sum(entry["conversation_tokens"] for entry in log),
        "seconds": round(seconds, 1),
        "device": device,
        "processes": parallel.world(),
        "threads": torch.get_num_threads(),
        "parameters_trained": sum(weight.numel() for weight in masters.values()),
    }
    return parallel.gather(masters), found, log, training


def _publish(
    job: Job, model: Path, data: Path, stage: Stage, weights: Json, found: Any, log: list[Json], training: Json,
    start: Json,
) -> None:  # fmt: skip
    from llavamed.model import checkpoint
    from llavamed.summary.card import training_data
    from llavamed.train import parts

    if not parallel.first():
        return
    result, processor = checkpoint.load(model)  # as it was stored: what is frozen stays as it was, bit for bit
    parts.write(weights, result, stage)
    checkpoint.save(result, processor, job.out)
    lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in log)
    storage.write_text(job.out / "loss.jsonl", lines)
    storage.write_table(job.out / "seen.parquet", seen_rows(model, found, stage.name, stage.epochs), SEEN)
    if found.excluded:
        storage.write_table(job.out / "excluded" / "train-00000.parquet", found.excluded, EXCLUDED)
    del result  # reading the lineage needs memory too
    beside = [path.resolve().parent for path in (model, data)]
    kept, lost = len(found.examples), Counter(row["reason"] for row in found.excluded)
    job.manifest = artifact.publish(
        job,
        counts={"conversations": {"in": kept + lost.total(), "kept": kept, "excluded": dict(sorted(lost.items()))}},
        card=lambda manifest: _card(training, parts.describe(stage), start, training_data(job.out, manifest, beside)),
        backbone={**start.get("backbone", {}), "projector": "trained"},
        training=training,
    )


def _run(
    job: Job, net: Any, trained: Json, masters: Json, found: Any, stage: Stage, board: Path | None
) -> tuple[list[Json], float]:
    """All steps, from the last saved state on: the log and the seconds it took."""
    import torch

    from llavamed.train import flops, packing, parts, state
    from llavamed.train.data import rate
    from llavamed.train.pictures import Features

    lengths = found.lengths()
    steps = packing.steps(found.prefixes(), stage.batch_size, stage.epochs, stage.seed)
    plan = [packing.rows(step, lengths, stage.row_tokens) for step in steps]
    tokens = [[sum(packing.tokens(figure, lengths) for figure in row) for row in rows] for rows in plan]
    dealt = [parallel.deal(rows, parallel.world())[parallel.rank()] for rows in tokens]
    cost = flops.count(net, found.examples[0].image_tokens, cached=isinstance(found.pictures, Features))
    sizes = [watch.size(rows, lengths, cost) for rows in plan]
    optimizer = torch.optim.AdamW(parts.groups(masters, stage), betas=(0.9, 0.999), fused=True)
    log, before = state.restore(job.work / "state", masters, optimizer)
    _hand_over(masters, trained)
    begun = saved = time.monotonic()
    wait = SAVE_SECONDS
    fed = found.feed(plan[step][row] for step in range(len(log), len(plan)) for row, _ in dealt[step])
    compute = parallel.as_forward(net, row_loss)
    with watch.watch(job, f"training ({stage.name})", sizes, log, net.device.type, board) as step_done:
        for step in range(len(log), len(plan)):
            size, loss = sizes[step], 0.0
            for (_, counts), (row, pictures) in zip(dealt[step], fed, strict=False):
                part = compute(row, pictures) * counts / size.labelled
                (part * parallel.world()).backward()  # gradients are averaged over ranks
                loss = loss + part.detach()  # still on its device: a GPU need not be waited for
                del part  # what is left of its graph would stand in the way of the next row's memory
            due = parallel.first() and time.monotonic() - saved >= wait and step + 1 < len(plan)
            loss, save = parallel.total(float(loss), due)  # the first rank's clock counts
            norm = parallel.clip(list(masters.values()), stage.max_grad_norm)
            watch.check(job, step + 1, loss, norm, found.of(steps[step]))
            for group in optimizer.param_groups:
                group["lr"] = rate(step, len(plan), group["peak"], stage.warmup)
            lr = rate(step, len(plan), stage.learning_rate, stage.warmup)
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)  # the same memory at every step: new pages are slow to get
            _hand_over(masters, trained)
            log.append(
                {"step": step + 1, "loss": loss, "lr": lr, "grad_norm": norm, "tokens": size.tokens,
                 "conversation_tokens": size.alone, "labelled_tokens": size.labelled}
            )  # fmt: skip
            step_done()
            if save:
                now = time.monotonic()
                state.save(job.work / "state", masters, optimizer, log, before + now - begun)
                saved = time.monotonic()
                wait = max(SAVE_SECONDS, (saved - now) / SAVE_SHARE)
    return log, before + time.monotonic() - begun


def _masters(net: Any, trained: Json, bf16: bool, compiled: bool) -> Json:
    """The float32 weights by name that AdamW works on, gradients at zero: bfloat16 ones would lose updates smaller than
    1/256 of them. `net` becomes of the type that computes; in float32 they are its own."""
    import torch

    masters, add = trained, _add_gradient
    if compiled:  # a kernel for the two types that takes 0.71 times as long as PyTorch's own (H200)
        add = torch.compile(_add_gradient, dynamic=True)
    if bf16:
        masters = {name: parameter.detach().float() for name, parameter in trained.items()}
    for parameter in net.parameters():  # its buffers, frequencies of positions, stay exact
        parameter.data = parameter.data.to(torch.bfloat16 if bf16 else torch.float32)
    for name, parameter in trained.items():
        masters[name].grad = torch.zeros_like(masters[name])
        if bf16:
            parameter.register_post_accumulate_grad_hook(partial(_take_gradient, masters[name], add))
    return masters


def _take_gradient(master: Any, add: Any, parameter: Any) -> None:
    """Rows add up in float32; a bfloat16 gradient is gone before the next comes."""
    add(master.grad, parameter.grad)
    parameter.grad = None


def _add_gradient(total: Any, part: Any) -> None:
    total.add_(part)


def _hand_over(masters: Json, trained: Json) -> None:
    """Round the float32 weights into those that compute."""
    for name, parameter in trained.items():
        if parameter is not masters[name]:
            parameter.data.copy_(masters[name])


def compile_each(layers: Any) -> None:
    """Have each layer run as few kernels, made once for all: they are alike."""
    import torch

    for layer in layers:
        layer.forward = torch.compile(layer.forward)


def recompute(layers: Any) -> None:
    """Have each layer keep its input alone, and compute the rest again for the gradient."""
    from torch.utils.checkpoint import checkpoint

    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def row_loss(net: Any, row: Row, pictures: Any) -> Any:
    """Sum of the negative log-likelihood, in nats, of the labelled tokens of a row.

    pictures: of its figures, features of the vision tower [n, image tokens, width] or pixels [n, 3, side, side].
    """
    import torch

    from llavamed.model.device import send
    from llavamed.train import attention

    places = [place for place, token in enumerate(row.ids) if token == net.config.image_token_index]
    ids, positions, sources, targets, places = (
        send(torch.tensor(part), net.device) for part in (row.ids, row.positions, row.sources, row.targets, places)
    )
    pictures = send(pictures, net.device).to(net.dtype)
    if pictures.ndim == 4:
        seen = torch.cat(list(net.get_image_features(pictures).pooler_output))
    else:
        seen = net.model.multi_modal_projector(pictures).flatten(0, 1)  # [image tokens of all, width]
    embeddings = net.get_input_embeddings()(ids)  # [tokens, width]
    embeddings = embeddings.index_copy(0, places, seen.to(embeddings.dtype))[None]
    hidden = net.model.language_model(
        inputs_embeds=embeddings,
        position_ids=positions[None],
        layout=attention.layout(row.shape, embeddings),
        use_cache=False,
    ).last_hidden_state[0]
    return _nll(net.lm_head, hidden[sources], targets)


def _nll(head: Any, hidden: Any, targets: Any) -> Any:
    """Sum of -log p(target). A vocabulary is large: only what carries loss has logits, and only so many at a time."""
    import torch.nn.functional as F
    from torch.utils.checkpoint import checkpoint

    def nll(hidden: Any, targets: Any) -> Any:
        return F.cross_entropy(head(hidden).float(), targets, reduction="sum")

    if len(targets) <= LOGITS:
        return nll(hidden, targets)
    pieces = zip(hidden.split(LOGITS), targets.split(LOGITS), strict=True)
    return sum(checkpoint(nll, *piece, use_reentrant=False) for piece in pieces)


def _card(training: Json, what: str, start: Json, data: str) -> str:
    parts = (start.get("backbone") or {}).get("parts", [])
    lines = [
        *model_head(),
        "",
        "# LLaVA trained on figures of biomedical articles",
        "",
        f"Stage `{training['name']}`: the {what} trained for {training['steps']} steps "
        f"({training['useful_tokens']:,} tokens) in {training['precision']}. Loss {training['loss_first']:.3f} at the "
        f"first step, {training['loss_last']:.3f} at the last (`loss.jsonl`).",
        "",
        "For research use only, not for clinical decisions.",
        "",
        *(f"- {part['role']}: {part['name']} ({part['licence']}). {part['note']}" for part in parts),
        *([""] if parts else []),
        data,
    ]
    return "\n".join(lines) + "\n"
