"""The tokenizer of a LLaMA or Mistral checkpoint, whichever files it has, with `<image>` in it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llavamed.errors import InputError
from llavamed.model.tokenizer import IMAGE_TOKEN

PATCH, FRAME = "<im_patch>", ("<im_start>", "<im_end>")  # LLaVA's tokens around and in place of a picture
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # as SentencePiece writes it


@dataclass
class Vocabulary:
    """Pieces and merges, and the tokens added to them, by id."""

    pieces: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[str, int]


@dataclass(frozen=True)
class Words:
    """A tokenizer, the token that begins a text, and whether it put a space after every special token."""

    tokenizer: Any
    start: str
    spaced: bool


def words_of(folder: Path, *, framed: bool, length: int) -> Words:
    """The tokenizer of the checkpoint in `folder`, of `length` tokens at most.

    It puts no space before a text and no token at its start: chat templates say both. A picture's token is where the
    checkpoint has <im_patch>, or follows the last. `framed`: it has <im_start> and <im_end> too.

    Raises:
        InputError: no tokenizer, or another kind.
    """
    settings = _json(folder / "tokenizer_config.json")
    known = _sentencepiece(folder) if (folder / "tokenizer.model").exists() else _tokenizers(folder)
    known.added |= {token: int(i) for token, i in _json(folder / "added_tokens.json").items()}
    known.added |= {entry["content"]: int(i) for i, entry in settings.get("added_tokens_decoder", {}).items()}
    added = sorted((i, token) for token, i in known.added.items() if token not in known.pieces)
    tokens = [IMAGE_TOKEN if token == PATCH else token for _, token in added]
    if [i for i, _ in added] != list(range(len(known.pieces), len(known.pieces) + len(added))):
        raise InputError(f"{folder}: the added tokens have the ids {[i for i, _ in added]}, and there are "
                         f"{len(known.pieces)} before them: get its tokenizer again")  # fmt: skip
    # Where the files lack them, LLaVA adds them when it loads a model, in this order.
    tokens += [token for token in (IMAGE_TOKEN, *(FRAME if framed else ())) if token not in tokens]
    special = {name: text_of(settings.get(f"{name}_token")) or default
               for name, default in (("bos", "<s>"), ("eos", "</s>"), ("unk", "<unk>"))}  # fmt: skip
    if absent := sorted({*special.values()} - {*known.pieces, *tokens}):
        raise InputError(f"{folder}: its tokenizer has no {', '.join(absent)}: get it again")
    pad = next((token for token in ("[PAD]", "<pad>") if token in tokens), special["unk"])
    return Words(_tokenizer(known, tokens, special | {"pad": pad}, length), special["bos"],
                 settings.get("legacy") is not False)  # fmt: skip


def _tokenizer(known: Vocabulary, tokens: list[str], special: dict[str, str], length: int) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(
        models.BPE(known.pieces, known.merges, unk_token=special["unk"], fuse_unk=True, byte_fallback=True)
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False)
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    names = dict.fromkeys([*special.values(), *tokens])
    made.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        **{f"{name}_token": token for name, token in special.items()},
        additional_special_tokens=[token for token in tokens if token not in special.values()],
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    )


def _sentencepiece(folder: Path) -> Vocabulary:
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor()
    try:
        model.Load(str(folder / "tokenizer.model"))
    except (RuntimeError, OSError) as error:
        raise InputError(f"{folder}/tokenizer.model cannot be read ({error}): get it again") from None
    pieces = {model.IdToPiece(i): i for i in range(model.GetPieceSize())}
    # BPE merges the pair whose piece has the highest score: the pairs in that order are the merges.
    ranked = sorted((-model.GetScore(i), i, piece) for piece, i in pieces.items())
    merges = [
        (piece[:at], piece[at:])
        for _, _, piece in ranked
        for at in range(1, len(piece))
        if piece[:at] in pieces and piece[at:] in pieces
    ]
    return Vocabulary(pieces, merges, {})


def _tokenizers(folder: Path) -> Vocabulary:
    path = folder / "tokenizer.json"
    if not path.exists():
        raise InputError(f"{folder} has neither tokenizer.model nor tokenizer.json: get the checkpoint's tokenizer")
    file = _json(path)
    model = file.get("model", {})
    if model.get("type") != "BPE" or not model.get("byte_fallback"):
        raise InputError(f"{path} is no tokenizer of a LLaMA or Mistral model: get the checkpoint's own")
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    merges = [(str(left), str(right)) for left, right in pairs]
    added = {entry["content"]: int(entry["id"]) for entry in file.get("added_tokens", [])}
    return Vocabulary(model["vocab"], merges, added)


def _json(path: Path) -> dict[str, Any]:
    """What a file says; nothing if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}): get it again") from None
    return found if isinstance(found, dict) else {}


def text_of(token: Any) -> str:
    """A token as tokenizer_config.json names it: text, or text with settings."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
