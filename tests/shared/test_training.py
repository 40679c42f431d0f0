"""The local round: per-user gradients, neighbours, noise, denominators.

Privacy unit: one user.  The neighbour tests take two data sets that differ in one user, run the
same round on both under the same `UnsafeSeed`, and look at what differs.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from scipy import stats

import shared.training as training
from shared.adapters import Adapter, extract, initial_adapter
from shared.config.training import ModelSettings
from shared.errors import AdapterError, ConfigError, DataError
from shared.events import Sequences
from shared.ground import Ground
from shared.model import InterestModel
from shared.objective import Table, Windows, losses, windows
from shared.privacy.clipping import PrivateOptimizer, clip_factors, user_norms
from shared.privacy.randomness import RoundSecret, Stream, UnsafeSeed
from shared.training import LocalPlan, Steps, draw_negatives, local_round

ITEMS, WIDTH = 40, 12
SETTINGS = ModelSettings(history_length=6, rank=14, layers=2)
TRAINED, FIXED = InterestModel(SETTINGS, WIDTH).names
PLAN = LocalPlan(
    trained=TRAINED,
    steps=1,
    learning_rate=0.5,
    targets_per_user=4,
    negatives=15,
    temperature=0.2,
    gce_q=0.1,
    sample_rate=0.5,
    clip_norm=0.3,
    noise_multiplier=0.7,
    population=50,
)
LONGEST = PLAN.targets_per_user + 1
OPEN = dataclasses.replace(PLAN, private=False, sample_rate=1.0)
"""Without noise or clipping."""

P_VALUE = 1e-6


def ground() -> Ground:
    generator = torch.Generator().manual_seed(3)
    vectors = torch.randn((ITEMS, WIDTH), generator=generator)
    features = torch.randn((ITEMS, 2 * WIDTH), generator=generator)
    return Ground(
        vectors=torch.nn.functional.normalize(vectors, dim=1),
        features=torch.nn.functional.normalize(features, dim=1),
    )


def packed(histories: Sequence[Sequence[int]]) -> Sequences:
    return Sequences(
        users=tuple(f"u{number}" for number in range(len(histories))),
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
    )


def people(count: int, seed: int = 0) -> list[list[int]]:
    """Histories of 0 to 13 events: empty, too short to predict anything, and over-long ones."""
    generator = np.random.default_rng(seed)
    lengths = [0, 1, 2, 3, 13, *generator.integers(0, 14, max(0, count - 5))][:count]
    return [generator.integers(0, ITEMS, length).tolist() for length in lengths]


def model(adapter_seed: int | None = 1) -> InterestModel:
    """A model whose adapter is not zero, so that every path carries gradient."""
    adapter = initial_adapter(SETTINGS, WIDTH)
    if adapter_seed is not None:
        generator = np.random.default_rng(adapter_seed)
        for name, value in adapter.items():
            adapter[name] = (0.2 * generator.normal(size=value.shape)).astype(np.float32)
    return InterestModel(SETTINGS, WIDTH).load(adapter)


def secret(seed: int = 0) -> RoundSecret:
    return UnsafeSeed(seed).open(platform="p", round=1, request="00", data="00")


def flat(tensors: Adapter) -> NDArray[np.float64]:
    return np.concatenate([value.astype(np.float64).ravel() for value in tensors.values()])


def round_of(
    histories: Sequence[Sequence[int]], plan: LocalPlan = PLAN, seed: int = 0
) -> NDArray[np.float64]:
    return flat(local_round(model(), ground(), packed(histories), plan, secret(seed)))


def negatives_of(plan: LocalPlan, step: int = 0) -> torch.Tensor:
    drawn = draw_negatives(ITEMS, plan.negatives, secret().stream("negatives", step))
    return torch.from_numpy(drawn)


def plain_gradient(
    histories: Sequence[Sequence[int]], user: int, coin: float, negatives: torch.Tensor
) -> torch.Tensor:
    """Of one user's loss in the trained tensor: plain autograd, the user alone, no hooks."""
    own = model()
    batch = windows(packed(histories), np.array([user]), np.array([coin]), LONGEST)
    loss = losses(own, ground(), batch, negatives, PLAN.temperature, PLAN.gce_q)[0]
    (found,) = torch.autograd.grad(loss, [own.block(TRAINED).lora_B.weight])
    return found


# --- per-user gradients ----------------------------------------------------------------------


