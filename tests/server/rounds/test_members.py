"""members.json: the key a platform was enrolled with is the only one that counts."""

from typing import Any

import pytest

from server.app import enrolled_keys, read_settings
from shared.errors import QuorumError, RunError
from shared.files import write_json


def test_with_the_keys_of_the_enrolment_a_run_is_as_without(federation: Any) -> None:
    members = {name: {"statement_key": federation.key(name).public.hex} for name in NAMES}
    write_json(federation.folder / "members.json", members)
    federation.run()
    assert federation.kinds() == ["setup", "round", "round", "round", "done"]


def test_a_platform_with_another_key_takes_no_part(federation: Any) -> None:
    members = {name: {"statement_key": federation.key(name).public.hex} for name in NAMES}
    members["shop"] = members["news"]
    write_json(federation.folder / "members.json", members)
    with pytest.raises(QuorumError, match=r"shop: not connected.*key"):
        federation.run()


@pytest.mark.parametrize("damage", ["missing", "no key", "no object"])
def test_a_file_without_a_key_for_everybody_is_an_error(federation: Any, damage: str) -> None:
    members: Any = {name: {"statement_key": federation.key(name).public.hex} for name in NAMES}
    if damage == "missing":
        del members["news"]
    elif damage == "no key":
        members["news"] = {"statement_key": "00"}
    else:
        members = []
    write_json(federation.folder / "members.json", members)
    with pytest.raises(RunError, match="a key for each of shop, films, news"):
        enrolled_keys(federation.folder, read_settings(federation.folder))


NAMES = ("shop", "films", "news")
