"""Small drawings as inline SVG for pages; colours are classes, all text is escaped."""

from collections.abc import Sequence

from markupsafe import Markup


def bar(segments: Sequence[tuple[str, float]], whole: float) -> Markup:
    """A horizontal bar of (class, amount) segments on a scale from 0 to `whole`."""
    parts, start = [], 0.0
    for css, amount in segments:
        width = 100 * amount / whole if whole > 0 else 0.0
        if amount > 0:
            width = max(width, 0.6)  # something is never drawn as nothing
            parts.append(
                Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" height="12"/>').format(
                    css, start, min(width, 100 - start)
                )
            )
        start = min(start + width, 99.4)
    return Markup('<svg class="bar" aria-hidden="true" width="100%" height="12">{}</svg>').format(
        Markup("").join(parts)
    )