def test_per_user_gradients_equal_looped_autograd_and_opacus() -> None:
    """The factors training uses, against the plain loss of `shared.objective`, user by user.

    And against Opacus' own hooks: a linear layer that is fed the factors' inputs, and whose
    outputs have the factors' gradients, has the same per-sample gradients.
    """
    histories = people(24)
    assert len(set(map(len, histories))) > 6
    coins = np.random.default_rng(0).uniform(size=len(histories))
    steps = Steps(model(), ground(), packed(histories), OPEN)
    table = steps.table(secret().stream("negatives", 0))
    inputs, outputs = steps.factors(table, np.arange(len(histories)), coins)
    hooked = GradSampleModule(
        torch.nn.Linear(inputs.shape[2], WIDTH, bias=False), loss_reduction="sum"
    )
    hooked(inputs.clone().requires_grad_()).backward(outputs)
    by_opacus = hooked._module.weight.grad_sample.double()
    for user, history in enumerate(histories):
        got = outputs[user].double().T @ inputs[user].double()
        plain = plain_gradient(histories, user, coins[user], table.negatives).double()
        if len(history) < 2:
            assert not got.any()
            assert not plain.any()
        else:
            assert plain.norm() > 1e-3
            assert (got - plain).norm() <= 2e-6 * plain.norm()
            assert (got - by_opacus[user]).norm() <= 2e-6 * plain.norm()


def test_learning_lowers_the_loss() -> None:
    histories = [[(start + 2 * k) % ITEMS for k in range(8)] for start in range(ITEMS)]
    sequences = packed(histories)
    plan = dataclasses.replace(OPEN, steps=60, learning_rate=2.0, population=ITEMS)
    own = InterestModel(SETTINGS, WIDTH)
    start = initial_adapter(SETTINGS, WIDTH)
    update = local_round(own, ground(), sequences, plan, secret())
    batch = windows(sequences, np.arange(ITEMS), np.full(ITEMS, 0.5), LONGEST)
    found = []
    for adapter in (start, start | update):
        fresh = InterestModel(SETTINGS, WIDTH).load(adapter)
        each = losses(fresh, ground(), batch, torch.arange(ITEMS), PLAN.temperature, PLAN.gce_q)
        found.append(float(each.detach().mean()))
    assert found[1] < found[0] - 0.1


def test_negatives_are_drawn_from_the_whole_catalogue_and_from_nothing_else() -> None:
    counts = np.zeros(ITEMS)
    for step in range(2000):
        counts += np.bincount(negatives_of(PLAN, step).numpy(), minlength=ITEMS)
    assert stats.chisquare(counts).pvalue > P_VALUE
    whole = dataclasses.replace(PLAN, negatives=ITEMS)
    assert negatives_of(whole).tolist() == list(range(ITEMS))


# --- neighbours ------------------------------------------------------------------------------


@dataclass
class Watched:
    """What a round did, seen from inside.

    Args:
        sums: of each step, before noise, flat.
        noised: of each step, after noise and before division, flat.
        batches: of each micro-batch, the users and their coins.
        negatives: of each step.
    """

    sums: list[NDArray[np.float64]]
    noised: list[NDArray[np.float64]]
    batches: list[tuple[tuple[int, ...], NDArray[np.float64]]]
    negatives: list[torch.Tensor]
    update: NDArray[np.float64]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    """Run a round and write down its sums, users and coins."""

    def run(histories: Sequence[Sequence[int]], plan: LocalPlan, seed: int = 0) -> Watched:
        seen = Watched([], [], [], [], np.zeros(0))
        add_noise = PrivateOptimizer.add_noise

        def spy_noise(self: PrivateOptimizer) -> None:
            sums = [
                torch.zeros_like(p, dtype=torch.float64) if p.summed_grad is None else p.summed_grad
                for p in self.params
            ]
            seen.sums.append(torch.cat([total.flatten() for total in sums]).numpy().copy())
            add_noise(self)
            noised = torch.cat([p.grad.double().flatten() for p in self.params])
            seen.noised.append(noised.numpy().copy())

        def spy_windows(
            sequences: Sequences, users: NDArray[np.int64], coins: NDArray[np.float64], longest: int
        ) -> Windows:
            seen.batches.append((tuple(users.tolist()), coins.copy()))
            return windows(sequences, users, coins, longest)

        take_table = Steps.table

        def spy_table(self: Steps, stream: Stream) -> Table:
            found = take_table(self, stream)
            seen.negatives.append(found.negatives)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Steps, "table", spy_table)
            patch.setattr(PrivateOptimizer, "add_noise", spy_noise)
            patch.setattr(training, "windows", spy_windows)
            update = local_round(model(), ground(), packed(histories), plan, secret(seed))
        seen.update = flat(update)
        return seen

    return run


