"""MIND's layout: every impression with its own history, no leak, three splits, malformed files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from legorec.data.store import Store
from process.mind import main
from tests.support.raw_files import ROOT, candidates, history, made, refusal, shared
from tests.support.small_store import files

NEWS = [
    "N1\tnews\tworld\tFirst title\tAn abstract\turl\t[]\t[]",
    'N2\tsports\tgolf\tA "quoted title\t\turl\t[]\t[]',
    "N3\tnews\tlocal\t\t\t\t[]\t[]",
]
DEV_NEWS = [NEWS[0], "N4\tfinance\tmarkets\tOnly dev\tlater words\turl\t[]\t[]"]
TRAIN = [
    "1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N1-0",
    "2\tU2\t11/12/2019 6:11:30 PM\t\tN2-0 N1-1",
    "3\tU1\t11/12/2019 7:11:30 PM\tN1 N2\tN2-1",
]
DEV = [
    "1\tU1\t11/15/2019 12:00:00 AM\tN1 N2 N3\tN4-1 N1-0",
    "2\tU3\t11/15/2019 12:00:01 PM\tN4\tN4-0 N2-1",
    "3\tU1\t11/15/2019 11:11:30 AM\tN1\tN4-0 N3-1",
    "4\tU2\t11/15/2019 11:11:31 AM\t\tN3-1",
]


def folder(path: Path, news: list[str], behaviors: list[str], end: str = "\n") -> Path:
    path.mkdir()
    (path / "news.tsv").write_bytes((end.join(news) + end).encode())
    (path / "behaviors.tsv").write_bytes((end.join(behaviors) + end).encode())
    return path


@pytest.fixture
def raw(tmp_path: Path) -> tuple[Path, Path]:
    return folder(tmp_path / "train", NEWS, TRAIN), folder(tmp_path / "dev", DEV_NEWS, DEV)


def test_each_impression_has_its_own_history(raw: tuple[Path, Path], tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--train", raw[0], "--dev", raw[1])
    assert list(store.items.ids) == ["N1", "N2", "N3", "N4"] and store.splits == ("train", "dev")
    assert list(store.users.ids) == ["U1", "U2", "U3"]
    assert [history(store, "train", row) for row in range(3)] == [["N1", "N2"], [], ["N1", "N2"]]
    assert [history(store, "dev", row) for row in range(4)] == [["N1", "N2", "N3"], ["N4"], ["N1"], []]
    assert candidates(store, "train", 0) == {"N3": 1, "N1": 0}
    assert candidates(store, "dev", 1) == {"N4": 0, "N2": 1}
    train = store.interactions("train")
    assert train.span[0] == train.span[2] and list(train.ids or []) == ["1", "2", "3"]
    assert train.time is not None and train.time[0] == 1573463158
    assert store.items.text("title")[1] == 'A "quoted title'
    assert store.vocabulary("subcategory") == ["golf", "local", "markets", "world"]
    assert store.manifest["made_with"]["split"] == "given"


def test_nothing_of_dev_is_in_training(raw: tuple[Path, Path], tmp_path: Path) -> None:
    store = made(main, tmp_path / "store", "--train", raw[0], "--dev", raw[1])
    assert store.items.visible.tolist() == [True, True, True, False]
    assert not {"only", "dev", "later"} & set(store.tokenizer("words").get_vocab())
    seen = store.spans[store.interactions("train").span]
    assert all(3 not in store.histories[a:b] for a, b in seen)


def test_zips_and_windows_line_ends_give_the_same_bytes(raw: tuple[Path, Path], tmp_path: Path) -> None:
    made(main, tmp_path / "store", "--train", raw[0], "--dev", raw[1])
    windows = folder(tmp_path / "windows", NEWS, TRAIN, end="\r\n")
    with zipfile.ZipFile(tmp_path / "dev.zip", "w") as archive:
        for name in ("news.tsv", "behaviors.tsv"):
            archive.write(raw[1] / name, f"MINDsmall_dev/{name}")
    made(main, tmp_path / "again", "--train", windows, "--dev", tmp_path / "dev.zip")
    assert files(tmp_path / "store") == files(tmp_path / "again")


def test_once_halves_dev_by_impression(raw: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("--train", raw[0], "--dev", raw[1], "--split", "once")
    store = made(main, tmp_path / "store", *arguments)
    halves = [list(store.interactions(split).ids or []) for split in ("dev", "test")]
    assert sorted(sum(halves, [])) == ["1", "2", "3", "4"] and len(halves[0]) == 2
    assert halves == [sorted(half) for half in halves], "each half keeps the order of the file"
    made(main, tmp_path / "again", *arguments)
    assert files(tmp_path / "store") == files(tmp_path / "again")
    others = [made(main, tmp_path / f"s{seed}", *arguments, "--seed", seed) for seed in range(6)]
    assert len({tuple(other.interactions("dev").ids or []) for other in others}) > 1


@pytest.mark.parametrize("name", ["dev.txt", "dev.json"])
def test_once_takes_a_given_list(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_text("[4, 1]" if name.endswith("json") else "4\n1\n")
    arguments = ("--train", raw[0], "--dev", raw[1], "--split", "once", "--dev_impressions", tmp_path / name)
    store = made(main, tmp_path / "store", *arguments)
    assert [list(store.interactions(split).ids or []) for split in ("dev", "test")] == [
        ["1", "4"],
        ["2", "3"],
    ]
    assert f"{name}: 2 impressions are dev, the other 2 test" in capsys.readouterr().err
    (tmp_path / "all.txt").write_text("4\n1\n2\n3\n")
    half = (*arguments[:-1], tmp_path / "all.txt", "--dev_part", "0.5")
    made(main, tmp_path / "half", *half)
    assert files(tmp_path / "store") == files(tmp_path / "half")
    drawn = made(main, tmp_path / "drawn", *arguments[:-2]).manifest["made_with"]
    listed = store.manifest["made_with"]
    assert "dev_impressions" not in drawn and len(listed["dev_impressions"]) > 20
    assert {key: value for key, value in listed.items() if key != "dev_impressions"} == drawn


def test_lists_that_do_not_fit_are_refused(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, dev = tmp_path / "dev.txt", raw[1] / "behaviors.tsv"

    def said(text: str, *more: object) -> str:
        path.write_text(text)
        given = ("--train", raw[0], "--dev", raw[1], "--split", "once", "--dev_impressions", path)
        return refusal(main, [*given, "--out", tmp_path / "out", *more], capsys)

    assert f"dev.txt: 1 of 3 ids are of no impression of {raw[1]}: behaviors.tsv, e.g. '9'" in said(
        "1\n9\n2\n"
    )
    assert "2 of 2 ids are of no" in (message := said("01\n02\n", "--max_missing", 1))
    assert "'01', which that file spells '1': they differ in leading zeros" in message
    assert "an id must stand there once; 1 are there again, e.g. '2'" in said("2\n1\n2\n")
    assert "lists all 4 impressions of" in said("1\n2\n3\n4\n")
    assert "it must hold ids, one a line, and holds none" in said("\n")
    assert "--dev_impressions goes with --split once, got --split given" in said("1\n", "--split", "given")
    assert "`dev_part` must be above 0 and at most 1, got 2" in said("1\n", "--dev_part", 2)
    assert "--dev_part 0.1 of the 1 ids of" in said("1\n", "--dev_part", 0.1)
    assert "--dev_part is a share of --dev_impressions FILE" in refusal(
        main, ["--train", raw[0], "--dev", raw[1], "--out", tmp_path / "out", "--dev_part", 0.5], capsys
    )
    dev.write_text(dev.read_text().replace("2\tU3", "1\tU3", 1))
    assert "'1' is the id of several impressions (1 more of those that" in said("1\n")
    assert not (tmp_path / "out").exists()


def test_listed_ids_of_no_impression_are_counted(raw: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("1\n9\n2\n8\n")
    arguments = ("--train", raw[0], "--dev", raw[1], "--split", "once", "--max_missing", 0.5)
    store = made(main, tmp_path / "store", *arguments, "--dev_impressions", tmp_path / "dev.txt")
    assert store.manifest["dropped"]["rows"]["ids of dev.txt that are of no impression"] == 2
    assert list(store.interactions("dev").ids or []) == ["1", "2"]


def test_a_split_by_time_does_not_look_ahead(tmp_path: Path) -> None:
    source = folder(tmp_path / "raw", [*NEWS, DEV_NEWS[1]], DEV[::-1])
    arguments = ("--train", source, "--split", "time", "--shares", "0.5,0.25,0.25")
    store = made(main, tmp_path / "store", *arguments)
    ids = [list(store.interactions(split).ids or []) for split in ("train", "dev", "test")]
    assert ids == [["3", "1"], ["4"], ["2"]], "12:00 AM is midnight, 12:00 PM is noon"
    times = [store.interactions(split).time for split in store.splits]
    assert max(times[0]) < min(times[1]) and max(times[1]) < min(times[2])


def test_a_test_file_without_labels(raw: tuple[Path, Path], tmp_path: Path) -> None:
    bare = folder(tmp_path / "test", DEV_NEWS, ["7\tU1\t11/16/2019 1:00:00 AM\tN1\tN4 N1"])
    store = made(main, tmp_path / "store", "--train", raw[0], "--dev", raw[1], "--test", bare)
    assert not store.interactions("test").labelled and store.interactions("dev").labelled
    assert candidates(store, "test", 0) == {"N4": 0, "N1": 0}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([TRAIN[0], "2\tU2", "3\tU1"], "line 2: it must have 5 columns, got 2; 2 malformed lines in all"),
        ([TRAIN[0] + "\tmore"], "line 1: it must have 5 columns, got 6"),
        ([TRAIN[0], TRAIN[1].replace("6:11", "25:11")], "line 2: the third column must be a time"),
        ([TRAIN[0], TRAIN[1].replace("-1", "-2")], "line 2: a candidate must end in -0 or -1"),
        ([TRAIN[0], TRAIN[1].replace("-1", "")], "line 2: a candidate must end in -0 or -1"),
        ([TRAIN[0].rpartition("\t")[0] + "\t"], "line 1: all candidates or none must end"),
    ],
)  # fmt: skip
def test_malformed_lines_are_counted(
    raw: tuple[Path, Path], tmp_path: Path, lines: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = folder(tmp_path / "bad", NEWS, lines)
    said = refusal(main, ["--train", bad, "--dev", raw[1], "--out", tmp_path / "store"], capsys)
    assert said.startswith(f"error: {bad}/behaviors.tsv: ") and message in said
    assert not list(tmp_path.glob("store*"))


def test_bad_text_is_named_with_its_line(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw[0] / "news.tsv").write_bytes(NEWS[0].encode() + b"\nN2\tnews\tx\t\xff\xfe\t\t\t\t\n")
    said = refusal(main, ["--train", raw[0], "--dev", raw[1], "--out", tmp_path / "store"], capsys)
    assert "news.tsv: line 2 is not utf-8 text; convert it (iconv), or give --encoding" in said


def test_wrong_arguments(raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--train", raw[0], "--out", tmp_path / "store"]
    for extra, message in [
        ([], "--split given needs --dev"),
        (["--split", "time", "--dev", raw[1]], "leave --dev and --test out"),
        (["--split", "once", "--dev", raw[1], "--test", raw[1]], "leave --test out"),
        (["--dev", tmp_path / "nowhere"], "there is no such folder or zip"),
        (["--dev", raw[0] / "news.tsv"], "neither a folder nor a zip"),
        (["--dev", raw[1], "--tokenizer", "bert"], "needs a folder, bert=FOLDER"),
        (
            ["--dev", raw[1], "--tokeniser", "words"],
            "unknown argument --tokeniser; did you mean --tokenizer?",
        ),
        (["--dev", raw[1], "--split", "time", "--shares", "1,1"], "three shares that sum to 1"),
        (["--dev", raw[1], "--overwrit"], "did you mean --overwrite?"),
    ]:
        assert message in refusal(main, [*out, *extra], capsys)
    (raw[1] / "behaviors.tsv").write_text("\n")
    for split in ("given", "once"):
        said = refusal(main, [*out, "--dev", raw[1], "--split", split], capsys)
        assert said.endswith("dev: behaviors.tsv holds no impressions")
    (raw[1] / "behaviors.tsv").unlink()
    assert "behaviors.tsv: there is no such file" in refusal(main, [*out, "--dev", raw[1]], capsys)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("member", ["../news.tsv", "/news.tsv", "a/../../news.tsv", "..\\news.tsv"])
def test_r12_zip_members_that_climb_out(
    raw: tuple[Path, Path], tmp_path: Path, member: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "dev.zip", "w") as archive:
        archive.writestr(member, "x")
    arguments = ["--train", raw[0], "--dev", tmp_path / "dev.zip", "--out", tmp_path / "store"]
    assert "leads out of the zip; it is refused" in refusal(main, arguments, capsys)


def test_r12_a_link_in_a_zip(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = zipfile.ZipInfo("news.tsv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "dev.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    arguments = ["--train", raw[0], "--dev", tmp_path / "dev.zip", "--out", tmp_path / "store"]
    assert "leads out of the zip" in refusal(main, arguments, capsys)


XMIND = 'nid\ttitle\tabstract\nN1\t標題一\t摘要\nN2\t"他說""好"""\t\nN3\t"一\n二"\t\nN4\t四\t\n'


