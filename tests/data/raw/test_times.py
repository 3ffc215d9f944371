"""Times in any unit and form: the order is that of the moments, and seconds are what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from legorec.data.raw.lines import InputError
from legorec.data.raw.readers import LINE
from legorec.data.raw.times import Times, seconds_of, times_of
from process import movielens, tables
from tests.process.test_movielens import write_atomic
from tests.support.raw_files import made

START = datetime(2020, 1, 1, 10, tzinfo=UTC)
SECOND = int(START.timestamp())
# Moments within one second, and how files write them.
FORMS: dict[str, Any] = {
    "whole seconds": lambda k: SECOND + k,
    "tenths": lambda k: SECOND + k / 10,
    "microseconds as decimals": lambda k: f"{SECOND}.{k:06d}",
    "0 to 1": lambda k: k / 30,
    "milliseconds": lambda k: SECOND * 1000 + k,
    "microseconds": lambda k: SECOND * 10**6 + k,
    "nanoseconds": lambda k: SECOND * 10**9 + k,
}
TEXTS = {
    "%Y-%m-%d %H:%M:%S%.f": lambda k: f"2020-01-01 10:00:00.{k:03d}",
    "%Y-%m-%dT%H:%M:%S%.f%z": lambda k: f"2020-01-01T12:00:00.{k:09d}+0200",
    "%d.%m.%Y %H:%M": lambda k: f"01.01.2020 10:{k:02d}",
}


def taken(column: pl.Series, **how: Any) -> Times:
    return times_of(pl.DataFrame({"when": column}), "when", "log.csv", **how)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_text", [True, False])
def test_numbers_keep_the_order_that_they_have(form: str, as_text: bool) -> None:
    order = np.random.default_rng(0).permutation(30).tolist()
    values = [FORMS[form](k) for k in order]
    found = taken(pl.Series([str(value) for value in values] if as_text else values))
    assert np.argsort(found.values, kind="stable").tolist() == np.argsort(order).tolist()
    seconds = seconds_of(found.values, found.per_second)
    assert seconds.dtype == np.int64
    if form == "whole seconds":
        assert seconds.tolist() == [SECOND + k for k in order]
    else:
        assert set(seconds // 3 * 3) == {0 if form == "0 to 1" else SECOND // 3 * 3}


@pytest.mark.parametrize("clock", TEXTS)
def test_texts_keep_fractions_and_zones(clock: str) -> None:
    order = np.random.default_rng(0).permutation(30).tolist()
    found = taken(pl.Series([TEXTS[clock](k) for k in order]), clock=clock)
    assert np.argsort(found.values, kind="stable").tolist() == np.argsort(order).tolist()
    assert seconds_of(found.values, found.per_second).min() == SECOND


@pytest.mark.parametrize(
    ("texts", "seconds", "per_second"),
    [
        (["2020-01-01", "1970-01-01", "1969-12-31"], [SECOND - 36000, 0, -86400], 1),
        (["2020-01-01T10:00:00Z", " 2020-01-01t12:00:01+02:00 "], [SECOND, SECOND + 1], 1),
        (["2020-01-01 05:30:00-0430", "2020-01-01T10:00+00"], [SECOND, SECOND], 1),
        (["2020-01-01T10:00", "2020-01-01 10:00:59", "2020-01-01"], [SECOND, SECOND + 59, SECOND - 36000], 1),
        (["2020-01-01 10:00:00.25", "2020-01-01 10:00:01,999999"], [SECOND, SECOND + 1], 10**6),
        (["2020-01-01T10:00:00.123456789Z"], [SECOND], 10**9),
        (["0001-01-01T00:00:00.123456789"], [-62135596800], 10**6),  # nanoseconds would not fit
    ],
)
def test_times_of_iso_8601(texts: list[str], seconds: list[int], per_second: int) -> None:
    found = taken(pl.Series(texts))
    assert (found.per_second, found.guessed) == (per_second, False)
    assert seconds_of(found.values, per_second).tolist() == seconds


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_iso_8601_means_what_python_takes_it_for(zone: str | None) -> None:
    rng = np.random.default_rng(3)
    moments = [
        datetime.fromtimestamp(int(each), UTC) + timedelta(microseconds=int(part))
        for each, part in zip(
            rng.integers(-(10**9), 4 * 10**9, 200), rng.integers(0, 10**6, 200), strict=True
        )
    ]
    texts = [(each if zone else each.replace(tzinfo=None)).isoformat() for each in moments]
    found = taken(pl.Series(texts))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found.values.tolist() == [(each - epoch) // timedelta(microseconds=1) for each in moments]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_parquet(unit: str) -> None:
    column = pl.Series([START + timedelta(milliseconds=k) for k in (2, 0, 1)]).cast(pl.Datetime(unit, "UTC"))
    found = taken(column)
    assert np.argsort(found.values).tolist() == [1, 2, 0]
    assert set(seconds_of(found.values, found.per_second)) == {SECOND}
    days = taken(pl.Series([START.date()]))
    assert seconds_of(days.values, days.per_second).tolist() == [SECOND // 86400 * 86400]


def test_a_unit_that_is_named_is_taken() -> None:
    assert taken(pl.Series([5, 7]), unit="ms").per_second == 1000
    assert taken(pl.Series([SECOND * 10**9]), unit="s").per_second == 1
    assert taken(pl.Series([], dtype=pl.Int64)).per_second == 1


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (["1", "x"], {}, "log.csv: line 3: when must be a number, got 'x'; times written as text are"),
        (["1", None], {}, "log.csv: line 3: when must be a number, got None"),
        (["2020", "x"], {"clock": "%Y"}, "log.csv: line 3: when must be a time as '%Y', got 'x'"),
        (["1", "2020-01-01"], {}, "log.csv: line 3: when must be a number, got '2020-01-01'; times written"),
        (["2020-01-01", "x"], {}, "log.csv: line 3: when must be a time in ISO 8601, as the first one is"),
        (["2020-01-01", "1577836800"], {}, "log.csv: line 3: when must be a time in ISO 8601, as the first"),
        (["2020-01-01", "2020-02-30"], {}, "log.csv: line 3: when must be a time in ISO 8601, as the first"),
        (["2020-01-01T10:00", "2020-01-01T24:30"], {}, "log.csv: line 3: when must be a time in ISO 8601"),
        (["2020-01-01T10:00Z", "2020-01-01T10:00"], {}, "log.csv: line 3: when must be a time with a zone"),
        (["2020-01-01", "2020-01-01T10:00Z"], {}, "log.csv: line 3: when must be a time without a zone, as"),
        ([START, None], {}, "log.csv: line 3: when must be a time given, got None"),
        ([[1], [2]], {}, "log.csv: column 'when' must hold numbers, it holds lists"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_named_with_its_line(values: list, how: dict, message: str) -> None:
    frame = pl.DataFrame({"when": values, LINE: [2, 3]})
    with pytest.raises(InputError) as refused:
        times_of(frame, "when", "log.csv", **how)
    assert str(refused.value).startswith(message)


def last_clicks(store: Any) -> dict[str, str]:
    """The clicked item of every user's test impression."""
    table = store.interactions("test")
    item = table.candidates.values[table.labels == 1]
    return dict(zip(store.users.ids.take(table.user), store.items.ids.take(item), strict=True))


