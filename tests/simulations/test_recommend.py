"""`fedinterest recommend` on a run folder: a federation trained here, and folders that are not."""

import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clients.platform import Platform
from clients.platform_record import PlatformRecord
from clients.sources.pseudonyms import pseudonym
from server.rounds import checkpoint as checkpoints
from shared.catalogue import Catalogue
from shared.config.federation import FederationSettings
from shared.errors import ConfigError, DataError, RunError
from shared.events import Sequences
from simulations.engines.inprocess import run_inprocess
from simulations.recommend import recommend

ITEMS, WIDTH, USERS = 30, 16, 40
SECRET = b"thirty-two bytes of pseudonymity"
SETTINGS: dict[str, Any] = {
    "platforms": {
        name: {"population": USERS, "events": {"path": "gone"}, "items": {"path": "gone"}}
        for name in ("shop", "films")
    },
    "model": {"rank": 8, "layers": 2, "history_length": 10},
    "privacy": {"epsilon": 8.0, "sample_rate": 0.3, "steps_per_round": 2},
    "training": {"rounds": 2},
    "speed": {"threads": 1},
}
USER = "anna@example.org"  # user 3 of both platforms


def a_platform(folder: Path, name: str, settings: FederationSettings, seed: int) -> None:
    rng = np.random.default_rng(seed)
    private = settings.privacy.private
    lengths = rng.integers(2, 7, USERS)
    events = [rng.permutation(ITEMS)[: length + 2] for length in lengths]  # nothing twice
    users = [USER if user == 3 else f"user {user}" for user in range(USERS)]
    titles = ("[bold]A\x1b[31m[/bold] \x07title", *(f"{name} item {n}" for n in range(1, ITEMS)))
    record = PlatformRecord(
        name=name,
        kind=f"{name} kind",
        population=USERS,
        epsilon=settings.privacy.epsilon,
        delta=settings.privacy.delta_for(USERS),
        noise_multiplier=1.5 if private else 0.0,
        steps=settings.privacy.steps_per_round * settings.training.rounds,
        sample_rate=settings.privacy.sample_rate,
        clip_norm=settings.privacy.clip_norm,
        model=settings.model,
        unsafe_seed=7,
    )
    folder.mkdir(parents=True)
    (folder / "pseudonym.secret").write_bytes(SECRET)
    (folder / "facts.json").write_text("{}")
    held_out = np.array([each[-2:] for each in events], np.int32)
    np.savez(folder / "heldout.npz", validation=held_out[:, 0], test=held_out[:, 1])
    Platform.create(
        folder,
        record,
        Catalogue(
            ids=tuple(f"{name}-{row}" for row in range(ITEMS)),
            texts=titles,
            titles=titles,
            categories=tuple((f"Shelf {row % 4}",) for row in range(ITEMS)),
        ),
        rng.normal(size=(ITEMS, 2, WIDTH)).astype(np.float32),
        Sequences(
            users=tuple(pseudonym(SECRET, user) for user in users),
            items=np.concatenate([each[:-2] for each in events]).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ),
    )


