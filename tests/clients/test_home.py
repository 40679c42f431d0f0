"""A partner's folder: settings, what is made from them, and promises one after the other."""

from pathlib import Path

import pytest

from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.joining.rotation import rotate
from clients.joining.start import likely, public_population, time_unit_of
from clients.platform import Platform
from clients.policy import Policy
from clients.settings import ClientFolder
from clients.spending.promises import Asked, Promises, terms_sha256, total_epsilon
from shared.enrolment import EnrolmentRequest
from shared.errors import ConfigError, LedgerError, ProtocolError, RunError, SourceError
from shared.privacy.accountant import Charge, epsilon
from tests.clients.partners import enrolled, new_home, no_progress, public


def edit(home: Home, old: str, new: str) -> Home:
    text = home.folder.toml.read_text()
    assert old in text
    home.folder.toml.write_text(text.replace(old, new))
    return Home.open(home.folder.path)


def test_what_init_writes(home: Home, world: Path) -> None:
    settings = home.settings
    assert settings.platform.name == "shop"
    assert settings.events.path == world / "shop.csv"
    assert settings.cleaning.opt_out == home.folder.opt_out
    assert settings.policy == Policy(max_epsilon=8.0, threads=1)
    assert home.folder.path.stat().st_mode & 0o077 == 0
    request = EnrolmentRequest.read(home.folder.request.read_text())
    assert request.statement_key == home.keys.signing.public.hex
    with pytest.raises(ConfigError, match="has been set up"):
        new_home(home.folder.path, world)


def test_a_seed_needs_the_environment(
    tmp_path: Path, world: Path, surroundings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = new_home(tmp_path / "shop", world, seed=3)
    monkeypatch.delenv("FEDINTEREST_UNSAFE")
    with pytest.raises(ConfigError, match="for tests only"):
        Home.open(home.folder.path)


def test_mistakes_are_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="fedinterest-client init"):
        ClientFolder.at(tmp_path / "nowhere").settings()
    with pytest.raises(ConfigError, match="Did you mean 'max_epsilon'"):
        edit(home, "max_epsilon = 8.0", "max_epsilonn = 8.0")
    home.folder.toml.write_text(home.folder.toml.read_text().replace("epsilonn", "epsilon"))
    with pytest.raises(ConfigError, match="coordinator's"):
        edit(home, 'name = "shop"', 'name = "coordinator"')


def test_the_policy_is_read_afresh(home: Home) -> None:
    assert home.policy().max_steps_per_round == 100_000
    edit(home, "[policy]\n", "[policy]\nmax_steps_per_round = 1\n")
    assert home.policy().max_steps_per_round == 1
    assert Policy.read(home.folder.platform).max_steps_per_round == 1
    home.folder.toml.write_text("[policy")
    with pytest.raises(ConfigError):
        home.policy()


def test_prepared_once_and_again_under_other_terms(home: Home, world: Path) -> None:
    assert home.is_prepared()
    made = (home.folder.platform / "platform.json").stat().st_mtime_ns
    home.prepare(no_progress)
    assert (home.folder.platform / "platform.json").stat().st_mtime_ns == made
    platform = Platform.open(home.folder.platform)
    assert platform.ledger_path == home.folder.ledgers / "shop.jsonl"
    assert platform.journal_path == home.folder.record / "shop.jsonl"
    assert platform.key.public.hex == home.keys.signing.public.hex
    platform.train(request_for(platform, home.enrolment().federation))

    enrolled(home, world, name="another")
    assert not home.is_prepared()
    again = home.prepare(no_progress)
    assert again.ledger_path == home.folder.ledgers / "shop-2.jsonl"
    assert again.journal_path == home.folder.record / "2" / "shop.jsonl"
    again.train(request_for(again, home.enrolment().federation))
    records = home.promises.records()
    assert {file: len(one.entries) for file, one in records.items()} == {
        "shop.jsonl": 2,
        "shop-2.jsonl": 2,
    }
    terms = records["shop.jsonl"].charges()[0]
    alone = epsilon([terms], records["shop.jsonl"].delta)
    both = epsilon([Charge(terms.sample_rate, terms.noise_multiplier, 4)], again.record.delta)
    assert total_epsilon(records) == both > alone
    # Back to the first federation: its own ledger goes on.
    enrolled(home, world)
    assert home.prepare(no_progress).ledger_path.name == "shop.jsonl"


