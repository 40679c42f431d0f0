"""The door as a whole: formats agree, every row has one fate, order and pseudonyms are right."""

import datetime
import gzip
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from clients.sources.ingest import Ingested
from clients.sources.pseudonyms import pseudonym, pseudonyms
from shared.errors import CatalogueError, DataError, PrivacyError, SourceError, StorageError
from shared.files import storage_error

Read = Callable[..., Ingested]
SECRET = b"0123456789abcdef0123456789abcdef"


def named(user: str) -> str:
    """The pseudonym by another implementation."""
    return hmac.new(SECRET, user.encode(), hashlib.sha256).hexdigest()


def histories(result: Ingested) -> dict[str, list[str]]:
    ids = result.catalogue.ids
    return {
        user: [ids[row] for row in result.sequences[k]]
        for k, user in enumerate(result.sequences.users)
    }


def test_pseudonyms_are_rfc_2104() -> None:
    # RFC 4231, test case 1 (its key is 20 bytes long)
    assert pseudonym(b"\x0b" * 20, "Hi There") == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )
    assert pseudonyms(SECRET, ["a", "é", "a"]) == [named("a"), named("é"), named("a")]
    assert pseudonym(SECRET, "a") != pseudonym(SECRET[::-1], "a")
    with pytest.raises(PrivacyError, match="at least 16 bytes, got 3 bytes"):
        pseudonym(b"abc", "a")


def test_every_reason_once(platform: Read, tmp_path: Path) -> None:
    (tmp_path / "optout.txt").write_text("gone\r\n\n  away \n")
    rows = [
        "gone,,nowhere,x,-1,other",  # opt_out comes before everything else that is wrong with it
        "away,a,5,1,1,view",
        ",,x,1,1,view",  # missing_user before missing_item
        "NULL,a,1600000000,1,1,view",
        "u1,,1600000000,1,1,view",
        "u1,zzz,1600000000,1,1,view",
        "u1,a,soon,1,1,view",
        "u1,a,nan,1,1,view",
        "u1,a,1700000001,1,1,view",
        "u1,a,5,1,1,view",
        "u1,a,-5,1,1,view",
        "u1,a,1600000000,1,0,view",
        "u1,a,1600000000,1,-2,view",
        "u1,a,1600000000,1,1,hover",
        "u1,b,1600000000,1,1,view",
        "u1,b,1600000000,1,1,view",  # duplicate
        "u1,b,1600000000,1,1,buy",  # another action: a repeat
        "u1,a,1500000000,1,,view",  # kept: no quantity is one; older, so it comes first
        "u2, c ,1600000000,1,1,view",
        *[f"bot,{'abc'[k % 3]},{1600000000 + k},1,1,view" for k in range(4)],
    ]
    result = platform(
        "u,i,t,o,q,act\n" + "\n".join(rows) + "\n",
        events={"time": "t", "quantity": "q", "action": "act", "actions": ["view", "buy"]},
        cleaning={"opt_out": tmp_path / "optout.txt", "max_events_per_user_day": 3},
    )
    assert result.dropped == {
        "opt_out": 2,
        "missing_user": 2,
        "missing_item": 1,
        "unknown_item": 1,
        "bad_time": 2,
        "future_time": 1,
        "too_old": 2,
        "return": 2,
        "other_action": 1,
        "duplicate": 1,
        "bot": 4,
        "repeat": 1,
    }
    assert histories(result) == {named("u1"): ["a", "b"], named("u2"): ["c"]}
    assert result.read == len(rows)
    assert (result.users, result.events, result.items) == (2, 3, 3)


ROWS = [("ü1", "a", 3), ("ü1", "b", 1), ("00017", "c", 2), ("00017", "a", 1)]
EXPECTED = {"ü1": ["b", "a"], "00017": ["a", "c"]}


