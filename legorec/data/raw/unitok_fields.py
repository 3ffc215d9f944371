"""From the columns of a depot to a store: fields, and tokenizers that keep the ids of its texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from tokenizers import Tokenizer, models, pre_tokenizers

from legorec.data.ragged import Ragged
from legorec.data.raw.lines import InputError
from legorec.data.raw.unitok_depot import Depot, list_series
from legorec.data.text import BATCH, TokenizerChoice, load_tokenizer, vocab_size
from legorec.data.writing.columns import Column
from legorec.files.disk import save_bytes

KINDS = ("text", "category", "categories", "number")
# Lists from these tokenizers are several categories, not words in order.
SETS = ("entities", "split", "digits")
UNKNOWN = ("[UNK]", "<unk>")


@dataclass(frozen=True)
class FieldChoice:
    """A column, and the field that it becomes."""

    column: str
    name: str
    kind: str


def choose_fields(
    depot: Depot, others: Iterable[str], named: Mapping[str, Sequence[str]], with_texts: bool = True
) -> list[FieldChoice]:
    """The fields of a depot, one for every column except ``others``.

    A column of single values is a category. A column of lists is several categories if version 4 says that a
    set was split or given; otherwise, or with ``@`` in its name, it is a text. ``named`` overrides this.

    Args:
        named: by kind, ``COLUMN`` or ``NAME=COLUMN``.
        with_texts: False makes categories of all lists.
    Raises:
        InputError: a column does not exist, is named twice, or its values do not fit the kind.
    """
    chosen: dict[str, FieldChoice] = {}
    for kind, texts in named.items():
        for text in texts:
            name, given, column = text.partition("=")
            column = column if given else text
            if column in chosen:
                raise InputError(
                    f"{depot.path}: the column '{column}' must become one field, it is named twice"
                )
            if depot.column(column).holds_lists and kind in ("category", "number"):
                raise InputError(
                    f"{depot.path}: '{column}' must hold single values to be a {kind}, it holds lists"
                )
            name = name if given else column.partition("@")[0] if kind == "text" else column
            chosen[column] = FieldChoice(column, name, kind)
    for name in depot.columns:
        if name not in chosen and name not in others:
            kind = _kind(depot, name, with_texts)
            plain = name.partition("@")[0]
            # Legommenders stores a category both as one value, category, and as words, category@bert.
            if kind == "text" and plain != name and plain in depot.columns:
                plain += "_text"
            chosen[name] = FieldChoice(name, plain if kind == "text" else name, kind)
    return [chosen[name] for name in depot.columns if name in chosen]


def _kind(depot: Depot, name: str, with_texts: bool) -> str:
    column = depot.column(name)
    if not column.holds_lists:
        return "category"
    is_text = with_texts and ("@" in name or column.tokenizer not in SETS)
    return "text" if is_text else "categories"


def table_of(
    depot: Depot, choices: Sequence[FieldChoice], tokenizers: Mapping[str, Tokenizer], own_vocabularies: bool
) -> tuple[pl.DataFrame, list[Column]]:
    """A frame with the column ``id`` and those that the choices need, and the fields.

    Args:
        tokenizers: of the vocabularies of texts.
        own_vocabularies: categories keep the name of their vocabulary, so that columns share it as they did.
    Raises:
        InputError: two columns are the same tokenization of a text.
    """
    frame = {"id": depot.values(depot.key)}
    fields: list[Column] = []
    texts: dict[str, dict[str, Ragged]] = {}
    for place, choice in enumerate(choices):
        vocabulary = depot.column(choice.column).vocabulary
        if choice.kind == "text":
            tokens = texts.setdefault(choice.name, {})
            if vocabulary in tokens:
                raise InputError(
                    f"{depot.path}: '{choice.column}' would be another {choice.name}@{vocabulary}; give it a "
                    f"name of its own, --text NAME={choice.column}"
                )
            tokens[vocabulary] = depot.rows(choice.column)
            continue
        values = depot.values(choice.column)
        if choice.kind == "categories" and not isinstance(values.dtype, pl.List):
            values = values.reshape((-1, 1)).arr.to_list()
        frame[f"column {place}"] = values
        shared = vocabulary if own_vocabularies and choice.kind != "number" else None
        fields.append(Column(choice.name, choice.kind, f"column {place}", shared))  # type: ignore[arg-type]
    for name, tokens in texts.items():
        # The real tokenizer knows how words were written; without it any tokenization will do.
        first = max(tokens, key=lambda each: tokenizers[each].decoder is not None)
        frame[f"text {name}"] = raw_texts(tokenizers[first], tokens[first])
        fields.append(Column(name, "text", f"text {name}", None, tokens))
    return pl.DataFrame(frame), fields


def raw_texts(tokenizer: Tokenizer, rows: Ragged) -> pl.Series:
    """The texts of token ids: decoded, or with a space between tokens if only the vocabulary is known."""
    if tokenizer.decoder is None:
        return list_series(rows, pl.Series(words_of(tokenizer), dtype=pl.String)).list.join(" ")
    texts: list[str] = []
    for start in range(0, len(rows), BATCH):
        stop = min(start + BATCH, len(rows))
        batch = [rows[row].tolist() for row in range(start, stop)]
        texts += tokenizer.decode_batch(batch, skip_special_tokens=False)
    return pl.Series(texts, dtype=pl.String)


def words_of(tokenizer: Tokenizer) -> list[str]:
    """The tokens in order of their ids; an id without a token is spelt by its number, ``[#17]``."""
    words = [f"[#{number}]" for number in range(vocab_size(tokenizer))]
    for word, number in tokenizer.get_vocab().items():
        words[number] = word
    return words


def tokenizers_of(
    depot: Depot, choices: Sequence[FieldChoice], named: Sequence[str], folder: Path
) -> tuple[dict[str, Tokenizer], list[TokenizerChoice]]:
    """The tokenizer of each vocabulary of texts, and the folder where the writer finds it.

    Args:
        named: ``NAME=FOLDER``, the real tokenizer that made the vocabulary NAME.
        folder: where the others are written.
    Raises:
        InputError: a name is not a vocabulary of texts, or its tokenizer has other tokens.
    """
    made_by = [depot.column(choice.column).vocabulary for choice in choices if choice.kind == "text"]
    texts = list(dict.fromkeys(made_by))
    given = {}
    for text in named:
        name, _, place = text.partition("=")
        if name not in texts or not place:
            raise InputError(
                f"--tokenizer must be NAME=FOLDER with a vocabulary of texts ({', '.join(texts)}), "
                f"got '{text}'; other tokenizations are added by process/retokenize.py"
            )
        given[name] = Path(place)
    tokenizers, where = {}, []
    for name in texts:
        words = depot.words(name).to_list()
        if name in given:
            tokenizers[name] = load_tokenizer(given[name])
            _same_tokens(tokenizers[name], words, f"{depot.path}: the vocabulary '{name}'", given[name])
        else:
            tokenizers[name] = vocabulary_tokenizer(words)
            save_bytes(folder / name / "tokenizer.json", tokenizers[name].to_str().encode())
        where.append(TokenizerChoice(name, given.get(name, folder / name)))
    return tokenizers, where


def _same_tokens(tokenizer: Tokenizer, words: Sequence[str], label: str, folder: Path) -> None:
    for number, word in enumerate(words):
        if (found := tokenizer.id_to_token(number)) != word:
            raise InputError(
                f"{label} has other tokens than {folder}: {number} is {word!r}, there {found!r}; give the "
                "tokenizer that it was made with"
            )


def vocabulary_tokenizer(words: Sequence[str]) -> Tokenizer:
    """A tokenizer that gives every token its own id, in texts with one space between tokens.

    A token that is empty, contains a space or occurs twice cannot be found in such a text: it is spelt by its
    number, ``[#17]``.
    """
    vocabulary: dict[str, int] = {}
    taken = set(words)
    for number, word in enumerate(words):
        if not word or " " in word or word in vocabulary:
            word = f"[#{number}]"
            while word in taken:
                word = f"[{word}]"
        vocabulary[word] = number
    unknown = next((each for each in UNKNOWN if each in vocabulary), UNKNOWN[0])
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return tokenizer