def clipped_term(
    histories: Sequence[Sequence[int]], user: int, plan: LocalPlan, seen: Watched
) -> NDArray[np.float64]:
    """The one term that `user` may add in the first step: plain autograd, then scaled by hand."""
    found = [coins[users.index(user)] for users, coins in seen.batches if user in users]
    if not found:
        return np.zeros_like(seen.sums[0])
    gradient = plain_gradient(histories, user, float(found[0]), seen.negatives[0])
    factor = clip_factors(user_norms([gradient[None]]), plan.clip_norm)
    return (gradient * factor).double().flatten().numpy()


EACH_ALONE = dataclasses.replace(PLAN, micro_batch=1)
"""Sums are float64 and every user's term is computed alone: differences are exact."""


def neighbours(kind: str, histories: list[list[int]], user: int) -> list[list[int]]:
    """`histories` with one user's data changed, taken away, or added."""
    if kind == "changed":
        return [*histories[:user], [5, 6, 7, 8, 9, 11, 2, 2, 1], *histories[user + 1 :]]
    if kind == "shortened":
        return [*histories[:user], histories[user][:-1], *histories[user + 1 :]]
    if kind == "emptied":
        return [*histories[:user], [], *histories[user + 1 :]]
    if kind == "removed":
        return histories[:-1]
    return [*histories, [1, 2, 3, 4, 5, 30]]


@pytest.mark.parametrize("kind", ["changed", "shortened", "emptied", "removed", "added"])
@pytest.mark.parametrize("clip_norm", [0.05, 100.0])
def test_one_user_changes_their_own_clipped_term_only(
    watch: Callable[..., Watched], kind: str, clip_norm: float
) -> None:
    histories = [*people(30), [7, 8, 9, 10]]
    plan = dataclasses.replace(EACH_ALONE, clip_norm=clip_norm)
    before = watch(histories, plan)
    present = {users[0] for users, _ in before.batches}
    user = next(u for u in sorted(present) if len(histories[u]) > 3)
    if kind in ("removed", "added"):
        user = len(histories) - (kind == "removed")
        # a seed under which that user's coin brings them into the step
        seed = next(
            s for s in range(20) if secret(s).stream("sampling", 0).uniform(user + 1)[-1] < 0.5
        )
        before = watch(histories, plan, seed)
    else:
        seed = 0
    others = neighbours(kind, histories, user)
    after = watch(others, plan, seed)

    # The others: same sample, same positions.
    def without(seen: Watched) -> dict[int, float]:
        return {users[0]: float(coins[0]) for users, coins in seen.batches if users[0] != user}

    assert without(before) == without(after)
    assert torch.equal(before.negatives[0], after.negatives[0])
    assert len(without(before)) > 8

    # The sum: exactly that user's clipped gradients, each within the bound.
    old = (
        np.zeros_like(before.sums[0])
        if kind == "added"
        else clipped_term(histories, user, plan, before)
    )
    new = (
        np.zeros_like(before.sums[0])
        if kind == "removed"
        else clipped_term(others, user, plan, after)
    )
    for term in (old, new):
        assert np.linalg.norm(term) <= clip_norm
    if clip_norm < 1:
        assert max(np.linalg.norm(old), np.linalg.norm(new)) > 0.99 * clip_norm
    difference = after.sums[0] - before.sums[0]
    assert np.linalg.norm(new - old) > 1e-3
    np.testing.assert_allclose(difference, new - old, rtol=0, atol=3e-6 * min(clip_norm, 1))
    if kind in ("removed", "added", "emptied"):  # the adjacency that is accounted for
        assert np.linalg.norm(difference) <= clip_norm * (1 + 1e-9)

    # The noise: the same numbers on top, so that what is released differs by that and no more.
    scale = plan.sample_rate * plan.population
    grid = clip_norm * plan.noise_multiplier * 2.0**-15
    for seen in (before, after):
        assert np.linalg.norm(seen.noised[0] - seen.sums[0]) > clip_norm
    np.testing.assert_allclose(after.noised[0] - before.noised[0], difference, rtol=0, atol=grid)
    np.testing.assert_allclose(
        (after.update - before.update) * scale / -plan.learning_rate,
        difference,
        rtol=0,
        atol=grid + 2e-5,
    )


