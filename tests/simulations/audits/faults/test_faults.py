"""Every planted fault is caught and its cause named, and leaves nothing behind."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from simulations.audits.checks import CHECKS, VAGUE, Cause
from simulations.audits.code import named, run_check
from simulations.audits.faults import FAULTS, Fault, placebo, planted

QUICK = (
    "shuffled epochs accounted as Poisson",
    "batches cut at the expected size",
    "the sum not cleared after a step",
    "the clipping bound follows the last step",
    "noise from the stream that drew the users",
    "empty batch skipped",
    "negatives from the batch",
    "mean before clipping",
    "clipping before the per-user sum",
    "NaN multiplied by zero",
    "len(data) in the denominator",
    "noise 1 % short",
    "noise missing on one platform",
    "ledger after the fact",
    "fresh noise for a request asked again",
    "a hash of the events stated",
    "user ids in logs",
)
BY_NAME = {fault.name: fault for fault in FAULTS}


def test_there_are_more_than_forty_and_each_cause_has_one() -> None:
    assert len(FAULTS) == len(BY_NAME) >= 40
    assert {fault.cause for fault in FAULTS} == set(Cause) - set(VAGUE)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_patch_is_in_the_real_code_and_out_again(fault: Fault) -> None:
    @contextmanager
    def unchanged() -> Iterator[list[object]]:
        before = [vars(swap.owner)[swap.name] for swap in fault.swaps]
        yield before
        after = [vars(swap.owner)[swap.name] for swap in fault.swaps]
        assert all(one is other for one, other in zip(before, after, strict=True))

    def stop(before: list[object]) -> None:
        within = [vars(swap.owner)[swap.name] for swap in fault.swaps]
        assert all(one is not other for one, other in zip(before, within, strict=True))
        raise RuntimeError("in the middle")

    with unchanged() as before, pytest.raises(RuntimeError, match="middle"), planted(fault):
        stop(before)


def test_a_patch_that_cannot_be_made_leaves_nothing_behind() -> None:
    from shared import training
    from simulations.audits.faults import Swap

    def breaks(_original: object) -> object:
        raise ValueError("no such code")

    real = training.poisson_sample
    swaps = (
        Swap(training, "poisson_sample", lambda _original: None),
        Swap(training, "factors", breaks),
    )
    half = Fault("half", Cause.NOT_POISSON, swaps)
    with pytest.raises(ValueError, match="no such code"), planted(half):
        pass
    assert training.poisson_sample is real


def test_no_check_fires_on_a_patch_that_changes_nothing() -> None:
    """All names that any fault patches, at once: what is caught is what a patch does."""
    everything = placebo(FAULTS)
    names = {(id(swap.owner), swap.name) for fault in FAULTS for swap in fault.swaps}
    assert len(everything.swaps) == len(names) > 30
    with planted(everything):
        found = [run_check(check, 4) for check in CHECKS]
    assert [one.check.name for one in found if one.outcome.cause is not None] == []


def caught(fault: Fault, seed: int) -> tuple[Cause | None, str]:
    """The cause that is named, and by which check; as `audit code --self-test` finds it."""
    found = []
    with planted(fault):
        for check in CHECKS:
            found.append(run_check(check, seed))
            if found[-1].outcome.cause not in (None, *VAGUE):
                break
    word = named(found)
    return (None, "") if word is None else (word.outcome.cause, word.check.name)


@pytest.mark.parametrize("name", QUICK)
def test_it_is_caught_and_its_cause_is_named(name: str) -> None:
    assert caught(BY_NAME[name], 3)[0] is BY_NAME[name].cause


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_is_caught_and_its_cause_is_named(fault: Fault, seed: int) -> None:
    assert caught(fault, seed)[0] is fault.cause
