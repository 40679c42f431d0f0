"""The record of a run: whole as it is, and what is said when it is not.

How long 10,000 rounds take, on a machine that has nothing else to do:

    pytest -m slow tests/simulations/audits/test_verify.py
"""

import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from shared.transparency.statement import COORDINATOR
from simulations.audits.evidence import ADAPTER, FEDERATION, KEYS, ROUNDS, SUMMARY, Evidence
from simulations.audits.verify import examine, render, verify
from tests.simulations.audits.made_record import Made, made_record

NO_ADAPTER = "missing: the run is not finished; go on with --resume"


def test_a_record_as_it_was_signed_is_whole(made: Made) -> None:
    result = examine(made.evidence)
    assert result["findings"] == []
    assert result["notes"] == []
    assert result["ok"] is True
    assert (result["rounds"], result["private"], result["unsafe_seed"]) == (4, True, False)
    assert {name: log["entries"] for name, log in result["logs"].items()} == {
        "shop": 4,
        "films": 4,
        COORDINATOR: 5,
    }
    assert result["logs"]["shop"]["key"] == made.keys["shop"].public.id
    assert result["signatures"] == 13
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.slow
def test_a_long_record_is_verified_in_two_seconds(tmp_path: Path) -> None:
    """10,000 rounds of one platform and the coordinator: 20,001 entries, 20,000 charges.

    Time of this process, not of the wall: the machine may have other work.
    """
    long = made_record(10_000, ("shop",), heads=False)
    long.write(tmp_path)
    began = time.process_time()
    result = verify(tmp_path)
    seconds = time.process_time() - began
    assert result["findings"] == [
        {"log": ADAPTER, "entry": None, "round": None, "what": NO_ADAPTER}
    ]
    assert (result["rounds"], result["signatures"]) == (10_000, 0)
    assert seconds < 2.0
    lines = long.files["record/shop.jsonl"].splitlines(keepends=True)
    lines[7000], lines[7001] = lines[7001], lines[7000]
    (tmp_path / "record" / "shop.jsonl").write_bytes(b"".join(lines))
    found = verify(tmp_path)
    assert ("shop", 7000, 7002) in {
        (one["log"], one["entry"], one["round"]) for one in found["findings"]
    }


def test_keys_from_elsewhere_are_held_against_the_record(made: Made) -> None:
    keys = {name: key.public.hex for name, key in made.keys.items()}
    assert examine(made.evidence, keys=keys)["ok"]
    result = examine(made.evidence, keys={**keys, "shop": "0" * 64})
    assert [one["what"] for one in result["findings"]] == ["not the key that shop gives out"]
    assert not examine(made.evidence, keys={"casino": keys["shop"]})["ok"]


def test_an_empty_folder_is_a_list_of_what_is_missing(tmp_path: Path) -> None:
    result = verify(tmp_path)
    assert not result["ok"]
    assert {one["log"] for one in result["findings"]} == {
        *(KEYS, COORDINATOR, ROUNDS, FEDERATION, SUMMARY, ADAPTER)
    }
    assert all("missing" in one["what"] for one in result["findings"])


def test_what_people_are_shown(made: Made) -> None:
    def shown(evidence: Evidence) -> str:
        with console.capture() as captured:
            render(examine(evidence), console)
        return " ".join(captured.get().split())

    console = Console(width=200)
    whole = shown(made.evidence)
    assert "nothing was changed; 13 signatures one by one" in whole
    assert made.keys["shop"].public.id[:16] in whole
    assert "FOUND" not in whole
    content = made.files["record/shop.jsonl"]
    cut = shown(made.changed(**{"record/shop.jsonl": content[:-5]}))
    assert "FOUND shop, entry 3 (round 4): not written to its end, or cut off" in cut
    assert "the record is not as it was signed" in cut
