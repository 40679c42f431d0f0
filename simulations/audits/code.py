"""`fedinterest audit code`: does the privacy code of this installation do what it promises?

Every check treats the code as a box.  With `self_test` each known fault is planted in it, one after
the other, and must be caught, its cause named; a check that never fires proves nothing.
"""

import difflib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from shared.errors import ConfigError
from shared.files import write_json
from shared.progress import Progress
from shared.transparency.code import COORDINATOR_CODE, PLATFORM_CODE, code_sha256
from simulations.audits.checks import CHECKS, VAGUE, Cause, Check, Outcome
from simulations.environment import cache_folder

if TYPE_CHECKING:
    from simulations.audits.faults import Fault

FILE = "audit-code.json"
"""Under this name the cache folder keeps the last whole result; `audit epsilon` reads it there."""


@dataclass(frozen=True)
class Ran:
    """One check that was run: what it found, and how long it took."""

    check: Check
    outcome: Outcome
    seconds: float

    @property
    def said(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.check.name,
            "ok": self.outcome.cause is None,
            "covers": list(self.check.covers),
            "p_value": None if self.outcome.p_value is None else float(self.outcome.p_value),
            "cause": None if self.outcome.cause is None else str(self.outcome.cause),
            "detail": self.outcome.detail,
            "seconds": round(self.seconds, 3),
        }


def run_code_audit(
    *, self_test: bool, only: Sequence[str], clean: int, seed: int, quiet: bool
) -> dict[str, Any]:
    """Run the checks, and with `self_test` plant the faults.

    Args:
        self_test: plant every known fault; each must be caught.
        only: names of checks or faults to be run alone; other checks are then left out, and so are
            other faults (all of them, if only checks are named).
        clean: how often the fast checks are run, each time with another seed, to count false
            alarms.
        seed: of the first run's own choices.
        quiet: show no progress.

    Returns:
        `ok`, `code_sha256`, `codes`, `checks`, `clean`, `seconds`, and with `self_test` `faults`
        and `controls`: that no check fires on patches that change nothing ("placebo"), nor once
        the faults are out ("afterwards").

    Raises:
        ConfigError: `only` names neither a check nor a fault, or `clean` is not positive.
    """
    begun = time.monotonic()
    if clean < 1:
        raise ConfigError(expected="--clean of at least 1", got=str(clean), where="command line")
    checks, faults = _selected(only, self_test)
    codes = {  # of what is about to run, not of what somebody saves meanwhile
        "code_sha256": code_sha256("shared", "clients", "server"),
        "codes": {
            "platform": code_sha256(*PLATFORM_CODE),
            "coordinator": code_sha256(*COORDINATOR_CODE),
        },
    }
    with Progress(quiet=quiet) as progress:
        ran = []
        for number, check in enumerate(checks):
            progress("checking", number, len(checks))
            ran.append(run_check(check, seed))
        progress("checking", len(checks), len(checks))
        alarms = _repeated(checks, clean, seed, progress) if clean > 1 else []
        caught = []
        for number, fault in enumerate(faults):
            progress("planting faults", number, len(faults))
            caught.append(_catch(fault, CHECKS if only else checks, seed))
        if faults:
            progress("planting faults", len(faults), len(faults))
        controls = _controls(faults, checks, seed) if faults else {}
    sound = all(one.outcome.cause is None for one in ran)
    result: dict[str, Any] = {
        "ok": sound
        and not alarms
        and all(controls.values())
        and all(one["right"] for one in caught),
        **codes,
        "checks": [one.said for one in ran],
        "clean": {"runs": clean, "alarms": alarms},
    }
    if self_test:
        result["faults"] = caught
        result["controls"] = controls
    result["seconds"] = round(time.monotonic() - begun, 2)
    if not only:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, result)
    return result


def run_check(check: Check, seed: int) -> Ran:
    """One check; whatever the code prints or logs meanwhile is kept from the reader."""
    begun = time.monotonic()
    try:
        with _muted():
            outcome = check.run(seed)
    except Exception as error:  # noqa: BLE001 - broken code may raise anything, and that is a finding
        outcome = Outcome(Cause.RAISED, detail=f"{type(error).__name__}: {error}"[:300])
    return Ran(check, outcome, time.monotonic() - begun)


def named(found: Sequence[Ran]) -> Ran | None:
    """Whose word is believed: the first check that names a cause, else the first that fired."""
    fired = [one for one in found if one.outcome.cause is not None]
    return next(
        (one for one in fired if one.outcome.cause not in VAGUE), fired[0] if fired else None
    )


