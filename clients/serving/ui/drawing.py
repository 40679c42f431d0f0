"""The page's drawings: an interval on a line, and a curve."""

from collections.abc import Sequence

from markupsafe import Markup

from shared.bootstrap import Interval

_WIDTH, _HEIGHT = 100.0, 120.0


def whisker(found: Interval, low: float, high: float) -> Markup:
    """A figure with its interval, on a scale from `low` to `high` that shows where 0 is."""

    def at(value: float) -> float:
        spread = high - low or 1.0
        return 100 * (min(max(value, low), high) - low) / spread

    css = "up" if found.low > 0 else "down" if found.high < 0 else "level"
    return Markup(
        '<svg class="whisker" aria-hidden="true" width="100%" height="14">'
        '<line class="zero" x1="{0:.1f}%" x2="{0:.1f}%" y1="0" y2="14"/>'
        '<line class="{1}" x1="{2:.1f}%" x2="{3:.1f}%" y1="7" y2="7"/>'
        '<circle class="{1}" cx="{4:.1f}%" cy="7" r="3.5"/></svg>'
    ).format(at(0.0), css, at(found.low), at(found.high), at(found.value))


def falling(values: Sequence[float], least: float, description: str) -> Markup:
    """Scores from the closest user to the farthest, with the line at `least`.

    Args:
        values: best first, at least one; a few hundred are drawn.
    """
    step = max(1, len(values) // 300)
    kept = [*range(0, len(values), step), len(values) - 1]
    low, high = min(0.0, values[-1]), max(1e-9, values[0], least)
    down = [_HEIGHT * (1 - (values[place] - low) / (high - low)) for place in kept]
    across = [_WIDTH * place / max(len(values) - 1, 1) for place in kept]
    points = " ".join(f"{x:.2f} {y:.2f}" for x, y in zip(across, down, strict=True))
    line = _HEIGHT * (1 - (max(least, low) - low) / (high - low))
    inside = sum(value >= least for value in values)
    cut = _WIDTH * inside / max(len(values), 1)
    return Markup(
        '<svg class="curve" role="img" aria-label="{}" viewBox="0 0 100 120" width="100%" '
        'height="140" preserveAspectRatio="none">'
        '<rect class="inside" x="0" y="0" width="{:.2f}" height="120"/>'
        '<polyline class="line" points="{}"/>'
        '<line class="least" x1="0" x2="100" y1="{:.2f}" y2="{:.2f}"/></svg>'
    ).format(description, cut, points, line, line)
