"""An evaluation set of held-out figures: questions that a teacher asks and answers, in the published layout.

LLaVA-Med's chat evaluation has, of each figure, a conversation and one question for a description in detail, with the
answers of a language model that read caption and mentions as the reference (arXiv 2306.00890).
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llavamed import storage
from llavamed.corpus.jats import file_name
from llavamed.corpus.schema import FIGURES, SPLITS, with_features
from llavamed.endpoint import Endpoint
from llavamed.errors import InputError
from llavamed.instruct.asking import Asked, ask_teacher, journal_of, say_if_fewer
from llavamed.instruct.clean import Victim
from llavamed.instruct.draw import Wanted
from llavamed.instruct.formats.chat_eval import question_record
from llavamed.instruct.price import Prices
from llavamed.instruct.prompts import Description, Prompt, answer_problem, problem, read_answer, read_turns
from llavamed.instruct.schema import CONVERSATIONS
from llavamed.instruct.teacher import choose, clean, settings_of, told_of
from llavamed.instruct.write import Excluded, Turns, Writer, open_set, write_set
from llavamed.journal import Journal
from llavamed.storage import Json

QUESTIONS = "data/questions.jsonl"
IMAGES = "data/images"
CONVERSATION, DESCRIPTION = "conversation", "detailed_description"  # types of questions, as published
SCHEMA = with_features(
    pa.schema(
        [
            *CONVERSATIONS,
            ("types", pa.list_(pa.string())),  # of each question
            *(FIGURES.field(name) for name in ("fig_label", "fig_caption", "in_text_mention")),
        ]
    )
)
CARD = """For evaluation, not for training: questions about held-out figures, with reference answers that a language
model wrote from each figure's caption and the sentences that cite it: **it did not see the picture**, and a reference
may be wrong. Of each figure a conversation, and one question for a description in detail (`types`). Turns that break a
rule of cleaning were left out, or lost a clause about their text. `data/questions.jsonl` has the same questions one a
line, in the layout of LLaVA-Med's published chat evaluation, for `llavamed evaluate chat --questions`, and
`data/images` the pictures. Each caption keeps its article's licence; the terms of the model's maker hold for what it
wrote. For research use only: no score on it says that a model is fit for clinical use."""


@dataclass(frozen=True)
class _Set:
    """What is asked about each figure, and what was answered."""

    conversation: Asked
    description: Asked
    prompt: Prompt
    words: Description

    def turns(self, figure: Json, model: str, book: Journal) -> Turns:
        """The turns of the conversation, then the description. Raises Excluded: one of them has no reply."""
        turns = read_turns(self.conversation.reply(figure, model, book))
        answer = read_answer(self.description.reply(figure, model, book))
        return [*turns, (self.words.question(figure), answer)]

    def write_one(self, figure: Json, *, model: str, book: Journal, file: str) -> Turns:
        """The turns of a figure in that file. Raises Excluded: it is not drawn, or has no reply."""
        self.conversation.choice.drawn[file].check(figure, self.conversation.choice.wanted)
        return self.turns(figure, model, book)

    def clean(self, turns: Turns, figure: Json) -> tuple[Turns, list[Victim]]:
        """What is kept of the turns: nothing, unless both a turn of conversation and the description are."""
        kept, victims = clean(turns, figure)
        if set(self.types(figure, kept)) == {CONVERSATION, DESCRIPTION}:
            return kept, victims
        number = {question: n for n, (question, _) in enumerate(turns, 1)}
        why = "of conversation and description, only one is left"
        return [], victims + [Victim(number[turn[0]], *turn, "incomplete", why) for turn in kept]

    def types(self, figure: Json, turns: Turns) -> list[str]:
        """Of each turn."""
        types = [CONVERSATION for _ in turns]
        if turns and turns[-1][0] == self.words.question(figure):
            types[-1] = DESCRIPTION
        return types

    def describe(self, figure: Json, turns: Turns) -> Json:
        """What a record holds besides its turns."""
        about = {name: figure[name] for name in ("fig_label", "fig_caption", "in_text_mention")}
        return {"types": self.types(figure, turns), "prompt_hash": self.prompt.of(figure).hash, **about}

    def whole(self, model: str, journal: Path) -> int:
        """Of how many figures the answers are all there."""
        book, n = Journal(journal), 0
        for figure in self.conversation.choice:
            with suppress(Excluded):
                n += bool(self.clean(self.turns(figure, model, book), figure)[0])
        book.close()
        return n


def make_evaluation_set(
    corpus: Path,
    folder: Path,
    endpoint: Endpoint,
    *,
    wanted: Wanted | None = None,
    against: Sequence[Path] = (),
    max_tokens: int = 1024,
    prices: Prices | None = None,
    dry_run: bool = False,
    workers: int = 1,
    force: bool = False,
) -> Json:
    """Write questions and reference answers on held-out figures of `corpus` to `folder`.

    `wanted`: by default 50 single pictures of the test split, the five domains in turn, one of an article. A figure
    whose answers cannot be used gives way to the next one, so that there are as many, if the corpus has them. The
    folder is an artifact of conversations, with QUESTIONS and IMAGES beside the tables. The rest as `generate`, whose
    result it returns with `questions: {type: n}`.

    Raises:
        InputError, Unfinished: as `generate`; there is no split of that name.
    """
    wanted, prices = wanted or Wanted(50, per_article=1, split="test"), prices or Prices()
    if wanted.split not in SPLITS:
        raise InputError(f"--split {wanted.split}: a corpus has {', '.join(SPLITS)}")
    prompt, words = Prompt(mentions=True), Description(wanted.seed)
    settings = settings_of(endpoint, wanted, max_tokens, mentions=True)
    settings |= {"split": wanted.split, "description_prompt_hash": words.hash}
    job = open_set(corpus, folder, "evaluation", settings, prompt.path, force, against)
    if job.manifest is None:
        n, missing = wanted.n, 0
        while True:
            choice = choose(job, corpus, replace(wanted, n=n and n + missing), against, workers)
            made = _Set(
                Asked(choice, partial(prompt.request, max_tokens=max_tokens), problem, "conversations"),
                Asked(choice, partial(words.request, max_tokens=max_tokens), answer_problem, "descriptions"),
                prompt, words,
            )  # fmt: skip
            told = ask_teacher(job, endpoint, [made.conversation, made.description], prices, dry_run)
            if dry_run:
                say_if_fewer(wanted, len(choice), choice.left())
                return told
            before, missing = missing, len(choice) - made.whole(endpoint.model, journal_of(folder))
            if n is None or missing == before or len(choice) < n + before:
                break
        about = {"name": endpoint.model, "version": told["version"], "endpoint": endpoint.base}
        models = [about | {"prompt_hash": p.hash, "not_taken": told["not_taken"]} for p in (prompt, words)]
        book = Journal(journal_of(folder))
        writers: dict[str, Writer] = {
            path.relative_to(corpus).as_posix(): partial(
                made.write_one, model=endpoint.model, book=book, file=path.name
            )
            for path in storage.tables(corpus)
        }
        job.manifest = write_set(
            job, corpus, writers, teacher=endpoint.model, models=models, text=CARD, workers=1, clean=made.clean,
            describe=made.describe, schema=SCHEMA, finish=write_questions, tokens=told["tokens"],
            estimate=told["estimate"],
        )  # fmt: skip
        book.close()
    kinds = [kind for row in storage.read_rows(folder, columns=["types"]) for kind in row["types"]]
    asked = {kind: kinds.count(kind) for kind in (CONVERSATION, DESCRIPTION)}
    return {"questions": asked} | told_of(job.manifest, folder, prices, wanted)


def write_questions(folder: Path) -> None:
    """Beside the tables of a set: QUESTIONS, one a line in the published layout, and the pictures."""
    lines = []
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    for path in storage.tables(folder):
        for row in pq.read_table(path).to_pylist():
            name = file_name(row["pair_id"]) + Path(row["image"]["path"] or "").suffix
            (folder / IMAGES / name).write_bytes(row["image"]["bytes"])
            lines += [json.dumps(question, ensure_ascii=False) + "\n" for question in questions_of(row, name)]
    storage.write_text(folder / QUESTIONS, "".join(lines))


def questions_of(row: Json, image: str) -> list[Json]:
    """The questions of a record as published; ids are those that `evaluate vqa` gives to its answers."""
    said = [part["value"] for part in row["conversations"]]
    turns = enumerate(zip(said[::2], said[1::2], row["types"], strict=True))
    return [question_record(f"{row['id']}-{number}", row, image, *turn) for number, turn in turns]
