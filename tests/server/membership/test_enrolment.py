"""Enrolment under trouble: many at once, and crashes in the middle."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.membership import enrolment, gateway
from server.membership.authority import Authority
from server.membership.enrolment import enrol, init, revoke
from server.membership.partners import Partners
from server.settings import ServerFolder
from shared.certificates import utc_now
from shared.enrolment import Enrolment
from shared.errors import ConfigError
from tests.server.gates import Applicant, free_port

pytestmark = pytest.mark.usefixtures("nginx")

NOW = utc_now()


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    return init(tmp_path / "co", name="fed", address=f"127.0.0.1:{free_port()}", now=NOW)


class Crash(BaseException):
    """The process is killed here."""


@pytest.mark.parametrize("at", ["issue", "add", "update", "bundle_sha256"])
@pytest.mark.parametrize("known", [False, True])
def test_an_enrolment_that_was_cut_off_is_completed_by_the_next(
    folder: ServerFolder, monkeypatch: pytest.MonkeyPatch, at: str, known: bool
) -> None:
    """Before and after each step that changes something; a new partner, and one with new keys."""
    old, new = Applicant("shop"), Applicant("shop")
    if known:
        enrol(folder, "shop", old.text, now=NOW)
    owner: object = {"issue": Authority, "add": Partners, "update": gateway}.get(at, enrolment)
    original = getattr(owner, at)
    for late in (False, True):

        def dies(*arguments: object, late: bool = late, **named: object) -> None:
            if late:
                original(*arguments, **named)
            raise Crash

        with monkeypatch.context() as patch:
            patch.setattr(owner, at, dies)
            with pytest.raises(Crash):
                enrol(folder, "shop", new.text, now=NOW, replace=known)
    done = enrol(folder, "shop", new.text, now=NOW, replace=known)
    assert Enrolment.read(done.enrolment.text()) == done.enrolment
    (partner,) = Partners(folder.path).list()
    assert partner == done.partner
    keys = {one.key: one.revoked is not None for one in Authority(folder.authority).issued("shop")}
    assert list(keys.values()) == ([True, False] if known else [False])  # old ones, new ones
    assert done.partner.serial in {
        one.serial for one in Authority(folder.authority).issued("shop") if one.revoked is None
    }


def test_a_revocation_that_was_cut_off_is_completed_by_the_next(
    folder: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(folder, "shop", Applicant("shop").text, now=NOW)
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise Crash

        patch.setattr(Authority, "_publish", dies)
        with pytest.raises(Crash):
            revoke(folder, "shop", now=NOW)
    assert "REVOKED" not in _listed(folder).upper()
    done = revoke(folder, "shop", now=NOW)
    assert done.revoked == ()  # they were, in the book; now the list says so too
    assert "SERIAL NUMBER" in _listed(folder).upper()
    assert not done.partner.enrolled


def _listed(folder: ServerFolder) -> str:
    text = subprocess.run(
        ["openssl", "crl", "-in", str(folder.authority / "crl.pem"), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    return text.replace("No Revoked Certificates.", "")


def test_many_may_be_enrolled_at_once(folder: ServerFolder) -> None:
    names = [f"p{i}" for i in range(8)]
    texts = {name: Applicant(name).text for name in names}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: enrol(folder, name, texts[name], now=NOW), names))
    assert [one.name for one in Partners(folder.path).list()] == names
    conf = (folder.gateway / "nginx.conf").read_text()
    assert [name for name in names if f'"{name} ' in conf] == names


def test_a_thief_of_keys_is_too_late_or_refused_however_it_races(folder: ServerFolder) -> None:
    shop = Applicant("shop")
    texts = {"shop": shop.text, "news": Applicant("news", node=shop.node).text}

    def attempt(name: str) -> str:
        try:
            enrol(folder, name, texts[name], now=NOW)
        except ConfigError:
            return "refused"
        return "enrolled"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, texts)) == ["enrolled", "refused"]


def test_what_a_partner_is_told_is_what_the_run_will_be(folder: ServerFolder) -> None:
    done = enrol(folder, "shop", Applicant("shop").text, now=NOW)
    told = done.enrolment.federation
    assert set(told.platforms) == {"shop"}
    assert told.name == "fed"
    assert told.privacy == folder.settings.privacy
    assert told.training == folder.settings.training
    assert done.enrolment.server_name == gateway.SERVER_NAME
