"""Visual chat: a judge marks a model's answers beside the reference's, in both orders, and we say what that is worth.

The protocol of LLaVA-Med's published evaluation: questions about figures, the caption and the sentences that cite it,
GPT-4's answers as reference, a judge that reads text alone. Published scores come from one order, reference first.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from llavamed import artifact, storage
from llavamed.corpus.problem import Problem
from llavamed.endpoint import Endpoint, ask
from llavamed.errors import InputError
from llavamed.evaluate import predictions
from llavamed.evaluate.chat_questions import Left, read_questions, say, table_of
from llavamed.evaluate.contamination import UNKNOWN, contamination
from llavamed.evaluate.judge import MARKS, ORDERS, PROMPT, REFERENCE_FIRST, Case, problem, read_verdict, request
from llavamed.evaluate.metrics import OPEN
from llavamed.evaluate.questions import Question
from llavamed.evaluate.relative import marked, scores
from llavamed.request import Outcome
from llavamed.storage import Json

RULES = 1  # of reading verdicts: what is read by other rules is another artifact
KIND = "judgements"
COUNTED = ("id", "pair_id", "type", "domain", "order", "model_mark", "reference_mark")
JOURNAL = "verdicts.jsonl"
_WORDS = ("id", "pair_id", "type", "domain", "question", "reference", "answer")
JUDGEMENTS = pa.schema(
    [
        *((name, pa.string()) for name in (*_WORDS, "order")),
        ("model_mark", pa.float64()),  # 1 to 10; none where there is no verdict
        ("reference_mark", pa.float64()),
        ("why", pa.string()),
        ("reply", pa.string()),  # the judge's last
        ("replies", pa.int64()),  # how many it took
        *((name, pa.string()) for name in ("judge", "reason", "detail")),  # the last two: why there is no verdict
    ]
)
EXCLUDED = pa.schema([(name, pa.string()) for name in ("id", "question", "answer", "source", "reason", "detail")])
CARD = """---
pretty_name: "Judgements of visual chat"
configs:
- config_name: default
  data_files: data/*.parquet
---
# Judgements of visual chat

What a language model as judge said of a model's answers beside the reference's, each pair in both orders, reading the
caption and the sentences that cite the figure, never the picture. `data/scores.json` holds the relative scores: the
mean over questions of the model's mark divided by the reference's, per cent, with 95 % intervals over figures. They can
be counted again, without a judge: `llavamed evaluate chat --judgements FOLDER`.
For research use only: no figure here says that the model is fit for clinical use.
"""


def evaluate_chat(
    answers: Path,
    questions: Path,
    folder: Path,
    *,
    judge: Endpoint,
    captions: Path | None = None,
    answered_by: Path | None = None,
    max_tokens: int = 256,
    allow_missing: bool = False,
    force: bool = False,
) -> Json:
    """Have `judge` mark the answers of a file beside the references of `questions`; write and return what it said.

    Every verdict is in a journal as it arrives, and stays in the folder: none is asked for twice, with `force` neither.
    `answered_by`: the model that gave the answers, to tell whether it was trained on these questions.
    Returns `{n, of, excluded: {reason: n}, problems: {problem: n} of the answers, judge, scores: see relative.scores,
    contamination: see `contamination`, tokens, artifact, hash}`.

    Raises:
        InputError: a file is something else; answers and questions do not fit (see `predictions.PROBLEMS`) and not
            `allow_missing`; or what `artifact.start` and `ask` refuse.
        Unfinished: the judge did not answer all. What it answered is kept.
    """
    cases, left = read_questions(questions, captions)
    if left and not allow_missing:
        raise InputError(f"{questions}: {say(left)}: mend them, or --allow-missing to judge the other {len(cases)}")
    said = [Question(case.id, case.pair_id, b"", case.question, case.reference, OPEN, case.type) for case in cases]
    paired = predictions.pair(predictions.read(answers), said, "id")
    if not allow_missing:
        predictions.refuse(paired.problems, str(answers))
    left += [Left(q.id, "no_answer", "", answers.name, q.question) for q in said if q.id not in paired.answers]
    cases = [replace(case, answer=paired.answers[case.id]) for case in cases if case.id in paired.answers]
    if not cases:
        raise InputError(f"{answers} answers none of the questions of {questions}: name the answers to these")
    prompt_hash = storage.sha256_file(PROMPT)
    settings = {"judge": judge.model, "max_tokens": max_tokens, "rules": RULES, "prompt_hash": prompt_hash}
    files = {"answers": answers, "questions": questions} | ({"captions": captions} if captions else {})
    inputs = {
        name: artifact.read_manifest(path)["hash"] if path.is_dir() else storage.sha256_file(path)
        for name, path in files.items()
    }
    parents = [answered_by] if answered_by and (answered_by / "manifest.json").exists() else []
    before = _journals(folder)
    job = artifact.start(folder, KIND, settings, inputs=inputs, parents=parents, force=force)
    if job.manifest is None:
        outcomes = _ask(job, judge, cases, max_tokens, before)
        seen = contamination(answered_by, said)
        judgements = [
            _row(case, order, outcome, judge.model)
            for (case, order), outcome in zip(_pairs(cases), outcomes, strict=True)
        ]
        failed = _failed(judgements)
        result = _count(judgements) | {
            "of": len(cases) + len(left),
            "problems": dict(Counter(sorted(problem for problem, _, _ in paired.problems))),
            "contamination": seen,
            "tokens": {"prompt": sum(o.tokens[0] for o in outcomes), "completion": sum(o.tokens[1] for o in outcomes)},
        }
        storage.write_table(job.out / "data/judgements-00000.parquet", judgements, JUDGEMENTS)
        storage.write_json(job.out / "data/scores.json", result)
        storage.write_json(job.out / "data/problems.json", predictions.listed(paired.problems, answers))
        left += failed
        if left:
            storage.write_table(job.out / "excluded/questions-00000.parquet", list(map(vars, left)), EXCLUDED)
        counts: Json = {"in": len(cases) + len(left) - len(failed), "kept": len(cases) - len(failed)}
        counts["excluded"] = dict(Counter(sorted(item.reason for item in left)))
        models = [_model(judge, outcomes, prompt_hash)]
        job.manifest = artifact.publish(job, counts={"questions": counts}, models=models, card=CARD)
    result = json.loads((folder / "data/scores.json").read_text(encoding="utf-8"))
    return {**result, "artifact": str(folder), "hash": job.manifest["hash"]}


def _ask(job: artifact.Job, judge: Endpoint, cases: Sequence[Case], max_tokens: int, before: bytes) -> list[Outcome]:
    """What the judge says of each of `_pairs`. `before`: the journal of an earlier run."""
    journal = job.work / JOURNAL
    if before and not journal.exists():
        journal.write_bytes(before)
    try:
        requests = [request(case, order, max_tokens) for case, order in _pairs(cases)]
        outcomes = list(ask(judge, requests, journal, check=problem, label="verdicts"))
    except InputError:
        if not journal.exists() or not journal.stat().st_size:
            artifact.abandon(job)
        raise
    (job.out / JOURNAL).write_bytes(journal.read_bytes())
    return outcomes


def _pairs(cases: Sequence[Case]) -> list[tuple[Case, str]]:
    return [(case, order) for case in cases for order in ORDERS]


def recount(path: Path) -> Json:
    """Count the judgements of a folder or file (Parquet, JSON, JSON lines, CSV) again; nobody is asked.

    Returns `{n, of, excluded, judge, scores}`, and of a folder `contamination`, as `evaluate_chat`.

    Raises:
        InputError: it holds none, or a judgement that cannot be.
    """
    if path.is_dir():
        manifest = artifact.require(path, KIND)
        known = json.loads((path / "data/scores.json").read_text(encoding="utf-8")).get("contamination", UNKNOWN)
        counted = _count(list(storage.read_rows(path)))
        return counted | {"of": manifest["counts"]["questions"]["in"], "contamination": known}
    judgements = []
    for number, row in enumerate(table_of(path), 1):
        try:
            judgements.append(_checked(row))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}#{number} is no judgement ({error}): name a file with {', '.join(COUNTED)}, as "
                "data/judgements-00000.parquet of `evaluate chat` has them"
            ) from None
    if not judgements:
        raise InputError(f"{path} holds no judgements: name the folder or file that `evaluate chat` wrote")
    twice = [key for key, n in Counter((row["id"], row["order"]) for row in judgements).items() if n > 1]
    if twice:
        raise InputError(f"{path}: {len(twice)} judgements are there twice ({', '.join(twice[0])}): keep one of each")
    return _count(judgements) | {"contamination": UNKNOWN}


def _checked(row: Json | Problem) -> Json:
    """What is counted of a row. Raises ValueError, TypeError, KeyError."""
    if isinstance(row, Problem):
        raise ValueError(row.detail)
    marks = {key: None if row[key] in (None, "") else float(row[key]) for key in COUNTED[-2:]}
    if any(mark is not None and not MARKS[0] <= mark <= MARKS[-1] for mark in marks.values()):
        raise ValueError(f"marks of {', '.join(map(str, marks.values()))}")
    if row["order"] not in ORDERS:
        raise ValueError(f"order {row['order']!r}")
    words = {key: str(row[key]) for key in COUNTED[:-2]}
    return {**words, **marks, **{key: row.get(key) or "" for key in ("judge", "reason", "detail")}}


def _count(judgements: Sequence[Json]) -> Json:
    questions = marked(judgements)
    whole = scores(questions)
    reasons = Counter(item.reason for item in _failed(judgements))
    return {
        "n": len(questions),
        "of": len({row["id"] for row in judgements}),
        "excluded": dict(sorted(reasons.items())),
        "judge": ", ".join(sorted({row["judge"] for row in judgements if row["judge"]})),
        "scores": whole,
    }


def _row(case: Case, order: str, outcome: Outcome, judge: str) -> Json:
    verdict = None if outcome.reason else read_verdict(outcome.text)
    first, second = (verdict.first, verdict.second) if verdict else (None, None)
    model, reference = (second, first) if order == REFERENCE_FIRST else (first, second)
    return {
        **{name: getattr(case, name) for name in _WORDS},
        "order": order,
        "model_mark": model,
        "reference_mark": reference,
        "why": verdict.why if verdict else "",
        "reply": outcome.text,
        "replies": outcome.replies,
        "judge": judge,
        "reason": outcome.reason,
        "detail": outcome.detail,
    }


def _failed(judgements: Iterable[Json]) -> list[Left]:
    """The questions that have no verdict in one of the orders, with the first reason."""
    failed: dict[str, Left] = {}
    for row in judgements:
        if row["model_mark"] is None and row["id"] not in failed:
            detail = f"{row['order']}: {row['detail']}"
            failed[row["id"]] = Left(
                row["id"], row["reason"], detail, "judge", row.get("question", ""), row.get("answer", "")
            )
    return list(failed.values())


def _model(judge: Endpoint, outcomes: Sequence[Outcome], prompt_hash: str) -> Json:
    """The judge, as it is named in the manifest: by us, and by its server."""
    return {
        "name": judge.model,
        "version": ", ".join(sorted({outcome.model for outcome in outcomes if outcome.model})),
        "endpoint": judge.base,
        "prompt_hash": prompt_hash,
        "not_taken": sorted({name for outcome in outcomes for name in outcome.without}),
    }


def _journals(folder: Path) -> bytes:
    """What a judge was asked for this folder before, by a finished run or by one with other files or settings."""
    places = (folder / JOURNAL, folder / ".job" / JOURNAL)
    return b"".join(path.read_bytes() for path in places if path.is_file())
