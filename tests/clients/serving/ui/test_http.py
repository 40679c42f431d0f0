"""Over real HTTP: who is let in, what comes back, and where a user's id may be."""

import logging
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.serving.answers import Who
from clients.serving.live.store import Live
from clients.serving.ui.pages import VIEWS
from clients.sources.pseudonyms import pseudonym
from shared.errors import ConfigError, RunError
from tests.clients.serving.conftest import SECRET
from tests.clients.serving.ui.conftest import Site, made_snapshot


def main_of(page: str) -> str:
    found = re.search(r"<main.*?</main>", page, re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_answers_and_loads_nothing_foreign(site: Site, view: str) -> None:
    code, headers, page = site.ask(view)
    assert code == 200
    assert headers["Content-Type"].startswith("text/html")
    assert headers["Cache-Control"] == "no-store"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "Access-Control-Allow-Origin" not in headers
    assert "://" not in page
    assert " style=" not in page
    assert "onclick" not in page
    assert f'aria-current="page">{VIEWS[view]}<' in page
    assert site.server.token not in page  # links are relative: a saved page holds no key


def test_only_who_has_the_token_is_let_in(site: Site) -> None:
    for token in (
        "",
        "x",
        site.server.token[:-1],
        site.server.token + "x",
        site.server.token.swapcase(),
    ):
        assert site.ask(token=token)[0] == 404, token
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as odd:
        host = f"Host: 127.0.0.1:{site.server.port}".encode()
        odd.sendall(b"GET /\xc3\xa9\xff/ HTTP/1.1\r\n" + host + b"\r\n\r\n")
        assert odd.recv(65_536).split()[1] == b"404"
    assert site.ask("profile", {"user": "u3"}, token="guess")[0] == 404


def test_only_from_here(site: Site) -> None:
    port = site.server.port
    for name in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert site.ask(headers={"Host": name})[0] == 403, name
    assert site.ask(headers={"Host": f"localhost:{port}"})[0] == 200
    for origin in ("null", "http://evil.example", f"http://localhost:{port}"):
        assert site.ask("profile", {"user": "u3"}, headers={"Origin": origin})[0] == 403, origin
    own = {"Origin": f"http://127.0.0.1:{port}"}
    assert site.ask("profile", {"user": "u3"}, headers=own)[0] == 200
    assert site.server._server.server_address[0] == "127.0.0.1"


def test_what_is_no_form_is_refused(site: Site) -> None:
    assert site.ask("profile", body=b"{}", headers={"Content-Type": "application/json"})[0] == 415
    assert site.ask("profile", body=b"user=" + b"x" * 70_000)[0] == 413
    assert site.ask("profile", body=b"no equals sign")[0] == 400
    assert site.ask("profile", body=b"user=%ff")[0] == 400
    assert site.ask("profile", body=b"&".join(b"a%d=1" % n for n in range(500)))[0] == 400
    assert site.ask("fairness", {"a": "b"})[0] == 404
    assert site.ask("profile?user=u3")[0] == 404  # no id in an address
    assert site.ask("nothing")[0] == 404
    assert site.ask(method="DELETE")[0] == 405
    assert site.ask("../overview")[0] == 404


def test_rude_callers_cost_nothing(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as rude:
        rude.sendall(b"\x00\x01 garbage\r\n\r\n")
        assert b"garbage" not in rude.recv(65_536)
    assert site.ask()[0] == 200


def test_a_users_id_is_only_where_it_was_typed(
    site: Site, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        for view in ("profile", "try"):
            for user in ("u3", "nobody-of-this-name"):
                _, headers, page = site.ask(view, {"user": user, "who": "user"})
                places = len(re.findall(re.escape(user) + r"\b", page))
                # in the field; and of the second form of the tryout, in its hidden field
                known = 2 if view == "try" and user == "u3" else 1
                assert places == known, (view, user)
                assert page.count(f'value="{user}"') == places
                assert user not in str(headers)
    assert caplog.records == []
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_the_overview_says_what_is_on_file(site: Site) -> None:
    page = main_of(site.ask()[2])
    assert "round 3" in page
    assert "of 8 is spent" in page
    assert "2 of 4 steps, in 1 round." in page
    assert "same item again by the same user" in page
    assert "<b>300</b> events were kept, <b>9</b> rows were left out" in page
    assert "since the frozen model" in page.lower()
    assert "NDCG@10, measured on 39 people:" in page  # one has opted out
    assert "Texts cannot be read here" in page  # the maker has not said that they can
    assert "under 20" not in page


def test_a_profile_and_who_is_alike(site: Site) -> None:
    page = main_of(site.ask("profile", {"user": "u1"})[2])
    assert re.search(r'data-said="\d+ interests? found."', page)
    shown = re.findall(r"<code>([0-9a-f]{16})…</code>", page)
    assert set(shown) == {pseudonym(SECRET, user)[:16] for user in ("u2", "u4")}
    page = main_of(site.ask("profile", {"user": "u3"})[2])
    assert "has not opted in" in page
    assert "<code>" not in page


def test_a_made_up_history_is_searched_added_shown_and_explained(site: Site) -> None:
    page = main_of(site.ask("try", {"who": "history", "find": "title 1 of"})[2])
    assert re.findall(r'name="add" value="(\w+)"', page)[0] == "i1"
    page = main_of(site.ask("try", {"who": "history", "find": "tea", "add": "i1"})[2])
    assert '<input type="hidden" name="history" value="i1">' in page
    first = re.findall(r'name="explain" value="(\w+)"', page)
    assert len(first) == 10
    assert "i1" not in first
    asked = {"who": "history", "history": "i1", "explain": first[0], "k": "3"}
    page = main_of(site.ask("try", asked)[2])
    assert "Why this one" in page
    assert len(re.findall(r'<li class="card">', page)) == 3
    page = main_of(site.ask("try", {"history": ["i1", "i2"], "remove": "i1", "who": "history"})[2])  # type: ignore[dict-item]
    assert 'name="history" value="i2"' in page
    assert 'name="history" value="i1"' not in page
    only = {"who": "user", "user": "u3", "only": "tea", "mode": "interest", "diversity": "0.5"}
    page = main_of(site.ask("try", only)[2])
    results = page[page.index('class="results"') :]
    assert "all › tea" in results
    assert "› books" not in results


def test_an_audience_is_a_count_and_pseudonyms(site: Site) -> None:
    page = main_of(site.ask("audience", {"about": "interest", "interest": "tea", "least": "-1"})[2])
    assert 'data-said="39 of 39 users are in this audience."' in page
    assert len(re.findall(r"<code>[0-9a-f]{16}…</code>", page)) == 12
    assert 'role="img" aria-label="Closeness of 39 users' in page
    page = main_of(site.ask("audience", {"pick": "i1", "least": "1"})[2])
    assert "Nobody is that close" in page


def test_trends_rise_and_fall(site: Site) -> None:
    page = main_of(site.ask("trends", {"days": "7"})[2])
    rising, falling = page.split('id="fall"')
    assert '<th scope="row">coffee</th>' in rising
    assert '<th scope="row">tea</th>' in falling


def test_fairness_shows_groups_with_counts(site: Site) -> None:
    page = main_of(site.ask("fairness")[2])
    assert page.count(' class="all"><th scope="row"') >= 2
    assert "popularity lift" in page
    assert "Gini" in page


@pytest.mark.parametrize(
    ("view", "form", "said"),
    [
        ("profile", {"user": "stranger"}, "Nobody of that id is known here"),
        ("profile", {"user": "u5"}, "This user has opted out"),
        ("try", {"user": "u5", "who": "user"}, "This user has opted out"),
        ("profile", {"user": "u3", "most": "99"}, "That does not fit"),
        ("try", {"user": "u3", "k": "nan"}, "That does not fit"),
        ("try", {"user": "u3", "explain": "gone"}, "That is not in the catalogue"),
        ("audience", {"about": "interest", "interest": "wine"}, "That is not in the catalogue"),
        ("audience", {"item": "gone", "about": "item"}, "That is not in the catalogue"),
        ("trends", {"days": "0"}, "That does not fit"),
    ],
)
def test_every_error_is_a_page(site: Site, view: str, form: dict[str, str], said: str) -> None:
    code, _, page = site.ask(view, form)
    assert code == 200
    assert f"<h2>{said}</h2>" in page
    assert f'data-said="{said}.' in page
    assert "<form" in page  # to ask again


def test_hostile_texts_are_text(site: Site) -> None:
    evil = '"><script>alert(1)</script>'
    for view in ("profile", "try", "audience"):
        page = site.ask(view, {"user": evil, "find": evil, "interest": evil, "about": "interest"})[
            2
        ]
        assert "<script>alert" not in page


def test_nothing_prepared_yet_is_a_page_and_mends_itself(
    serve: Callable[[Path], Site], run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run" / "platforms" / "shop"
    shutil.copytree(run / "platforms" / "shop", folder)
    (tmp_path / "run" / "federation.json").write_text("{}")
    (folder / "pseudonym.secret").rename(folder / "away")
    site = serve(folder)
    code, _, page = site.ask()
    assert code == 503
    assert "There is nothing to show yet" in page
    assert site.ask("profile", {"user": "u3"})[0] == 503
    shutil.copy(run / "federation.json", tmp_path / "run" / "federation.json")
    (folder / "away").rename(folder / "pseudonym.secret")
    assert site.ask("profile", {"user": "u3"})[0] == 200


def test_consent_withdrawn_elsewhere_counts_at_once(
    serve: Callable[[Path], Site], run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    made_snapshot(tmp_path / "run" / "platforms" / "shop")  # of other files, by their stamps
    site = serve(tmp_path / "run" / "platforms" / "shop")
    before = site.ask("profile", {"user": "u9"})[2]
    assert "This user has opted out" not in before
    other = Live(site.folder / "serving" / "live.db")  # as a service in another process would
    other.set_consent(pseudonym(SECRET, "u9"), learning=False)
    other.close()
    assert "This user has opted out" in site.ask("profile", {"user": "u9"})[2]


def test_wrong_folders_and_ports(tmp_path: Path, site: Site) -> None:
    from clients.serving.ui.http import PageServer
    from clients.serving.ui.opened import Opened
    from clients.serving.ui.start import run

    with pytest.raises(RunError, match="partner's folder"):
        Opened(tmp_path)
    with pytest.raises(ConfigError, match="free to listen on"):
        PageServer(None, site.server.port)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="65535"):
        run(site.folder, port=70_000)


def test_the_command_says_where_and_ends(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clients.serving.ui import start

    asked = iter([False, True])
    folder = run / "platforms" / "shop"
    assert start.run(folder, browser=False, stopped=lambda: next(asked)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", lines[0])
    assert lines[1] == "shop, round 3: 60 items, 40 users"


def test_the_page_agrees_with_the_engine(site: Site) -> None:
    desk = site.server._server.RequestHandlerClass.pages._opened.desk()  # type: ignore[attr-defined]
    told = desk.engine.recommend(Who(user_id="u3"), k=10)
    page = main_of(site.ask("try", {"user": "u3", "who": "user"})[2])
    assert re.findall(r'name="explain" value="(\w+)"', page) == [
        one.item.item_id for one in told.items
    ]
