"""The page over a platform whose texts are read: what is put and deleted is seen, sentences too."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.serving import answers as a
from clients.serving.live.store import Live
from clients.serving.start import Served
from clients.serving.state_cache import StateCache
from clients.serving.texts import Texts
from shared.config.training import ModelSettings
from shared.files import write_bytes, write_json
from tests.clients.serving import texts_world
from tests.clients.serving.conftest import SECRET
from tests.clients.serving.ui.conftest import FEDERATION, Site, made_snapshot, serving
from tests.clients.serving.ui.test_http import main_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model: ModelSettings, encoders: Path) -> Path:
    path = tmp_path_factory.mktemp("run")
    folder = path / "platforms" / "shop"
    texts_world.made_platform(folder, model)
    write_bytes(folder / "pseudonym.secret", SECRET)
    write_json(path / "federation.json", FEDERATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(path / "cache"))
        served = Served.at(folder)
    shutil.copytree(encoders, served.encoders)
    made_snapshot(folder, no_texts="")
    return path


@pytest.fixture
def site(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """That looks again at every question."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(run / "cache"))
    yield from serving(run / "platforms" / "shop", refresh_s=0.0)


@pytest.fixture
def service(site: Site) -> Iterator[tuple[Live, Texts, Served]]:
    """What a service in another process works with."""
    served = Served.at(site.folder)
    live = Live(served.serving / "live.db")
    cache = StateCache(served.serving / "texts.db")
    yield live, Texts(live, cache, served.encoders, no_texts=served.no_texts), served
    cache.close()
    live.close()


def test_a_sentence_is_answered_and_stays_where_it_was_typed(site: Site) -> None:
    text = texts_world.text(9)
    page = main_of(site.ask("sentence", {"text": text})[2])
    assert '<th scope="row">tea</th>' in page
    assert page.count("Title ") == 10
    assert page.count(text) == page.count(f'value="{text}"') == 1
    assert "interests and 10 items." in page or "interest and 10 items." in page
    assert "Type a sentence" in main_of(site.ask("sentence")[2])
    assert "Type a sentence" in main_of(site.ask("sentence", {"text": "  "})[2])


def test_what_is_put_and_deleted_beside_it_is_seen(
    site: Site, service: tuple[Live, Texts, Served]
) -> None:
    live, texts, served = service
    assert "Texts cannot be read" not in site.ask()[2]
    stock = texts.stock(served.newest())
    item = a.NewItem(item_id="n1", title="Just in", category=("tea",), text=texts_world.text(0))
    texts.put(stock, [item])
    page = site.ask()[2]
    assert "<span>61 items</span>" in page
    assert "1 put since the snapshot" in page
    assert "Just in" in site.ask("try", {"who": "history", "find": "just"})[2]
    assert "Just in" in site.ask("sentence", {"text": texts_world.text(0)})[2]
    live.delete_items(["n1", "i3"], {"i3"})
    page = site.ask()[2]
    assert "<span>59 items</span>" in page
    assert "2 taken out" in page
    assert "No title has" in site.ask("try", {"who": "history", "find": "just"})[2]
    assert "Just in" not in site.ask("sentence", {"text": texts_world.text(0)})[2]
    texts.put(stock.without(["n1"]), [item])


def test_where_texts_cannot_be_read_the_page_says_why(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.serving.texts._PACKAGES", ("<no_package>",))
    page = site.ask("sentence", {"text": "tea"})[2]
    assert "Texts cannot be read here" in page
    assert "the package &lt;no_package&gt;" in page
    assert 'action="sentence"' not in page
    assert "<span>60 items</span>" in site.ask()[2]  # what was read before is known
