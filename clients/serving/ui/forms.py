"""What a form has sent: names and texts, bounded, turned into values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from urllib.parse import parse_qs

from shared.errors import ConfigError

MOST_BYTES = 64 * 1024
_MOST_FIELDS = 400
_MOST_CHARACTERS = 400


@dataclass(frozen=True)
class Form:
    """Fields in the order they were sent.

    Args:
        fields: name -> texts.
    """

    fields: Mapping[str, Sequence[str]]

    @classmethod
    def parse(cls, body: bytes) -> "Form":
        """Read `application/x-www-form-urlencoded`.

        Raises:
            ConfigError: it is something else; nothing of it is quoted.
        """
        try:
            text = body.decode("ascii")
            fields = parse_qs(
                text,
                keep_blank_values=True,
                strict_parsing=bool(text),
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
        except ValueError as error:
            raise ConfigError(expected="a form", got="something else", where="body") from error
        return cls(fields)

    def text(self, name: str, default: str = "") -> str:
        """One text, without blanks around it."""
        found = self.fields.get(name, ())
        return found[0].strip()[:_MOST_CHARACTERS] if found else default

    def several(self, name: str) -> tuple[str, ...]:
        """All texts of that name that are not empty, each once."""
        return tuple(dict.fromkeys(one for one in self.fields.get(name, ()) if one))

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number.

        Raises:
            ConfigError: it is none, or out of range.
        """
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = float("nan")
        if not isfinite(value) or not low <= value <= high:
            raise ConfigError(
                expected=f"{low:g} to {high:g}", got="something else", where=name.replace("_", " ")
            )
        return value


EMPTY = Form({})