def test_over_several_steps_nobody_else_s_coins_change(watch: Callable[..., Watched]) -> None:
    """From the second step on gradients differ (the weights do); chance and bounds do not."""
    histories = people(20)
    plan = dataclasses.replace(EACH_ALONE, steps=4)
    before = watch(histories, plan)
    user = before.batches[0][0][0]
    after = watch(neighbours("changed", histories, user), plan)
    assert len(before.sums) == len(after.sums) == plan.steps
    # In whatever order: users of like length are worked on together.
    drawn = [
        Counter((users, coins.tobytes()) for users, coins in s.batches) for s in (before, after)
    ]
    assert drawn[0] == drawn[1]
    tossed = {coins.tobytes() for _, coins in before.batches}
    assert len(tossed) == len(before.batches) > len({users for users, _ in before.batches})  # fresh
    terms = clipped_term(neighbours("changed", histories, user), user, plan, after) - clipped_term(
        histories, user, plan, before
    )
    np.testing.assert_allclose(after.sums[0] - before.sums[0], terms, rtol=0, atol=1e-6)
    for step in range(plan.steps):
        noises = [seen.noised[step] - seen.sums[step] for seen in (before, after)]
        np.testing.assert_allclose(noises[0], noises[1], atol=1e-4)
    assert np.linalg.norm(after.sums[1] - before.sums[1]) > 0


def test_users_with_nothing_to_predict_change_nothing_at_all() -> None:
    """Bit for bit, whatever their number: no denominator knows how many users there are."""
    histories = people(15)
    for plan in (PLAN, OPEN, dataclasses.replace(PLAN, steps=3)):
        plan = dataclasses.replace(plan, micro_batch=1)
        known = round_of(histories, plan)
        assert np.array_equal(round_of([*histories, *[[3]] * 40], plan), known)
        assert np.array_equal(round_of([*histories, *[[]] * 40], plan), known)


def test_the_denominator_is_the_public_constant() -> None:
    histories = people(25)
    known = round_of(histories, OPEN)
    for rate, population in ((1.0, 100), (1.0, 7)):
        plan = dataclasses.replace(OPEN, sample_rate=rate, population=population)
        scale = OPEN.population / (rate * population)
        np.testing.assert_allclose(round_of(histories, plan), known * scale, rtol=0, atol=1e-5)


def test_without_privacy_a_step_is_plain_gradient_descent() -> None:
    histories = people(18)
    coins = secret().stream("positions", 0).uniform(18)
    gradients = [plain_gradient(histories, u, coins[u], negatives_of(OPEN)) for u in range(18)]
    want = -OPEN.learning_rate * sum(gradients) / OPEN.population
    found = round_of(histories, OPEN)
    np.testing.assert_allclose(found, want.double().flatten().numpy(), rtol=0, atol=1e-6)
    assert np.linalg.norm(found) > 1e-3


# --- noise -----------------------------------------------------------------------------------


def standardised(histories: Sequence[Sequence[int]], plan: LocalPlan, seed: int) -> NDArray:
    """The update in units of the noise that the accountant was told of; N(0, 1) without users."""
    stddev = plan.noise_multiplier * plan.clip_norm / (plan.sample_rate * plan.population)
    return round_of(histories, plan, seed) / (plan.learning_rate * stddev * plan.steps**0.5)


def chi_square_p(values: NDArray[np.float64]) -> float:
    """Two-sided: the chance of a sum of squares this far from the number of values."""
    statistic = float(np.square(values).sum())
    return 2 * min(stats.chi2.cdf(statistic, len(values)), stats.chi2.sf(statistic, len(values)))


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(
    "histories", [[], [[]] * 30, [[4]] * 300], ids=["no users", "no events", "one event each"]
)
@pytest.mark.parametrize(
    ("sample_rate", "population", "clip_norm", "noise_multiplier"),
    [(0.5, 50, 0.3, 0.7), (0.01, 10_000, 1.0, 0.5), (1.0, 3, 20.0, 2.0)],
)
def test_the_noise_has_the_scale_that_is_accounted_for(
    histories: list[list[int]],
    steps: int,
    sample_rate: float,
    population: int,
    clip_norm: float,
    noise_multiplier: float,
) -> None:
    plan = dataclasses.replace(
        PLAN,
        steps=steps,
        sample_rate=sample_rate,
        population=population,
        clip_norm=clip_norm,
        noise_multiplier=noise_multiplier,
    )
    values = np.concatenate([standardised(histories, plan, seed) for seed in range(12)])
    assert len(values) > 1500
    assert chi_square_p(values) > P_VALUE
    assert stats.kstest(values, "norm").pvalue > P_VALUE
    # The test can fail: a tenth too little noise is found out.
    assert chi_square_p(values * 0.85) < P_VALUE
    assert chi_square_p(values * 1.15) < P_VALUE


