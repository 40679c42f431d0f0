"""`fedinterest-server`, as an operator types it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli import app
from shared.enrolment import Enrolment, EnrolmentRequest
from shared.transparency.keys import SigningKey
from tests.server.gates import Applicant, free_port

pytestmark = pytest.mark.usefixtures("nginx")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run("init", "co", "--address", f"127.0.0.1:{free_port()}", "--name", "fed")[0] == 0
    return tmp_path / "co"


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def said(*arguments: str) -> Any:
    code, out, error = run(*arguments, "--json")
    assert code == 0, error
    return json.loads(out)


def enrol(who: Applicant, *options: str) -> tuple[int, str, str]:
    Path("request.json").write_text(who.text)
    return run("enrol", who.name, "request.json", "--dir", "co", *options)


def test_help_is_instant_and_names_all_commands() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "server.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert time.monotonic() - began < 5  # on a machine with much else to do
    for command in ("init", "enrol", "revoke", "partners", "up", "status"):
        assert f"\n  {command} " in done.stdout
    for heavy in ("torch", "flwr", "cryptography", "pydantic", "jinja2"):
        assert f"| {heavy}\n" not in done.stderr.replace("|   ", "| ")


def test_a_folder_is_made_once(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    shown = {path.name for path in folder.rglob("*") if path.stat().st_mode & 0o77}
    assert shown <= {"nginx.pid"}
    code, _, error = run("init", "co")
    assert code == 10
    assert "partners trust" in error
    (folder / "server.toml").unlink()  # left half made
    before = (folder / "authority" / "ca.crt").read_bytes()
    assert run("init", "co", "--name", "fed")[0] == 0
    assert (folder / "authority" / "ca.crt").read_bytes() == before


def test_init_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in (("--address", "nowhere"), ("--name", "a b")):
        code, _, error = run("init", "co", *options)
        assert code in (2, 7)
        assert error.startswith("error: expected")
        assert not (tmp_path / "co").exists()


def test_a_partner_joins_renews_changes_keys_and_is_revoked(folder: Path) -> None:
    shop = Applicant("shop")
    code, out, _ = enrol(shop)
    assert code == 0
    request = EnrolmentRequest.read(Path("request.json").read_text())
    assert f"Fingerprint of the request: {request.fingerprint}" in out
    first = Enrolment.read(Path("shop.enrolment.json").read_text())
    assert first.federation.platforms["shop"].population == 1000
    key = SigningKey.kept(folder / "coordinator.key").public.hex
    assert first.coordinator_key == key

    # The same keys again: a new certificate, and what it declares now.
    shop.population = 2000
    Path("request.json").write_text(shop.text)
    renewed = said("enrol", "shop", "request.json", "--dir", "co", "--out", "new.json")
    assert renewed["renewed"]
    assert renewed["revoked"] == []
    second = Enrolment.read(Path("new.json").read_text())
    assert second.certificate_pem != first.certificate_pem
    assert second.federation.platforms["shop"].population == 2000

    # Each key that differs needs a person's word.
    other = Applicant("shop")
    for what in ("certificate key", "node key", "statement key"):
        mixed = Applicant(
            "shop",
            tls=other.tls if what == "certificate key" else shop.tls,
            node=other.node if what == "node key" else shop.node,
            signing=SigningKey.unsafe(1, "x") if what == "statement key" else shop.signing,
        )
        code, _, error = enrol(mixed)
        assert code == 2
        assert what in error
        assert "--replace" in error
    # Another node key alone leaves the certificate good, and may be followed by a renewal.
    mixed = Applicant("shop", tls=shop.tls, node=Applicant("shop").node, signing=shop.signing)
    assert enrol(mixed, "--replace")[0] == 0
    assert "Renewed" in enrol(mixed)[1]
    code, out, _ = enrol(other, "--replace")
    assert code == 0
    assert "Revoked 4 older certificates" in out

    # Keys that were revoked do not come back, with nor without --replace.
    for options in ((), ("--replace",)):
        code, _, error = enrol(shop, *options)
        assert code == 2
        assert "never revoked" in error

    (row,) = said("partners", "--dir", "co")
    assert row["status"] == "enrolled"
    assert row["days_left"] == pytest.approx(365, abs=0.1)
    done = said("revoke", "shop", "--dir", "co")
    assert done == {"name": "shop", "revoked": [row["serial"]], "gateway_reloaded": False}
    assert "revoked" in run("partners", "--dir", "co")[1]
    again = Applicant("shop")
    code, _, error = enrol(again)
    assert code == 2
    assert "not revoked" in error
    assert enrol(again, "--replace")[0] == 0


def test_another_partners_identity_is_refused(folder: Path) -> None:
    shop, films = Applicant("shop"), Applicant("films")
    assert enrol(shop)[0] == 0
    assert enrol(films)[0] == 0
    for thief in (
        Applicant("news", tls=shop.tls),
        Applicant("news", node=shop.node),
        Applicant("news", signing=shop.signing),
        Applicant("SHOP"),
    ):
        code, _, error = enrol(thief)
        assert code == 2, error
        assert not Path(f"{thief.name}.enrolment.json").exists()
    Path("request.json").write_text(shop.text)
    code, _, error = run("enrol", "films", "request.json", "--dir", "co")
    assert (code, "one of shop" in error) == (2, True)
    assert [one["name"] for one in said("partners", "--dir", "co")] == ["films", "shop"]
    issued = json.loads((folder / "authority" / "issued.json").read_text())["issued"]
    assert [one["name"] for one in issued] == ["gateway.fedinterest.internal", "shop", "films"]


def test_what_is_no_request_is_refused(folder: Path) -> None:
    Path("request.json").write_text(Applicant("shop").text.replace("1000", "9999"))
    code, _, error = run("enrol", "shop", "request.json", "--dir", "co")
    assert (code, "signature" in error) == (7, True)
    Path("request.json").write_bytes(b"\xff")
    assert run("enrol", "shop", "request.json", "--dir", "co")[0] == 3
    Path("request.json").write_bytes(b" " * 300_000)
    assert run("enrol", "shop", "request.json", "--dir", "co")[0] == 3
    code, _, error = run("enrol", "shop", "nowhere.json", "--dir", "co")
    assert (code, "fedinterest-client init" in error) == (3, True)
    assert said("partners", "--dir", "co") == []
    assert "Nobody is enrolled yet" in run("partners", "--dir", "co")[1]


def test_elsewhere_there_is_no_coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("request.json").write_text(Applicant("shop").text)
    for command in (
        ("partners",),
        ("revoke", "shop"),
        ("enrol", "shop", "request.json"),
    ):
        code, _, error = run(*command)
        assert code == 10, command
        assert "fedinterest-server init" in error
    assert [path.name for path in tmp_path.iterdir()] == ["request.json"]
