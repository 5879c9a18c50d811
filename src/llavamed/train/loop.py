"""Train a LLaVA checkpoint on conversations: the parts that a stage names."""

import json
import math
import time
from collections import Counter
from pathlib import Path
from typing import Any

from llavamed import artifact, storage
from llavamed.artifact import Job
from llavamed.console import progress
from llavamed.errors import InputError
from llavamed.instruct.schema import EXCLUDED
from llavamed.storage import Json
from llavamed.train.seen import SEEN
from llavamed.train.seen import rows as seen_rows
from llavamed.train.stage import Stage
from llavamed.train.tokens import IGNORE

SAVE_SECONDS = 60.0  # between two saved states


def train(
    model: Path, data: Path, folder: Path, stage: Stage, *, force: bool = False, device: str = "auto"
) -> dict[str, Any]:
    """Train `model` on the train split of `data` and write the result to `folder`.

    Returns `{steps, loss_first, loss_last, tokens, useful_tokens, seconds, artifact, hash}`. `tokens`: computed,
    padding included; `useful_tokens`: without it. Loss: mean negative log-likelihood in nats of the assistant's tokens.
    A killed run goes on where its last saved state stood and ends with the same weights.

    Raises:
        InputError: `model` or `data` is not such an artifact, has no train split or a damaged or missing weight; no
            conversation can be used; no such device; or what `artifact.start` refuses.
        RuntimeError: the loss is no longer a number.
    """
    start = artifact.require(model, "model")
    artifact.require(data, "conversations")
    if stage.vision.train != "frozen":
        raise InputError(f"vision: {stage.vision.train}: the vision tower cannot be trained yet: freeze it")
    if start.get("backbone", {}).get("projector") == "new" and stage.projector.train != "full":
        raise InputError(f"{model} has a new projector: train it first, projector: full")
    if not storage.has_rows(data, "train"):
        raise InputError(f"{data} has no conversation in its train split: build it from more articles")
    weights = sum(file["bytes"] for name, file in start["files"].items() if name.endswith(".safetensors"))
    whole = "full" in (stage.language.train, stage.vision.train)
    needs = weights * (14 if whole else 2)  # two saved states of three float32 each, and the result
    job = artifact.start(folder, "model", stage.model_dump(), parents=[model, data], force=force, needs_bytes=needs)
    try:
        manifest = job.manifest or _train(job, model, data, stage, device, start)
    except InputError:
        if not (job.work / "state").exists():
            artifact.abandon(job)
        raise
    done = manifest["training"]
    keys = ("steps", "loss_first", "loss_last", "tokens", "useful_tokens", "seconds")
    return {**{key: done[key] for key in keys}, "artifact": str(folder), "hash": manifest["hash"]}


def _train(job: Job, model: Path, data: Path, stage: Stage, device: str, start: Json) -> Json:
    import torch

    from llavamed.model import checkpoint
    from llavamed.model.device import fast_bf16, pick
    from llavamed.train import parts, projector
    from llavamed.train.data import read

    device = pick(device)
    bf16 = stage.precision == "bf16" or (stage.precision == "auto" and fast_bf16(device))
    net, processor = checkpoint.load(model, device=device)
    trained = parts.choose(net, stage)
    # AdamW works on float32 copies: bfloat16 weights would lose updates smaller than 1/256 of them.
    masters = {name: parameter.detach().float().clone() for name, parameter in trained.items()}
    spread = net.get_input_embeddings().weight.float().std().item()
    net.to(torch.bfloat16 if bf16 else torch.float32)
    found = read(data, net, processor, stage.max_length)
    if start.get("backbone", {}).get("projector") == "new":
        prefix = parts.PREFIXES["projector"][0]
        of_projector = {n.removeprefix(prefix): weight for n, weight in masters.items() if n.startswith(prefix)}
        projector.fit(of_projector, list(found.features.values()), spread)
    for name in trained:
        masters[name].grad = torch.zeros_like(masters[name])
    log, tokens, seconds = _run(job, net, trained, masters, found, stage, processor.tokenizer.pad_token_id)

    result, processor = checkpoint.load(model)  # as it was stored: what is frozen stays as it was, bit for bit
    parts.write(masters, result, stage)
    checkpoint.save(result, processor, job.out)
    lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in log)
    storage.write_text(job.out / "loss.jsonl", lines)
    storage.write_table(job.out / "seen.parquet", seen_rows(model, found, stage.name, stage.epochs), SEEN)
    if found.excluded:
        storage.write_table(job.out / "excluded" / "train-00000.parquet", found.excluded, EXCLUDED)
    kept, lost = len(found.examples), Counter(row["reason"] for row in found.excluded)
    training = {
        **stage.model_dump(),
        "precision": "bf16" if bf16 else "fp32",
        "steps": len(log),
        "loss_first": log[0]["loss"],
        "loss_last": log[-1]["loss"],
        "tokens": tokens,
        "useful_tokens": sum(entry["tokens"] for entry in log),
        "seconds": round(seconds, 1),
        "device": device,
        "threads": torch.get_num_threads(),
        "parameters_trained": sum(weight.numel() for weight in masters.values()),
    }
    return artifact.publish(
        job,
        counts={"conversations": {"in": kept + lost.total(), "kept": kept, "excluded": dict(sorted(lost.items()))}},
        card=_card(training, parts.describe(stage), start),
        backbone={**start.get("backbone", {}), "projector": "trained"},
        training=training,
    )