def test_the_noise_is_the_same_with_users_in_it() -> None:
    """What is left of a noised round once the exact sums are taken away is that noise."""
    histories = people(60)
    left = []
    for seed in range(12):
        plan = dataclasses.replace(PLAN, clip_norm=1e4, noise_multiplier=1e-3)
        exact = dataclasses.replace(plan, private=False)
        noise = round_of(histories, plan, seed) - round_of(histories, exact, seed)
        left.append(noise * plan.sample_rate * plan.population / plan.learning_rate / 10)
    values = np.concatenate(left)
    assert chi_square_p(values) > P_VALUE
    assert chi_square_p(values * 0.85) < P_VALUE


def test_an_empty_batch_is_noised_in_every_coordinate() -> None:
    """Users there are, but nobody is sampled."""
    plan = dataclasses.replace(PLAN, sample_rate=1e-9, population=10**9)
    update = round_of(people(40), plan)
    assert (update != 0).mean() > 0.99
    assert chi_square_p(standardised(people(40), plan, 0)) > P_VALUE
    assert np.array_equal(update, round_of([], plan))  # nobody came, and nobody can tell
    assert not round_of(people(40), dataclasses.replace(plan, private=False)).any()


def test_noise_is_fresh_in_every_step_and_under_every_secret() -> None:
    one = round_of([], PLAN)
    two = round_of([], dataclasses.replace(PLAN, steps=2))
    second = two - one
    assert abs(np.corrcoef(one, second)[0, 1]) < 0.4
    assert abs(np.corrcoef(one, round_of([], PLAN, seed=1))[0, 1]) < 0.4
    assert np.array_equal(one, round_of([], PLAN))


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.0},
        {"clip_norm": float("inf")},
        {"clip_norm": 0.0},
        {"noise_multiplier": float("nan")},
        {"sample_rate": 0.0},
        {"population": 0},
    ],
)
def test_private_without_a_guarantee_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        round_of(people(3), dataclasses.replace(PLAN, **change))


# --- the round as a whole --------------------------------------------------------------------


@pytest.mark.parametrize("plan", [PLAN, OPEN], ids=["private", "open"])
def test_micro_batches_change_rounding_only(plan: LocalPlan) -> None:
    histories = people(50)
    plan = dataclasses.replace(plan, steps=3)
    whole = round_of(histories, plan)
    for size in (1, 7, 49):
        part = round_of(histories, dataclasses.replace(plan, micro_batch=size))
        assert np.linalg.norm(part - whole) <= 1e-4 * np.linalg.norm(whole)


def test_the_update_is_what_changed_in_the_model() -> None:
    own = model()
    before = extract(own)
    update = local_round(own, ground(), packed(people(20)), PLAN, secret())
    assert list(update) == [TRAINED]
    after = extract(own)
    assert update[TRAINED].dtype == np.float32
    assert np.array_equal(update[TRAINED], after[TRAINED] - before[TRAINED])
    assert np.array_equal(after[FIXED], before[FIXED])


def test_a_tensor_that_is_not_there() -> None:
    with pytest.raises(AdapterError, match=r"blocks\.007"):
        round_of(people(3), dataclasses.replace(PLAN, trained="blocks.007.lora_B"))


def test_a_round_is_a_function_of_its_arguments() -> None:
    histories = people(20)
    plan = dataclasses.replace(PLAN, steps=3)
    known = round_of(histories, plan)
    torch.manual_seed(1)
    np.random.seed(1)
    assert np.array_equal(round_of(histories, plan), known)
    assert not np.array_equal(round_of(histories, plan, seed=1), known)


def test_a_model_can_go_through_a_second_round() -> None:
    own = model()
    for seed in range(2):
        update = local_round(own, ground(), packed(people(20)), PLAN, secret(seed))
    assert all(np.isfinite(value).all() for value in update.values())


def test_progress_counts_steps() -> None:
    told: list[tuple[int, int]] = []
    local_round(
        model(),
        ground(),
        packed(people(5)),
        dataclasses.replace(PLAN, steps=3),
        secret(),
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("item", [-1, ITEMS])
def test_an_item_outside_the_catalogue(item: int) -> None:
    with pytest.raises(DataError, match=f"items 0 to {ITEMS - 1}") as caught:
        round_of([[1, 2], [3, item, 4]])
    assert caught.value.exit_code == 4


def test_a_user_whose_gradient_overflows_adds_nothing() -> None:
    """Weights of a broken coordinator: finite, but no loss survives them."""
    adapter = {
        name: np.full_like(value, 1e38) for name, value in initial_adapter(SETTINGS, WIDTH).items()
    }
    own = InterestModel(SETTINGS, WIDTH).load(adapter)
    local_round(own, ground(), packed(people(20)), PLAN, secret())  # raises nothing