def test_a_run_is_counted_in_full_before_it_begins() -> None:
    charge = Charge(0.1, 1.0, 20)
    assert total_epsilon({}) == 0.0
    assert total_epsilon({}, Asked("shop.jsonl", 1e-5, charge)) == epsilon([charge], 1e-5)


def test_a_ledger_without_its_promise_is_damage(home: Home) -> None:
    platform = Platform.open(home.folder.platform)
    platform.train(request_for(platform, home.enrolment().federation))
    (home.folder.ledgers / "promises.json").unlink()
    with pytest.raises(LedgerError, match=r"nothing about shop\.jsonl"):
        home.promises.records()


def test_terms_are_what_was_promised(world: Path) -> None:
    federation = public(world)
    base = terms_sha256("shop", federation, "ca")
    assert base == terms_sha256("shop", public(world, server={"round_timeout_s": 5.0}), "ca")
    others = {
        terms_sha256("shop", public(world, privacy={"epsilon": 7.0}), "ca"),
        terms_sha256("shop", public(world, training={"rounds": 9}), "ca"),
        terms_sha256("shop", federation, "another authority"),
    }
    assert len({base, *others}) == 4


def test_an_enrolment_of_somebody_else(home: Home, tmp_path: Path) -> None:
    edit(home, 'name = "shop"', 'name = "films"')
    other = Home.open(home.folder.path)
    with pytest.raises(ProtocolError, match="enrolment of films"):
        other.enrolment()
    with pytest.raises(RunError, match="enrolment file"):
        other.enrol(tmp_path / "none.json")


def test_a_population_that_was_not_enrolled(home: Home, world: Path) -> None:
    other = edit(home, "population = 200", "population = 300")
    enrolled(other, world, name="again")
    with pytest.raises(ConfigError, match="population that was enrolled, 200"):
        other.prepare(no_progress)


def test_rotation_keeps_what_was_spent(home: Home, world: Path) -> None:
    platform = Platform.open(home.folder.platform)
    platform.train(request_for(platform, home.enrolment().federation))
    home.anchor.follow(home.folder.ledgers, home.promises.records())
    marks, old = home.anchor.marks(), home.anchor.path
    request = rotate(home)
    assert request.statement_key == home.keys.signing.public.hex
    assert home.anchor.path == old
    with pytest.raises(RunError, match=r"enrolment\.json"):
        home.enrolment()
    request = rotate(home, statement_key=True)
    assert home.anchor.path != old
    assert home.anchor.marks() == marks
    assert (home.folder.platform / "signing.key").read_bytes() == (
        home.keys.signing_key.read_bytes()
    )
    enrolled(home, world)
    home.prepare(no_progress)
    assert Promises(home.folder.ledgers, "shop").records().keys() == {"shop.jsonl"}
    platform = Platform.open(home.folder.platform)
    request_2 = request_for(platform, home.enrolment().federation)
    platform.train(request_2)  # a new log of statements, the old ledger
    home.anchor.follow(home.folder.ledgers, home.promises.records())
    assert len(home.promises.records()["shop.jsonl"].entries) == 2  # the same request: a replay


def test_proposals(world: Path) -> None:
    assert likely(["order_id", "customer", "sku", "ordered_at"], "user") == "customer"
    assert likely(["order_id", "customer", "sku", "ordered_at"], "item") == "sku"
    assert likely(["order_id", "customer", "sku", "ordered_at"], "time") == "ordered_at"
    assert likely(["a", "b"], "user") is None
    assert time_unit_of(world / "shop.csv", "at") == "iso"
    assert time_unit_of(world / "news.jsonl", "ms") == "ms"
    assert [public_population(users) for users in (1, 7, 10, 11, 99, 120, 1234)] == [
        *(2, 7, 10, 20, 100, 200, 2000)
    ]