def test_the_last_click_is_the_last_one_whatever_times_are(tmp_path: Path) -> None:
    """Rows in any order, through the processors that read numbers of others."""
    rng = np.random.default_rng(1)
    clicks = [(f"{u}", f"{i}", k) for u in range(6) for k, i in enumerate(rng.permutation(30)[:6] + 1)]
    expected = {user: item for user, item, k in clicks if k == 5}
    rows = [clicks[place] for place in rng.permutation(len(clicks))]
    (tmp_path / "items.csv").write_text("item\n" + "".join(f"{k}\n" for k in range(1, 41)))
    log = tmp_path / "log.csv"
    for name, form in FORMS.items():
        log.write_text("user,item,when\n" + "".join(f"{u},{i},{form(k)}\n" for u, i, k in rows))
        source = ("--items", tmp_path / "items.csv", "--interactions", log, "--time", "when")
        more = ("--num_negatives", 3, "--overwrite")
        assert last_clicks(made(tables.main, tmp_path / "store", *source, *more)) == expected, name
    for name in ("0 to 1", "tenths"):
        ratings = [(user, item, 5, FORMS[name](k)) for user, item, k in rows]
        source = write_atomic(tmp_path / name, ratings)
        store = made(movielens.main, tmp_path / "ml", "--source", source, *more)
        assert last_clicks(store) == expected, name