def test_xmind_as_it_is_published(raw: tuple[Path, Path], tmp_path: Path) -> None:
    """With a header and quoted cells, in place of MIND's own news or with them."""
    (tmp_path / "zh.tsv").write_text(XMIND)
    titles = ["標題一", '他說"好"', "一\n二", "四"]
    arguments = ("--train", raw[0], "--dev", raw[1], "--tokenizer", "chars")
    store = made(main, tmp_path / "store", *arguments, "--titles", tmp_path / "zh.tsv")
    own = made(main, tmp_path / "own", *arguments)
    assert list(store.items.text("title")) == titles and store.items.text("abstract")[0] == "摘要"
    assert store.vocabulary("category") == own.vocabulary("category") == ["finance", "news", "sports"]
    for folder in raw:
        (folder / "news.tsv").write_text(XMIND)
    alone = made(main, tmp_path / "alone", *arguments)
    assert list(alone.items.text("title")) == titles and alone.items.field_names == (
        "title@chars",
        "abstract@chars",
    )


def test_titles_that_lack_a_news(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "zh.tsv").write_text(XMIND.replace("N4", "N9"))
    arguments = ["--train", raw[0], "--dev", raw[1], "--titles", tmp_path / "zh.tsv", "--out", tmp_path / "s"]
    said = refusal(main, arguments, capsys)
    assert "zh.tsv: 1 of 4 news ids (news) are in no table (25.0%), e.g. 'N4', and the table has 'N1'" in said
    store = made(main, tmp_path / "store", *arguments[:-2], "--max_missing", 1)
    assert store.items.text("title")[3] == "" and len(store.items) == 4