@pytest.mark.parametrize(
    ("name", "log", "events"),
    [
        ("log.csv", 'u,i,t\n"ü1",a,3\nü1,b,1\n00017,c,2\n00017,a,1\n', {}),
        ("log.csv", "u,i,t\r\nü1,a,3\r\nü1,b,1\r\n00017,c,2\r\n00017,a,1", {}),
        ("log.csv", "\ufeffu,i,t\nü1,a,3\nü1,b,1\n00017,c,2\n00017,a,1\n", {}),
        ("log.tsv", "u\ti\tt\nü1\ta\t3\nü1\tb\t1\n00017\tc\t2\n00017\ta\t1\n", {}),
        ("log.dat", "ü1::a::3\nü1::b::1\n00017::c::2\n00017::a::1\n", {"separator": "::"}),
        ("log.dat", "u::i::t\nü1::a::3\r\nü1::b::1\n00017::c::2\n00017::a::1", {"separator": "::"}),
        ("log.txt", "ü1|a|3\nü1|b|1\n00017|c|2\n00017|a|1\n", {"separator": "|"}),
        (
            "log.csv",
            "u,i,t\nü1,a,3\nü1,b,1\n00017,c,2\n00017,a,1\n".encode("latin-1"),
            {"encoding": "latin-1"},
        ),
        (
            "log.csv",
            "u,i,t\nü1,a,3\nü1,b,1\n00017,c,2\n00017,a,1\n".encode("utf-16"),
            {"encoding": "utf-16"},
        ),
        ("log.csv.gz", gzip.compress("u,i,t\nü1,a,3\nü1,b,1\n00017,c,2\n00017,a,1\n".encode()), {}),
        (
            "log.jsonl",
            "\n".join(json.dumps({"u": u, "i": i, "t": t, "x": None}) for u, i, t in ROWS),
            {},
        ),
        (
            "log.ndjson",
            "\ufeff" + "\n\n".join(json.dumps({"i": i, "t": str(t), "u": u}) for u, i, t in ROWS),
            {},
        ),
    ],
)
def test_text_formats_agree(
    platform: Read, name: str, log: str | bytes, events: dict[str, Any]
) -> None:
    text = log if isinstance(log, str) else ""
    if name.endswith((".dat", ".txt")) and not text.startswith("u:"):
        events = {**events, "header": ["u", "i", "t"]}
    result = platform(
        log, name=name, events={"time": "t", **events}, cleaning={"min_time": "1970-01-01"}
    )
    assert histories(result) == {named(user): items for user, items in EXPECTED.items()}
    assert result.dropped == {}


def test_parquet_and_a_folder_of_parts(platform: Read, tmp_path: Path) -> None:
    day = datetime.datetime(2020, 1, 1)
    frame = pl.DataFrame(
        {
            "u": [17850.0, 17850.0, None, 13.0],
            "i": ["b", "a", "a", "c"],
            "t": [day, day - datetime.timedelta(days=1), day, day],
        }
    )
    (tmp_path / "log").mkdir()
    frame[:2].write_parquet(tmp_path / "log" / "part-0.parquet")
    frame[2:].write_parquet(tmp_path / "log" / "part-1.parquet")
    (tmp_path / "log" / "_SUCCESS").write_text("")
    result = platform(name="log", events={"time": "t"})
    assert histories(result) == {named("17850"): ["a", "b"], named("13"): ["c"]}
    assert result.dropped == {"missing_user": 1}
    result = platform(name="log/part-*.parquet", events={"time": "t"})
    assert result.users == 2


def test_tsv_takes_quotes_as_letters(platform: Read) -> None:
    result = platform('u\ti\n"u\ta\n"u\tb\n', name="log.tsv")
    assert histories(result) == {named('"u'): ["a", "b"]}


@pytest.mark.parametrize(
    ("unit", "early", "late"),
    [
        ("s", "1600000000", "1600000000.5"),
        ("ms", " 1600000000000", "1600000000001"),
        ("us", "1600000000000000", "1600000000000001 "),
        ("iso", "2020-09-13", "2020-09-13 00:00"),  # equal: the log's order decides
        ("iso", "2020-09-13T12:00:00Z", "2020-09-13T14:00:00.5+02:00"),
        ("iso", "2020-09-13T12:00:00+02:00", "2020-09-13 11:00:00"),
        ("iso", "20200913", "2020-09-14"),
    ],
)
def test_time_units(platform: Read, unit: str, early: str, late: str) -> None:
    first, second = (("b", early), ("a", late))
    rows = [(second), (first)] if early != "2020-09-13" else [first, second]
    log = "u,i,t\n" + "".join(f"u,{item},{time}\n" for item, time in rows)
    result = platform(log, events={"time": "t", "time_unit": unit})
    assert histories(result) == {named("u"): ["b", "a"]}
    assert result.dropped == {}


