"""The planted world in the raw format of every data set, where ``docs/data.md`` has its files lie."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.process import test_amazon as amazon
from tests.process import test_ebnerd as ebnerd
from tests.process import test_embed as embed
from tests.process import test_mind as mind
from tests.process import test_movielens as movielens
from tests.process import test_steam as steam
from tests.process import test_tables as tables
from tests.process import test_tallrec as tallrec
from tests.process.test_goodreads import book, interaction, write_lines
from tests.support.planted import KINDS, NUM_ITEMS, NUM_USERS, TITLES, items_of_users, shown_to_users, suits
from tests.support.tiny import tiny
from tests.support.unitok_depots import version_3, version_4

MOMENT = "11/{day}/2019 {hour}:{minute:02}:00 AM"


def taken() -> list[tuple[int, int, int]]:
    """User, item and second of everything that was taken; each user's in order."""
    return [
        (user, item, place * NUM_USERS + user)
        for user, row in enumerate(items_of_users())
        for place, item in enumerate(row)
    ]


def write_tables(_: None) -> None:
    names = [f"b{number}" for number in range(NUM_ITEMS)]
    about = [f"About {title}" for title in TITLES]
    tables.write(Path(), "books.tsv", {"bid": names, "title": TITLES, "description": about})
    users = [f"u{number}" for number in range(NUM_USERS)]
    histories = [" ".join(names[each] for each in row) for row in items_of_users()]
    tables.write(Path(), "histories.tsv", {"uid": users, "history": histories})
    rows = [
        {
            "user": user,
            "topics": [KINDS[place % 4], "news"],
            "region": f"r{place % 3}",
            "age": 20 + place % 50,
        }
        for place, user in enumerate(users)
    ]
    Path("users.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_mind(_: None) -> None:
    news = [f"N{n}\t{KINDS[n % 4]}\tpart{n % 12}\t{title}\t\turl\t[]\t[]" for n, title in enumerate(TITLES)]
    histories = [" ".join(f"N{each}" for each in row) for row in items_of_users()]
    for seed, (name, count) in enumerate({"MINDsmall_train": 900, "MINDsmall_dev": 240}.items()):
        lines = []
        for place, (user, shown) in enumerate(shown_to_users(count, seed)):
            time = MOMENT.format(day=9 + seed, hour=1 + place // 60 % 11, minute=place % 60)
            candidates = " ".join(f"N{each}-{int(suits(user, each))}" for each in shown)
            lines.append(f"{place + 1}\tU{user}\t{time}\t{histories[user]}\t{candidates}")
        mind.folder(Path(name), news, lines)
    Path("imp_list.json").write_text(json.dumps(list(range(240, 0, -1))))


def write_movielens(layout: str) -> None:
    movies = [(str(n + 1), title, str(1980 + n % 5)) for n, title in enumerate(TITLES)]
    ratings = [(str(user + 1), str(item + 1), 5, second) for user, item, second in taken()]
    write = {"100K": movielens.write_100k, "1M": movielens.write_1m, "RecBole": movielens.write_atomic}
    write[layout](Path("ml-100k"), ratings, movies)
    Path("plots.tsv").write_text("item_id\toverview\n1\tTwo friends go out.\n")


def write_ratings(_: None) -> None:
    movielens.write_100k(Path("ml-100k"), tallrec.ratings(), tallrec.MOVIES)


def write_instructions(_: None) -> None:
    rows = [{"instruction": "Say it.", "input": title, "output": title} for title in TITLES for _ in range(9)]
    Path("alpaca_data.json").write_text(json.dumps(rows), encoding="utf-8")


def write_steam(_: None) -> None:
    steam.write_steam(Path("steam"), num_users=600)


def write_sessions(_: None) -> None:
    """Sessions of Amazon-M2, with arrays as numpy prints them."""
    names = [
        "id",
        "locale",
        "title",
        "price",
        "brand",
        "color",
        "size",
        "model",
        "material",
        "author",
        "desc",
    ]
    products = [
        [f"B{number:09d}", "UK", title, "9.5", "Acme", *[""] * 6] for number, title in enumerate(TITLES)
    ]
    sessions = [
        ["['" + "' '".join(f"B{each:09d}" for each in row[:-1]) + "']", f"B{row[-1]:09d}", "UK"]
        for row in items_of_users()
    ]
    for name, rows in (
        ("products_train.csv", [names, *products]),
        ("sessions_train.csv", [["prev_items", "next_item", "locale"], *sessions]),
    ):
        with Path(name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def write_purchases(_: None) -> None:
    """CALRec's purchases in two categories, the second one small."""
    texts = [f"Title: {title}, Category: All, Brand: Acme, Price: 9.5" for title in TITLES]
    folder = Path("amazon-2023")
    folder.mkdir()
    for name, users in (("Magazine_Subscriptions", items_of_users()), ("Subscription_Boxes", [[0, 1, 2]])):
        rows = [{"history": [texts[each] for each in row[:-1]], "target": texts[row[-1]]} for row in users]
        lines = [json.dumps(row) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / f"{name}.items.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")


def write_goodreads(_: None) -> None:
    books = [book(number, title=title) for number, title in enumerate(TITLES)]
    write_lines(Path("goodreads_books_poetry.json.gz"), books)
    log = [interaction(user, item, 5, second) for user, item, second in taken()]
    write_lines(Path("goodreads_interactions_poetry.json.gz"), log)
    authors = [{"author_id": str(number), "name": f"Author {number}"} for number in range(5)]
    write_lines(Path("goodreads_book_authors.json.gz"), authors)


def write_reviews(year: int) -> None:
    log = [amazon.review(year, f"A{user:013d}", f"B{item:09d}", 5, second) for user, item, second in taken()]
    amazon.write_lines(Path("All_Beauty.jsonl.gz"), log, year)
    meta = [amazon.item(year, number, title=title) for number, title in enumerate(TITLES)]
    amazon.write_lines(Path("meta_All_Beauty.jsonl.gz"), meta, year)


def write_ebnerd(_: None) -> None:
    """Users read articles of one category; in view they click the first such, or any."""
    own = [[each for each in ebnerd.ARTICLES if suits(user, each)] for user in range(ebnerd.NUM_USERS + 1)]
    for number, (name, count) in enumerate({"train": 700, "validation": 160}.items()):
        start = ebnerd.START + number * ebnerd.WEEK
        log, before = ebnerd.behaviors(start, count, number), ebnerd.histories(start, number)
        seen = zip(log["user_id"], log["article_ids_inview"].to_list(), strict=True)
        liked = [[each for each in shown if each in own[user]] or shown for user, shown in seen]
        clicked = [[each[place % len(each)]] for place, each in enumerate(liked)]
        log = log.with_columns(article_ids_clicked=pl.Series(clicked, dtype=pl.List(pl.Int32)))
        sizes = zip(before["user_id"], before["article_id_fixed"].list.len(), strict=True)
        read = pl.Series([own[user][:size] for user, size in sizes], dtype=pl.List(pl.Int32))
        ebnerd.write(Path("ebnerd_small", name), log, before.with_columns(article_id_fixed=read))
    ebnerd.articles().write_parquet("ebnerd_small/articles.parquet")


def write_recbench(_: None) -> None:
    sets = {"mind": ("nid", "uid", "title"), "yelp": ("business_id", "user_id", "name")}
    for kind, (item, user, title) in sets.items():
        folder = Path("recbench", kind)
        folder.mkdir(parents=True)
        names, users = (
            [f"{letter}{n}" for n in range(count)] for letter, count in (("I", NUM_ITEMS), ("U", NUM_USERS))
        )
        cities = ["Reno", "Boise"] * (NUM_ITEMS // 2)
        items = pl.DataFrame(
            {item: names, title: TITLES, "city": cities, "__index_level_0__": range(NUM_ITEMS)}
        )
        items.write_parquet(folder / "items.parquet")
        histories = [[names[each] for each in row] for row in items_of_users()]
        pl.DataFrame({user: users, "history": histories}).write_parquet(folder / "users.parquet")
        for seed, (part, count) in enumerate({"finetune": 1100, "test": 150}.items()):
            rows = [
                {user: users[place], item: names[each], "click": int(suits(place, each))}
                for place, shown in shown_to_users(count, seed)
                for each in shown
            ]
            pl.DataFrame(rows).unique(maintain_order=True).write_parquet(folder / f"{part}.parquet")


def write_depots(version: int) -> None:
    pieces = ["story", *KINDS]  # and nothing for unknown words
    words = {
        "nid": [f"n{number}" for number in range(NUM_ITEMS)],
        "uid": [f"u{number}" for number in range(NUM_USERS)],
        **{"bert": pieces, "cat": list(KINDS), "subcat": list("abc"), "click": ["0", "1"]},
        **{name: [str(number) for number in range(6000)] for name in ("imp", "index")},
    }
    number = range(NUM_ITEMS)
    tables = {
        "news": {
            "nid": ("nid", list(number)),
            "title": ("bert", [[pieces.index(word) for word in title.split()[:2]] for title in TITLES]),
            "cat": ("cat", [each % 4 for each in number]),
            "subcat": ("subcat", [each % 3 for each in number]),
        },
        "user": {"uid": ("uid", list(range(NUM_USERS))), "history": ("nid", items_of_users())},
    }
    for seed, (split, count) in enumerate({"train": 900, "dev": 120, "test": 120}.items()):
        rows = [
            (place, user, each, int(suits(user, each)))
            for place, (user, shown) in enumerate(shown_to_users(count, seed))
            for each in shown
        ]
        columns = zip(("imp", "uid", "nid", "click"), map(list, zip(*rows, strict=True)), strict=True)
        tables[split] = {"index": ("index", list(range(len(rows))))}
        tables[split] |= {name: (name, values) for name, values in columns}
    for name, table in tables.items():
        (version_3 if version == 3 else version_4)(Path("MIND", name), table, words)


def write_checkpoint(folder: Path, model_type: str) -> None:
    """A tiny random language model whose tokenizer knows the kinds."""
    tiny(model_type, folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "story", *KINDS]
    tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))


def write_bert(_: None) -> None:
    write_checkpoint(Path("weights/minilm"), "bert")


def write_vectors(_: None) -> None:
    write_checkpoint(Path("weights/llama-7b"), "llama")
    embed.words(Path("weights/glove"), *sorted({word for title in TITLES for word in title.split()}))