def test_quotes_of_a_copy_that_a_program_wrote(raw: tuple[Path, Path], tmp_path: Path) -> None:
    """MIND's own quotes are text; where every quote is in a quoted cell, a program wrote the file."""
    lines = [NEWS[0], 'N2\tsports\tgolf\t"A ""quoted"" title"\t\turl\t[]\t[]', NEWS[2]]
    for names, title in (
        (lines, 'A "quoted" title'),
        ([*lines, 'N5\ta\tb\t"c" d\t\t'], lines[1].split("\t")[3]),
    ):
        (raw[0] / "news.tsv").write_text("\n".join(names))
        store = made(main, tmp_path / "store", "--train", raw[0], "--dev", raw[1], "--overwrite")
        assert store.items.text("title")[1] == title


def test_an_id_with_blanks_is_refused(
    raw: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw[1] / "news.tsv").write_text(f"{NEWS[0]}\n{NEWS[1].replace('N2', 'N 2')}\n")
    arguments = ["--train", raw[0], "--dev", raw[1], "--out", tmp_path / "store"]
    assert "news.tsv: line 2: a news id may not hold blanks" in refusal(main, arguments, capsys)


def test_as_a_command(raw: tuple[Path, Path], tmp_path: Path) -> None:
    """Status, counts on stdout, plain progress lines on stderr without a terminal."""
    command = [sys.executable, ROOT / "process" / "mind.py", "--train", raw[0], "--dev", raw[1]]
    environment = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--out", tmp_path / "store"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (
        "4 items, 3 users" in done.stdout and "train: 3 impressions, 5 candidates, 3 clicked" in done.stdout
    )
    assert "\x1b" not in done.stderr and "items: title@words" in done.stderr
    again = subprocess.run(
        [*command, "--out", tmp_path / "store"], capture_output=True, text=True, env=environment
    )
    assert again.returncode == 2 and again.stderr.startswith("error: ")
    assert len(again.stderr.splitlines()) == 1 and "--overwrite" in again.stderr


def test_the_fragment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = shared("mind-fragment")
    arguments = ["--train", source, "--split", "time", "--out", tmp_path / "store"]
    assert "are in no table" in refusal(main, arguments, capsys)
    main([str(part) for part in (*arguments, "--max_missing", 1)])
    store = Store.open(tmp_path / "store")
    assert len(store.items) == 2000 and sum(len(store.interactions(s)) for s in store.splits) > 1000


@pytest.mark.slow
def test_xmind_by_characters(tmp_path: Path) -> None:
    source = shared("xmind-cmn")
    arguments = ("--train", source / "train", "--dev", source / "dev", "--tokenizer", "chars")
    store = made(main, tmp_path / "store", *arguments)
    assert len(store.items) == 42416 and len(store.interactions("dev")) == 378
    assert store.interactions("train").time.max() < store.interactions("dev").time.min()
    assert not any(
        part["missing"] for split in store.manifest["dropped"]["ids"].values() for part in split.values()
    )
