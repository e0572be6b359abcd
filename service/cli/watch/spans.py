"""Lines of coloured text for the view: pure values that are cut and joined by the width that a terminal gives them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from service.errors import printable

BLOCKS = " ▏▎▍▌▋▊▉█"
LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Span:
    """A piece of text of one tone; a tone is a name that the view's palette turns into a colour."""

    text: str
    tone: str = "text"


Line = tuple[Span, ...]
EMPTY: Line = ()


def line(*pieces: str | tuple[str, str]) -> Line:
    """Return a line of texts and (text, tone) pairs; empty ones are left out, and all are made printable."""
    pairs = [(piece, "text") if isinstance(piece, str) else piece for piece in pieces]
    return tuple(Span(printable(text), tone) for text, tone in pairs if text)


def width_of(spans: Iterable[Span]) -> int:
    """Return the number of terminal columns that the spans take."""
    return sum(cell_len(span.text) for span in spans)


def text_of(spans: Iterable[Span]) -> str:
    """Return the text without its tones."""
    return "".join(span.text for span in spans)


def fitted(spans: Line, width: int) -> Line:
    """Return the line in exactly `width` columns: cut, with a sign of it, or filled with spaces."""
    missing = width - width_of(spans)
    if missing >= 0:
        return (*spans, Span(" " * missing)) if missing else spans
    kept: list[Span] = []
    room = width - 1
    for span in spans:
        size = cell_len(span.text)
        if size > room:
            kept.append(Span(set_cell_size(span.text, room) + "…", span.tone))
            break
        kept.append(span)
        room -= size
    return tuple(kept) if width > 0 else EMPTY


def cut(spans: Line, begin: int, end: int) -> Line:
    """Return the columns from `begin` to before `end`; half of a wide character becomes a space."""
    kept: list[Span] = []
    at = 0
    for span in spans:
        after = at + cell_len(span.text)
        if after > begin and at < end:
            # Right first: cutting keeps the left side.
            text = set_cell_size(span.text, min(after, end) - at)
            size = cell_len(text) - max(0, begin - at)
            while cell_len(text) > size:
                text = text[1:]
            kept.append(Span(" " * (size - cell_len(text)) + text, span.tone))
        at = after
    return tuple(kept)


def wrapped(text: str, width: int, max_lines: int) -> list[str]:
    """Return the text broken between words into at most `max_lines` lines; what is left over is cut with a sign."""
    words, lines = printable(text).split(" "), [""]
    for at, word in enumerate(words):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width or not lines[-1]:
            lines[-1] = joined
        elif len(lines) < max_lines:
            lines.append(word)
        else:
            lines[-1] = " ".join([lines[-1], *words[at:]])
            break
    return [pad(entry, width).rstrip() for entry in lines]


def spread(left: Line, right: Line, width: int) -> Line:
    """Return both in one line of `width` columns, one at each end; where both have no room, `right` is left out."""
    room = width - width_of(left) - width_of(right)
    return fitted((*left, Span(" " * room), *right) if room >= 1 else left, width)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly `width` columns, aligned to the left or to the right."""
    missing = width - cell_len(text)
    if missing < 0:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * missing + text if right else text + " " * missing


def bar(share: float, width: int) -> str:
    """Return a bar of `width` columns of which `share`, from 0 to 1, is filled, to an eighth of a column."""
    eighths = round(8 * width * min(1.0, max(0.0, share)))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BLOCKS[rest] if rest else "")).ljust(width)


def columns_chart(shares: Sequence[float], height: int) -> list[str]:
    """Return one column for each share from 0 to 1, as `height` lines from top to bottom."""
    eighths = [max(1, round(8 * height * min(1.0, max(0.0, share)))) for share in shares]
    return [
        "".join(LEVELS[min(8, max(0, count - 8 * level))] for count in eighths) for level in reversed(range(height))
    ]