def a_run(folder: Path, **privacy: Any) -> Path:
    values = {**SETTINGS, "privacy": {**SETTINGS["privacy"], **privacy}}
    folder.mkdir(exist_ok=True)
    settings = FederationSettings.load(values, where="test")
    (folder / "federation.json").write_text(json.dumps(values))
    for number, name in enumerate(settings.platforms):
        a_platform(folder / "platforms" / name, name, settings, number)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = a_run(tmp_path_factory.mktemp("run"))
    run_inprocess(folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def rendered(found: Any, width: int = 80) -> str:
    out = io.StringIO()
    found.render(Console(file=out, width=width))
    return out.getvalue()


def test_a_user_of_a_trained_run(trained: Path) -> None:
    found = recommend(trained, "shop", user=USER, history=None, k=5, explain=True)
    assert (found.platform, found.round, found.rounds, found.private) == ("shop", 2, 2, True)
    platform = Platform.open(trained / "platforms" / "shop")
    with np.load(platform.folder / "heldout.npz") as held:
        known = [*platform.sequences[3], held["validation"][3], held["test"][3]]
    assert [item.row for item in found.found.read] == known
    assert found.events == len(known)
    assert not {entry.item.row for entry in found.found.items} & set(known)
    # the trained adapter is what scores: round 1's gives other numbers
    values = found.as_json()
    (trained / "checkpoints" / "round-000002.safetensors").rename(trained / "away")
    try:
        before = recommend(trained, "shop", user=USER, history=None, k=5)
    finally:
        (trained / "away").rename(trained / "checkpoints" / "round-000002.safetensors")
    assert before.round == 1
    old = {e["item_id"]: e["parts"] for e in before.as_json()["recommendations"]}
    new = {e["item_id"]: e["parts"] for e in values["recommendations"]}
    both = old.keys() & new.keys()
    assert both
    for item in both:
        assert old[item]["shared_model"] != new[item]["shared_model"]
        assert old[item]["co_occurrence"] == new[item]["co_occurrence"]
    assert "unfinished" in rendered(before)
    assert "unfinished" not in rendered(found)


def test_user_and_the_same_history_are_recommended_the_same(trained: Path) -> None:
    by_user = recommend(trained, "films", user=USER, history=None, k=7)
    items = [item.item_id for item in by_user.found.read]
    items[0] = by_user.found.read[0].title.upper()
    by_items = recommend(trained, "films", user=None, history=items, k=7)
    assert by_items.as_json() == by_user.as_json()
    turned = recommend(trained, "films", user=None, history=items[::-1], k=7)
    assert turned.as_json()["recommendations"] != by_user.as_json()["recommendations"]


def test_json_is_json_and_names_nobody(trained: Path) -> None:
    found = recommend(trained, "shop", user=USER, history=None, k=3, explain=True)
    text = json.dumps(found.as_json(), allow_nan=False)
    assert "anna" not in text
    assert pseudonym(SECRET, USER) not in text
    values = json.loads(text)
    assert [entry["rank"] for entry in values["recommendations"]] == [1, 2, 3]
    read = [event["item_id"] for event in values["history"]["read"]]
    for entry in values["recommendations"]:
        assert entry["score"] == pytest.approx(sum(entry["parts"].values()), abs=1e-5)
        events = entry["explanation"]["events"]
        assert sorted(event["item_id"] for event in events) == sorted(read)
        assert sum(abs(event["contribution"]) for event in events) == pytest.approx(1)
        labels = {carried["label"] for carried in entry["explanation"]["interests"]}
        assert labels == {interest["label"] for interest in values["interests"]}
    assert sum(interest["weight"] for interest in values["interests"]) == pytest.approx(1)
    plain = recommend(trained, "shop", user=USER, history=None, k=3).as_json()
    assert all("explanation" not in entry for entry in plain["recommendations"])


def test_rendering_is_plain_when_piped(trained: Path) -> None:
    found = recommend(trained, "shop", user=None, history=["shop-5", "shop-9"], k=29, explain=True)
    text = rendered(found)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "[bold]A [31m[/bold]  title" in text  # a title is shown, not obeyed
    assert "2 events known, 2 read; adapter of round 2 of 2" in text
    assert "Shelf 1" in text
    first = found.found.items[0]
    assert first.explanation is not None
    assert f"1. {first.item.title}" in text
    assert f"score {first.score:.3f} = {first.parts.shared_model:.3f} shared model" in text
    place, share = first.explanation.events[0]
    assert f"events: {100 * share:+.0f} % {found.found.read[place].title}" in text
    assert "anna" not in rendered(recommend(trained, "shop", user=USER, history=None, k=1))
    short = rendered(recommend(trained, "shop", user=None, history=["shop-5"], k=2))
    assert "score" in short
    assert "co-occurrence" not in short


def test_all_known_leaves_nothing(trained: Path) -> None:
    everything = [f"shop-{row}" for row in range(ITEMS)]
    found = recommend(trained, "shop", user=None, history=everything, k=3)
    assert found.found.items == ()
    assert (found.events, len(found.found.read)) == (ITEMS, 10)
    assert "every item is in the history" in rendered(found)


def test_without_privacy_it_says_so(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "open", epsilon="inf")
    run_inprocess(folder)
    found = recommend(folder, "shop", user=USER, history=None, k=1)
    assert found.as_json()["private"] is False
    assert "NOT PRIVATE" in rendered(found)


def test_an_unknown_platform(trained: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        recommend(trained, "Filmz", user=USER, history=None)
    assert "got 'Filmz' (--platform)" in str(caught.value)
    assert "Did you mean 'films'? The platforms are films, shop." in str(caught.value)
    for name in ("zzz", "../platforms/shop", ""):
        with pytest.raises(ConfigError, match=r"\(--platform\)\. The platforms are films, shop"):
            recommend(trained, name, user=USER, history=None)


def test_an_unknown_user_is_not_repeated(trained: Path) -> None:
    with pytest.raises(DataError, match="a user with a history") as caught:
        recommend(trained, "shop", user="bob@example.org", history=None)
    assert "bob" not in str(caught.value)
    assert "fewer than 4 events" in str(caught.value)
    with pytest.raises(DataError):  # a pseudonym is no id
        recommend(trained, "shop", user=pseudonym(SECRET, USER), history=None)


def test_bad_questions(trained: Path) -> None:
    with pytest.raises(ConfigError, match="k of at least 1, got 0"):
        recommend(trained, "shop", user=USER, history=None, k=0)
    with pytest.raises(ConfigError, match="got both"):
        recommend(trained, "shop", user=USER, history=["shop-1"])
    with pytest.raises(ConfigError, match="got neither"):
        recommend(trained, "shop", user=None, history=None)
    with pytest.raises(ConfigError, match="got neither"):
        recommend(trained, "shop", user=None, history=[])
    with pytest.raises(DataError, match=r"got 'shop-99' .*Near 'shop-99': shop-"):
        recommend(trained, "shop", user=None, history=["shop-1", "shop-99"])


def test_a_run_that_is_not_trained(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a run folder with platforms") as caught:
        recommend(tmp_path / "nowhere", "shop", user=USER, history=None)
    assert caught.value.exit_code == 10
    for round_ in (1, 2):
        checkpoints.path_of(run / "checkpoints", round_).unlink()
    with pytest.raises(RunError, match=r"not finished its first round .*--resume"):
        recommend(run, "shop", user=USER, history=None)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match=r"trained adapter, got no checkpoint .*--resume"):
        recommend(run, "shop", user=USER, history=None)


def test_a_damaged_newest_checkpoint_is_passed_over(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.path_of(run / "checkpoints", 2).write_bytes(b"half")
    with caplog.at_level(logging.WARNING):
        assert recommend(run, "shop", user=USER, history=None, k=1).round == 1
    assert "passed over" in caplog.text


# numpy forgets to close a damaged archive
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "name", ["states.npy", "catalogue.json", "sequences.npz", "heldout.npz", "pseudonym.secret"]
)
def test_a_platform_folder_that_is_not_whole(run: Path, name: str) -> None:
    path = run / "platforms" / "shop" / name
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(RunError):
        recommend(run, "shop", user=USER, history=None)
    if name != "pseudonym.secret":
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(RunError):
            recommend(run, "shop", user=USER, history=None)


def test_held_out_events_of_other_users_are_refused(run: Path) -> None:
    path = run / "platforms" / "shop" / "heldout.npz"
    with np.load(path) as found:
        cut = {key: found[key][:-1] for key in found.files}
    np.savez(path, validation=cut["validation"], test=cut["test"])
    with pytest.raises(RunError, match="a whole platform folder"):
        recommend(run, "shop", user=USER, history=None)
