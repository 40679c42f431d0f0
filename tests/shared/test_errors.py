"""The error tree: its drawing is true, messages help, errors cross process borders whole."""

import inspect
import pickle
import re

import pytest

from shared import errors
from shared.errors import ConfigError, FedInterestError, UpdateRejected

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, FedInterestError)
]


def drawn_tree() -> dict[str, tuple[str | None, int]]:
    """Class name -> (parent, exit code) as drawn in the module's docstring."""
    found: dict[str, tuple[str | None, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^([│ ├└─]*)(\w+) \.+ (\d+)\b", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (path[depth - 1] if depth else None, int(match[3]))
    return found


def test_the_drawing_shows_every_class_its_parent_and_its_exit_code() -> None:
    real = {
        kind.__name__: (
            None if kind is FedInterestError else kind.__bases__[0].__name__,
            kind.exit_code,
        )
        for kind in KINDS
    }
    assert drawn_tree() == real
    assert len(real) > 15


def test_no_error_uses_the_exit_codes_of_success_or_of_signals() -> None:
    assert all(0 < kind.exit_code < 128 for kind in KINDS)


def test_message_says_expected_got_where_and_what_to_do() -> None:
    error = ConfigError(
        expected="clip_norm > 0", got="-1.0", where="privacy.clip_norm", remedy="Make it positive."
    )
    assert str(error) == ("expected clip_norm > 0, got -1.0 (privacy.clip_norm). Make it positive.")
    bare = ConfigError(expected="a", got="b", where="c")
    assert str(bare) == "expected a, got b (c)"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[FedInterestError]) -> None:
    error = kind(expected="a", got="b", where="c", remedy="d")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_one_except_clause_catches_a_leaf() -> None:
    with pytest.raises(FedInterestError):
        raise UpdateRejected(expected="a", got="b", where="c")
