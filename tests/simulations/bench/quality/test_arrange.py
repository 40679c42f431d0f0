"""How our own model is trained for the bench: together, alone, pooled."""

import pytest

from shared.config.federation import FederationSettings
from simulations.bench.quality.arrange import Training
from simulations.bench.quality.systems import Wanted, wanted
from simulations.draw import Draw

SOURCE = {"path": "gone"}
RECIPE = FederationSettings.load(
    {
        "platforms": {
            name: {"population": population, "events": SOURCE, "items": SOURCE}
            for name, population in (("shop", 900), ("films", 20_000))
        }
    },
    where="test",
)


def test_federated_is_the_recipe_at_the_asked_budget() -> None:
    found = Training(kind="federated", epsilon=3.0, seed=1).settings(RECIPE)
    assert found.platforms == RECIPE.platforms
    assert found.privacy == RECIPE.privacy.replace(epsilon=3.0)
    assert (found.training, found.model, found.server) == (
        RECIPE.training,
        RECIPE.model,
        RECIPE.server,
    )


def test_local_is_one_platform_alone() -> None:
    found = Training(kind="local", epsilon=3.0, seed=1, platform="films").settings(RECIPE)
    assert list(found.platforms) == ["films"]
    assert found.privacy.epsilon == 3.0


def test_pooled_weighs_every_user_the_same() -> None:
    found = Training(kind="pooled", epsilon=float("inf"), seed=1).settings(RECIPE)
    weights = {name: own.public_weight for name, own in found.platforms.items()}
    assert weights == {"shop": 900.0, "films": 20_000.0}
    assert not found.privacy.private


def test_a_share_is_declared_and_the_rest_follows() -> None:
    """An eighth of 900 and of 20,000, to two digits, up; rate and weights go by these."""
    found = Training(kind="federated", epsilon=8.0, seed=0, share=0.125).settings(RECIPE)
    populations = {name: own.population for name, own in found.platforms.items()}
    assert populations == {"shop": 120, "films": 2500}
    assert found.platforms["films"].public_weight == pytest.approx(2500 / 6500**0.5)
    assert found.training.rate(2620) == pytest.approx(30 * 0.0262**0.5)
    alone = Training(kind="local", epsilon=8.0, seed=0, share=0.125, platform="shop")
    assert alone.settings(RECIPE).platforms == {"shop": found.platforms["shop"]}
    assert alone.name == "local-epsilon-8-seed-0-shop-share-0.125"
    assert alone.draw == Draw(share=0.125, seed=0)


def test_all_users_is_the_recipe() -> None:
    whole = Training(kind="federated", epsilon=8.0, seed=0, share=1.0)
    assert whole.settings(RECIPE).platforms == RECIPE.platforms
    assert whole.name == "federated-epsilon-8-seed-0"
    assert whole.draw is None


def test_trainings_have_folders_of_their_own() -> None:
    names = {
        Training(kind=kind, epsilon=epsilon, seed=seed, platform=platform).name
        for kind in ("federated", "local", "pooled")
        for epsilon in (1.0, 8.0, float("inf"))
        for seed in (0, 1)
        for platform in ("", "shop")
    }
    assert len(names) == 36


def test_what_is_wanted() -> None:
    found = wanted(["federated", "frozen", "sasrec", "pooled"], [3.0, 8.0], [0, 1])
    assert found[0] == Wanted(maker="frozen")
    assert found[0].systems == ("frozen", "frozen+knn", "frozen+tuned")
    by_maker = {
        maker: [one for one in found if one.maker == maker]
        for maker in ("sasrec", "federated", "pooled")
    }
    assert [(one.epsilon, one.seed) for one in by_maker["sasrec"]] == [(None, 0), (None, 1)]
    assert [(one.epsilon, one.seed) for one in by_maker["federated"]] == [
        *((3.0, 0), (3.0, 1)),
        *((8.0, 0), (8.0, 1)),
    ]
    assert {one.epsilon for one in by_maker["pooled"]} == {float("inf")}


def test_a_point_of_a_curve_names_itself() -> None:
    found = Wanted(maker="federated", epsilon=8.0, seed=0, heads=("+knn",), share=0.125)
    assert found.systems == ("federated", "federated+knn")
    assert found.private_name == "federated, epsilon 8, 12.5 % of users"
    on_the_way = Wanted(maker="federated", epsilon=8.0, seed=0, after=16)
    assert on_the_way.private_name == "federated, epsilon 8, round 16"