@contextmanager
def _muted() -> Iterator[None]:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _selected(only: Sequence[str], self_test: bool) -> tuple[Sequence[Check], Sequence["Fault"]]:
    if not only and not self_test:
        return CHECKS, ()
    from simulations.audits.faults import FAULTS

    names = [check.name for check in CHECKS] + [fault.name for fault in FAULTS]
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
            raise ConfigError(
                expected="the name of a check or a fault",
                got=repr(name),
                where="--only",
                remedy=f"Did you mean one of {near}?" if near else "",
            )
    checks = [check for check in CHECKS if check.name in only] if only else CHECKS
    faults = [fault for fault in FAULTS if not only or fault.name in only]
    return checks, faults


def _repeated(
    checks: Sequence[Check], runs: int, seed: int, progress: Callable[[str, int, int], None]
) -> list[dict[str, Any]]:
    """False alarms of the fast checks over `runs - 1` further seeds."""
    alarms: list[dict[str, Any]] = []
    for run in range(1, runs):
        progress(f"clean runs, {_times(alarms)} with an alarm", run, runs)
        for check in checks:
            if check.fast:
                ran = run_check(check, seed + run)
                if ran.outcome.cause is not None:
                    alarms.append({"seed": seed + run, **ran.said})
    progress(f"clean runs, {_times(alarms)} with an alarm", runs, runs)
    return alarms


def _times(alarms: Sequence[Mapping[str, Any]]) -> int:
    """In how many runs there was an alarm: one run may raise several."""
    return len({one["seed"] for one in alarms})


def _controls(faults: Sequence["Fault"], checks: Sequence[Check], seed: int) -> dict[str, bool]:
    from simulations.audits.faults import placebo, planted

    def clean() -> bool:
        return all(run_check(check, seed).outcome.cause is None for check in checks)

    with planted(placebo(faults)):
        under_placebo = clean()
    return {"placebo": under_placebo, "afterwards": clean()}


def _catch(fault: "Fault", checks: Sequence[Check], seed: int) -> dict[str, Any]:
    """Plant one fault, and see who names what; a named cause ends the search."""
    from simulations.audits.faults import planted

    begun = time.monotonic()
    found: list[Ran] = []
    with planted(fault):
        for check in checks:
            found.append(run_check(check, seed))
            if found[-1].outcome.cause not in (None, *VAGUE):
                break
    word = named(found)
    cause = None if word is None else word.outcome.cause
    return {
        "name": fault.name,
        "caught": cause is not None,
        "by": None if word is None else word.check.name,
        "cause": None if cause is None else str(cause),
        "expected": str(fault.cause),
        "right": cause == fault.cause,
        "p_value": None if word is None else word.said["p_value"],
        "detail": "" if word is None else word.outcome.detail,
        "seconds": round(time.monotonic() - begun, 3),
    }


def render(result: dict[str, Any], console: Console) -> None:
    """The result for people."""
    table = Table("check", "", "p", "found", "s", box=None, pad_edge=False)
    for one in result["checks"]:
        p_value = "" if one["p_value"] is None else f"{one['p_value']:.2g}"
        found = "; ".join(filter(None, [one["cause"], one["detail"]]))
        table.add_row(one["name"], _mark(one["ok"]), p_value, found, f"{one['seconds']:.2f}")
    console.print(table)
    for alarm in result["clean"]["alarms"]:
        console.print(f"seed {alarm['seed']}: {alarm['name']}: {alarm['cause']}", markup=False)
    if result["clean"]["runs"] > 1:
        clean = result["clean"]
        console.print(f"{_times(clean['alarms'])} of {clean['runs']} runs raised an alarm")
    if "faults" in result:
        console.print()
        faults = Table("planted fault", "", "caught by", "cause named", box=None, pad_edge=False)
        for one in result["faults"]:
            cause = one["cause"] or "none"
            cause = cause if one["right"] else f"{cause} (expected: {one['expected']})"
            faults.add_row(one["name"], _mark(one["right"]), one["by"] or "nobody", cause)
        console.print(faults)
        right = sum(one["right"] for one in result["faults"])
        console.print(f"{right} of {len(result['faults'])} faults caught, right cause named")
        for name, good in result["controls"].items():
            console.print(f"control {name}: {'clean' if good else 'NOT CLEAN'}")
    verdict = "clean" if result["ok"] else "NOT CLEAN"
    console.print(
        f"{verdict}: code {result['code_sha256'][:16]}, {result['seconds']:.1f} s", highlight=False
    )


def _mark(good: bool) -> str:
    return "ok" if good else "FAULT"