def _run(
    job: Job, net: Any, trained: Json, masters: Json, found: Any, stage: Stage, pad: int
) -> tuple[list[Json], int, float]:
    """All steps, from the last saved state on: the log, the tokens computed and the seconds it took."""
    import torch

    from llavamed.train import parts, state
    from llavamed.train.data import collate, rate, schedule

    lengths = [len(example.ids) for example in found.examples]
    batches = schedule(lengths, stage.batch_size, stage.epochs, stage.seed)
    sizes = [len(batch) * max(lengths[index] for index in batch) for batch in batches]
    optimizer = torch.optim.AdamW(parts.groups(masters, stage), betas=(0.9, 0.999), fused=True)
    log, before = state.restore(job.work / "state", masters, optimizer)
    _hand_over(masters, trained)
    begun = saved = time.monotonic()
    with progress(f"training ({stage.name})", sum(sizes), "tokens", done=sum(sizes[: len(log)])) as advance:
        for step in range(len(log), len(batches)):
            ids, labels, features = collate(found, batches[step], pad)
            loss = token_loss(net, ids.to(net.device), labels.to(net.device), features.to(net.device))
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"step {step + 1}: the loss is {loss.item()}: lower learning_rate and train again")
            loss.backward()
            for name, parameter in trained.items():  # into the same memory at every step: new pages are slow to get
                masters[name].grad.copy_(parameter.grad)
                parameter.grad.zero_()
            norm = torch.nn.utils.clip_grad_norm_(masters.values(), stage.max_grad_norm)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, len(batches), group["peak"], stage.warmup)
            lr = rate(step, len(batches), stage.learning_rate, stage.warmup)
            optimizer.step()
            _hand_over(masters, trained)
            useful = sum(lengths[index] for index in batches[step])
            log.append({"step": step + 1, "loss": loss.item(), "lr": lr, "grad_norm": norm.item(), "tokens": useful})
            now = time.monotonic()
            if now - saved >= SAVE_SECONDS and step + 1 < len(batches):
                state.save(job.work / "state", masters, optimizer, log, before + now - begun)
                saved = time.monotonic()
            advance(sizes[step], f"loss {loss.item():.3f}")
    return log, sum(sizes), before + time.monotonic() - begun


def _hand_over(masters: Json, trained: Json) -> None:
    """Round the float32 weights into those that compute."""
    for name, parameter in trained.items():
        parameter.data.copy_(masters[name])


def token_loss(model: Any, ids: Any, labels: Any, features: Any) -> Any:
    """Mean negative log-likelihood, in nats, of the labelled tokens of a batch.

    ids, labels: [n, length], padded on the right; features: [n, image tokens, width of the vision tower].
    """
    import torch.nn.functional as F

    embeddings = model.get_input_embeddings()(ids)  # [n, length, width]
    pictures = model.model.multi_modal_projector(features.to(model.dtype))  # [n, image tokens, width]
    places = (ids == model.config.image_token_index)[..., None]
    embeddings = embeddings.masked_scatter(places, pictures.to(embeddings.dtype))
    # No attention mask: attention is causal and padding comes last, so nothing that counts can see it.
    hidden = model.model.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    targets = labels[:, 1:]  # position t says token t + 1
    said = targets != IGNORE
    logits = model.lm_head(hidden[:, :-1][said])  # [labelled tokens, vocabulary]: a large vocabulary, so only these
    return F.cross_entropy(logits.float(), targets[said])


def _card(training: Json, what: str, start: Json) -> str:
    parts = (start.get("backbone") or {}).get("parts", [])
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "---",
        "",
        "# LLaVA trained on figures of biomedical articles",
        "",
        f"Stage `{training['name']}`: the {what} trained for {training['steps']} steps "
        f"({training['useful_tokens']:,} tokens) in {training['precision']}. Loss {training['loss_first']:.3f} at the "
        f"first step, {training['loss_last']:.3f} at the last (`loss.jsonl`). "
        "`seen.parquet` lists every record it saw, `manifest.json` where each came from.",
        "",
        "For research use only, not for clinical decisions.",
        "",
        *(f"- {part['role']}: {part['name']} ({part['licence']}). {part['note']}" for part in parts),
    ]
    return "\n".join(lines).rstrip() + "\n"
