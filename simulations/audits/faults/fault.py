"""What a planted fault is, and how it gets into the running code and out again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from shared.privacy import accountant
from simulations.audits.checks import Cause


@dataclass(frozen=True)
class Swap:
    """One name of the real code, and what takes its place.

    Args:
        owner: a module or a class.
        name: of a function, method, property or constant in it.
        made: the replacement, from the original as it is stored (a property for a property).
    """

    owner: Any
    name: str
    made: Callable[[Any], Any]


@dataclass(frozen=True)
class Fault:
    """One way to break the guarantee.

    Args:
        name: unique.
        cause: what a check must name.
        swaps: the patch.
    """

    name: str
    cause: Cause
    swaps: tuple[Swap, ...]


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """`fault` is in the code while this lasts; whatever happens, it is out afterwards."""
    with ExitStack() as stack:
        stack.callback(_forget)
        for swap in fault.swaps:
            original = vars(swap.owner)[swap.name]
            stack.callback(setattr, swap.owner, swap.name, original)
            setattr(swap.owner, swap.name, swap.made(original))
        _forget()
        yield


def placebo(faults: Sequence[Fault]) -> Fault:
    """Every name that `faults` patch, replaced by something that does what it did before.

    No check may fire on it: else a fault may be caught for being a patch, not for what it does.
    """
    places = {(id(swap.owner), swap.name): swap for fault in faults for swap in fault.swaps}
    swaps = tuple(Swap(swap.owner, swap.name, _passed_on) for swap in places.values())
    return Fault("placebo", Cause.RAISED, swaps)


def _passed_on(original: Any) -> Any:
    if isinstance(original, property):
        return property(lambda self: original.__get__(self))
    if isinstance(original, classmethod):
        return classmethod(lambda cls, *args, **named: original.__func__(cls, *args, **named))
    if callable(original):
        return lambda *args, **named: original(*args, **named)
    return original


def _forget() -> None:
    """Drop what accountants remember: it may come from other code than runs now."""
    for name in ("calibrate", "_epsilon", "_one_step", "_course"):
        clear = getattr(getattr(accountant, name, None), "cache_clear", None)
        if clear is not None:
            clear()
