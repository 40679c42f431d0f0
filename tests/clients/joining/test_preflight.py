"""`check`: what it finds, what it says to do, and that it leaves nothing behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clients.cli import app
from clients.home import Home
from clients.joining.preflight import preflight
from clients.joining.rehearsal import rehearse, request_for
from clients.platform import Platform
from clients.sources.pseudonyms import pseudonym
from shared.errors import PolicyRefusal
from tests.clients.partners import PROJECT, enrolled, no_progress


def checked(home: Home, *, rehearsal: bool = False) -> dict[str, dict[str, Any]]:
    found = preflight(home.folder, no_progress, gateway=False, rehearsal=rehearsal)
    return {one["name"]: one for one in found["checks"]}


def tree(home: Home) -> dict[str, bytes]:
    return {
        str(path.relative_to(home.folder.path)): path.read_bytes()
        for path in home.folder.path.rglob("*")
        if path.is_file()
    }


@pytest.mark.usefixtures("nginx")
def test_all_is_well_and_nothing_is_left_behind(home: Home) -> None:
    before = tree(home)
    found = preflight(home.folder, no_progress, gateway=False)
    assert [one for one in found["checks"] if one["status"] != "ok"] == []
    assert (found["ok"], found["code"]) == (True, 0)
    assert len(found["checks"]) >= 15
    assert "800 of 800 events of 120 users" in str(found["checks"])
    assert "2 steps in" in found["checks"][-1]["detail"]
    assert tree(home) == before  # no ledger, no statement, no secret
    assert not (home.folder.ledgers / "shop.jsonl").exists()


def toml(old: str, new: str) -> Callable[[Home], None]:
    def change(home: Home) -> None:
        text = home.folder.toml.read_text()
        assert old in text
        home.folder.toml.write_text(text.replace(old, new))

    return change


def gone(name: str) -> Callable[[Home], None]:
    return lambda home: (home.folder.path / name).unlink()


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize(
    ("spoil", "name", "code", "remedy"),
    [
        (gone("client.toml"), "settings", 3, "init"),
        (gone("enrolment.json"), "enrolment", 10, "request.json"),
        (gone("keys/node.key"), "keys", 10, "rotate-keys"),
        (gone("request.json"), "request", 10, "rotate-keys"),
        (gone("opt-out.txt"), "opt-out list", 3, "create it"),
        (lambda home: (home.folder.keys / "tls.key").chmod(0o644), "permissions", 2, "chmod"),
        (toml('user = "customer"', 'user = "nobody"'), "events", 3, ""),
        (toml('title = "name"', 'title = "nothing"'), "events", 3, ""),
        (toml("population = 200", "population = 300"), "request", 2, "rotate-keys"),
        (toml("max_epsilon = 8.0", "max_epsilon = 7.0"), "policy", 8, "permit it"),
        (toml("[policy]", "[policy]\nmin_noise_multiplier = 9.0"), "policy", 8, "permit it"),
        (toml("[policy]", "[policy]\nmax_steps_per_round = 1"), "policy", 8, "permit it"),
        (toml("[policy]", "[policy]\nmax_epsilon_total = 1.0"), "budget", 8, "policy"),
        (toml("[policy]", '[policy]\nallowed_bundles = ["00"]'), "bundle", 8, "policy"),
    ],
)
def test_each_mistake_is_named_with_its_remedy(
    home: Home, spoil: Callable[[Home], None], name: str, code: int, remedy: str
) -> None:
    spoil(home)
    found = preflight(home.folder, no_progress, gateway=False, rehearsal=False)
    failed = [one for one in found["checks"] if one["status"] == "failed"]
    assert failed[0]["name"] == name, failed
    assert failed[0]["code"] == found["code"] == code
    assert remedy in failed[0]["remedy"]
    assert failed[0]["remedy"]


def test_a_ledger_behind_its_anchor(home: Home) -> None:
    platform = Platform.open(home.folder.platform)
    platform.train(request_for(platform, home.enrolment().federation))
    home.anchor.follow(home.folder.ledgers, home.promises.records())
    for path in home.folder.ledgers.glob("shop.jsonl*"):
        path.unlink()
    ledger = checked(home)["ledger"]
    assert (ledger["status"], ledger["code"]) == ("failed", 9)
    assert "newest" in ledger["remedy"]


def test_more_users_than_declared(home: Home, world: Path) -> None:
    found = checked(home)
    assert found["population"]["status"] == "ok"
    text = home.folder.toml.read_text().replace("population = 200", "population = 100")
    home.folder.toml.write_text(text)
    small = Home.open(home.folder.path)
    platforms = {"shop": {"kind": "shop", "population": 100}}
    enrolled(small, world, platforms=platforms)
    found = checked(small)
    assert found["population"]["status"] == "failed"
    assert "120" not in found["population"]["detail"]
    assert "Declare more" in found["population"]["remedy"]


def test_what_is_prepared_by_check(home: Home) -> None:
    (home.folder.state / "prepared.json").unlink()
    found = checked(home)
    assert found["prepared"]["detail"] == "the platform folder has been made"
    assert home.is_prepared()


def test_the_rehearsal_keeps_the_policy(home: Home) -> None:
    platform = Platform.open(home.folder.platform)
    federation = home.enrolment().federation
    strict = home.policy().model_copy(update={"max_clip_norm": 0.5})
    with pytest.raises(PolicyRefusal, match="clip_norm"):
        rehearse(platform, federation, strict, home.folder.state / "scratch")
    assert list((home.folder.state / "scratch").iterdir()) == []


def test_the_command_exits_with_the_first_failure(home: Home) -> None:
    (home.folder.keys / "tls.key").chmod(0o644)
    result = CliRunner().invoke(
        app, ["check", str(home.folder.path), "--offline", "--no-rehearsal"]
    )
    assert result.exit_code == 2
    assert "FAILED  permissions" in result.stdout
    assert "chmod" in result.stdout
    assert pseudonym(b"x" * 16, "c5") not in result.stdout


def test_help_is_instant_and_stop_needs_no_torch() -> None:
    code = (
        "import sys, runpy; sys.argv = ['fedinterest-client', '--help']\n"
        "try: runpy.run_module('clients.cli', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "import clients.node.control\n"
        "heavy = {'torch', 'flwr', 'cryptography', 'numpy', 'scipy', 'polars'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "rotate-keys" in done.stdout