def test_order_column_row_order_and_ties(platform: Read) -> None:
    log = "u,i,o,t\nu,a,10,7\nu,b,9,7\nu,c,x,7\n"
    past = {"min_time": "1970-01-01"}
    by_order = platform(log, events={"order": "o"})
    assert histories(by_order) == {named("u"): ["b", "a"]}
    assert by_order.dropped == {"bad_time": 1}
    assert histories(platform(log)) == {named("u"): ["a", "b", "c"]}
    by_time = platform(log, events={"time": "t"}, cleaning=past)
    assert histories(by_time) == {named("u"): ["a", "b", "c"]}
    both = platform(log, events={"time": "t", "order": "o"}, cleaning=past)
    assert histories(both) == {named("u"): ["c", "b", "a"]}  # no order: before those that have one


def test_users_come_in_the_order_of_the_log_whatever_the_secret(platform: Read) -> None:
    log = "u,i,o\n" + "".join(f"{u},{i},1\n" for u in "zayb" for i in "ab")
    assert platform(log).sequences.users == tuple(named(u) for u in "zayb")


def test_retail_reads_items_from_the_log(platform: Read, tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "u": [1.0, 1.0, 2.0, None, 2.0, None],
            "i": ["a", "b", "a", "a", "b", "c"],
            "d": ["TART", "KETTLE  blue", "tart?", "TART", None, None],
            "q": [1, 2, 3, 1, -1, 5],
            "t": ["2020-01-01 10:00:00", "2020-01-02 10:00:00", "bad", "x", "2020-01-01", ""],
        }
    ).write_parquet(tmp_path / "log.parquet")
    result = platform(
        name="log.parquet",
        events={"time": "t", "time_unit": "iso", "quantity": "q"},
        items={
            "path": tmp_path / "log.parquet",
            "item": "i",
            "title": "d",
            "duplicates": "most_frequent",
        },
    )
    assert result.catalogue.ids == ("a", "b", "c")
    assert result.catalogue.titles == ("TART", "KETTLE blue", "c")
    assert result.catalogue.texts == ("TART", "KETTLE blue", "unknown item")
    assert result.dropped_items == {"repeated_item": 3}
    assert result.dropped == {"missing_user": 2, "bad_time": 1, "return": 1}


def test_catalogue_text_categories_and_reasons(platform: Read) -> None:
    catalogue = (
        "id,name,kind,more\na, Apple   tart ,food > sweet >,with cream\n"
        'b,,,\n,No id,x,y\nc,"Cord, red",[“,\n'
    )
    log = "u,i\nu,a\nu,b\nu,c\n"
    kept = platform(log, catalogue=catalogue, items={"category": "kind", "text": ["more"]})
    assert kept.catalogue.ids == ("a", "b", "c")
    assert kept.catalogue.categories == (("food", "sweet"), (), ("[“",))
    assert kept.catalogue.texts[:2] == ("Apple tart. with cream. food, sweet", "unknown item")
    assert kept.catalogue.titles == ("Apple tart", "b", "Cord, red")
    assert kept.dropped_items == {"item_without_id": 1}
    dropped = platform(log, catalogue=catalogue, items={"empty_text": "drop"})
    assert dropped.catalogue.ids == ("a", "c")
    assert dropped.dropped_items == {"item_without_id": 1, "item_without_text": 1}
    assert dropped.dropped == {"unknown_item": 1}


