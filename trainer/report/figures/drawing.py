"""What all figures share: colours, style, and how a drawing becomes inline SVG.

matplotlib draws with stand-in colours; `finish` turns them into CSS variables, takes away what an inline SVG does not
need, and makes the ids of one figure its own, since all figures share a page.
"""

import hashlib
import io
import re
import unicodedata
from contextlib import AbstractContextManager
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

INK: Final = "#0a0001"
MUTED: Final = "#0a0002"
FAINT: Final = "#0a0003"
PAPER: Final = "#0a0004"
NORMAL: Final = "#0a0005"
ANOMALY: Final = "#0a0006"
SHADE: Final = "#0a0007"
SERIES: Final = tuple(f"#0a001{i}" for i in range(8))
_VARIABLES: Final = {
    **{INK: "ink", MUTED: "muted", FAINT: "faint", PAPER: "paper", NORMAL: "normal", ANOMALY: "anomaly"},
    **{SHADE: "shade"},
    **{colour: f"series-{i}" for i, colour in enumerate(SERIES)},
}
"""Stand-in colours, none of which occurs by itself, and the variables of template.html.j2 in their place."""

DASHES: Final = ("-", "--", ":", "-.")

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "earshot",  # the same report twice is the same file
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "legend.frameon": True,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
}


def plain(text: str) -> str:
    """Return text that UTF-8, XML and matplotlib can write: names of files may be neither."""
    known = (c.isprintable() or unicodedata.category(c) == "Zs" for c in text)
    printable = "".join(c if fine else "\N{REPLACEMENT CHARACTER}" for c, fine in zip(text, known, strict=True))
    return printable.encode("utf-8", "replace").decode("utf-8")


def style(*, grid: bool = True) -> AbstractContextManager[None]:
    """Return the context in which a figure is drawn and finished."""
    settings: Any = {**_STYLE, "axes.grid": grid}  # newer stubs want each key as a literal, older ones a string
    return mpl.rc_context(settings)


def panel() -> tuple[Figure, Axes]:
    """Return a small figure, as those that stand side by side."""
    figure = Figure(figsize=(3.3, 2.6))
    return figure, figure.add_axes((0.15, 0.165, 0.82, 0.805))


def series(index: int) -> str:
    """Return the colour of the series of this index."""
    return SERIES[index % len(SERIES)]


def dash(index: int) -> str:
    """Return the dashes of the series of this index: others where the colours begin again."""
    return DASHES[index // len(SERIES) % len(DASHES)]


def shortened(name: str, most: int = 22) -> str:
    """Return a name that fits beside an axis."""
    name = plain(name)
    return name if len(name) <= most else f"{name[: most // 2 - 1]}\N{HORIZONTAL ELLIPSIS}{name[-(most // 2) :]}"


def finish(figure: Figure, label: str) -> Markup:
    """Return the figure as inline SVG: ids of its own, colours of the page, no size but its shape."""
    label, buffer = plain(label), io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    drawn = buffer.getvalue()
    own = hashlib.sha256((label + drawn).encode()).hexdigest()[:8]

    found = re.search(r'<svg [^>]*viewBox="([^"]+)"[^>]*>(.*)</svg>', drawn, re.DOTALL)
    assert found is not None
    view_box, body = found.groups()
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", body)
    body = body.replace('href="#', f'href="#{own}-').replace("url(#", f"url(#{own}-")
    body = re.sub(r" font-family: [^;\"]+;|font: [^;\"]+;", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    body = re.sub(r' (?:d|x|y)="[^"]*"', _rounded, body)
    body = re.sub("#0a0[0-9a-f]{3}", lambda colour: f"var(--{_VARIABLES[colour[0]]})", body)
    body = re.sub(r"\n\s*", "\n", body)
    return Markup('<svg class="plot" viewBox="{}" role="img" aria-label="{}">').format(view_box, label) + Markup(
        body + "</svg>"
    )


def _rounded(attribute: re.Match[str]) -> str:
    """A hundredth of a point is finer than any screen, and a third of the page."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0])