LOG = "u,i\nu,a\nu,b\n"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"log": None}, SourceError, ["no such file", "log.csv"]),
        (
            {"log": "usr,i\nu,a\n"},
            SourceError,
            ["a column 'u' (events.user)", "columns 'usr', 'i'", "Did you mean 'usr'?"],
        ),
        (
            {"log": "Buyer;Article\nu;a\n"},
            SourceError,
            ["columns 'Buyer;Article'", "is events.separator right?"],
        ),
        ({"log": LOG, "items": {"title": "Name"}}, SourceError, ["(items.title)", "mean 'name'"]),
        ({"log": LOG, "items": {"text": ["blurb"]}}, SourceError, ["'blurb' (items.text[0])"]),
        (
            {"log": "u,i\nu,a\nk\xe9,b\n".encode("latin-1")},
            SourceError,
            ["log.csv", "at byte 9 (line 3)", 'encoding = "latin-1"'],
        ),
        (
            {"log": b'{"u": 1, "i": "a"}\n{"u": "\xe9"}\n', "name": "log.jsonl"},
            SourceError,
            ["at byte 26 (line 2)"],
        ),
        (
            {"log": '{"u": 1, "i": "a"}\n{"u": "q"\n', "name": "log.jsonl"},
            SourceError,
            ["line 2 is not JSON"],
        ),
        ({"log": "[1]\n", "name": "log.jsonl"}, SourceError, ["line 1 is not a JSON object"]),
        (
            {"log": b"\xff\xfeab\xe9", "name": "log.dat", "events": {"separator": "::"}},
            SourceError,
            ["at byte 0 (line 1)"],
        ),
        ({"log": b"\x01\x02\x03", "events": {"encoding": "utf-16"}}, SourceError, ["in utf-16"]),
        ({"log": "u,i\nu,a,5\n"}, SourceError, ["more fields than there are columns"]),
        ({"log": 'u,i\nu,"a\nu,b\n'}, SourceError, ["a quote that is not closed"]),
        ({"log": b"PAR1 no", "name": "log.parquet"}, SourceError, ["a Parquet file", "damaged"]),
        ({"log": LOG, "name": "log.xls"}, SourceError, ["ending '.xls'", "format ="]),
        ({"log": ""}, DataError, ["at least one event", "an empty log"]),
        ({"log": "u,i\n"}, DataError, ["at least one event"]),
        ({"log": "", "name": "log.jsonl"}, DataError, ["at least one event"]),
        (
            {"log": "", "name": "log.dat", "events": {"separator": "::", "header": ["u", "i"]}},
            DataError,
            ["at least one event"],
        ),
        ({"log": "u,i\nu,z\nu,y\n,a\n"}, DataError, ["all 3 dropped: 2 unknown_item, 1 missing_u"]),
        ({"log": "u,i\nu,a\nv,a\nw,b\n"}, DataError, ["3 users with one event each"]),
        ({"log": "u,i\nu,a\nu,a\n"}, DataError, ["1 users with one event", "1 repeat"]),
        ({"log": LOG, "catalogue": "id,name\n"}, CatalogueError, ["at least one item"]),
        ({"log": LOG, "catalogue": ""}, CatalogueError, ["at least one item"]),
        (
            {"log": LOG, "catalogue": "id,name\na,A\na,B\nb,B\na,A\n"},
            CatalogueError,
            ["distinct item ids, got 2 repeated", "items.duplicates"],
        ),
        (
            {"log": LOG, "catalogue": "id,name\na,\nb, \n"},
            CatalogueError,
            ["text in column 'name'"],
        ),
        ({"log": LOG, "cleaning": {"opt_out": "/nowhere/optout"}}, SourceError, ["opt-out list"]),
    ],
)
def test_bad_input_is_explained(
    platform: Read, arguments: dict[str, Any], error: type[Exception], says: list[str]
) -> None:
    with pytest.raises(error) as caught:
        platform(**arguments)
    assert caught.type is error
    for words in says:
        assert words in str(caught.value)
    assert caught.value.exit_code in (3, 4)  # type: ignore[attr-defined]


def test_messages_do_not_repeat_the_data(platform: Read) -> None:
    for log, name in [
        ('u,i\nsecret-user,"a\nu,b\n', "log.csv"),
        ('{"u": 1, "i": "a"}\n{"u": "secret-user"\n', "log.jsonl"),
        ("u,i\nsecret-user,a,5\n", "log.csv"),
        ("u,i\nsecret-user,zz\n", "log.csv"),
    ]:
        with pytest.raises((SourceError, DataError)) as caught:
            platform(log, name=name)
        assert "secret-user" not in str(caught.value)


def test_a_full_disk_while_recoding(platform: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    import clients.sources.encodings as encodings

    def refuse(target: Any, text: str, copy: Path) -> None:
        error = OSError(28, "No space left on device")
        raise storage_error(error, copy) from error

    monkeypatch.setattr(encodings, "_write", refuse)
    with pytest.raises(StorageError, match="a full disk"):
        platform("u,i\nu,a\n", events={"encoding": "latin-1"})
