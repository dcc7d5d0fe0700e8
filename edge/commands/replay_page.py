"""One page of what was replayed: when it would have alarmed, and why. A file without a script and without a load.

Everything that comes from a file name or a detector is escaped; pictures are in it as data.
"""

import base64
from collections.abc import Callable, Sequence
from html import escape
from string import Template
from typing import Final

from edge import clock
from edge.commands.replayed import Alarm, Replayed, bands_in_words, summary
from edge.errors import shown

Picture = Callable[[Replayed, Alarm], bytes | None]

WIDTH, HEIGHT = 1000, 120
"""Of a curve, in its own units: the page scales it."""

MOST_PICTURES: Final = 60
"""30 kB each."""


def page_of(replayed: Sequence[Replayed], title: str, picture: Picture) -> str:
    """Return the page. picture: the PNG of an alarm, or None where there is none."""
    own = sorted(replayed, key=lambda one: one.start)
    pictures = [MOST_PICTURES]
    return _PAGE.substitute(
        title=escape(title),
        summary="".join(f"<p>{escape(line)}</p>" for line in summary(own)),
        line=_time_line(own),
        recordings="".join(_recording(one, picture, pictures) for one in own if one.alarms or one.others),
    )


def _time_line(own: Sequence[Replayed]) -> str:
    """Return the folder's own time line: each recording where it was made, each alarm in it."""
    first, last = own[0].start, max(one.start + one.seconds for one in own)
    span = max(last - first, 1e-9)
    marks = list[str]()
    for one in own:
        x, width = _x(one.start - first, span), max(1.0, WIDTH * one.seconds / span)
        marks.append(f'<rect class="heard" x="{x:.1f}" y="22" width="{width:.1f}" height="6"/>')
        for kind, y, alarms in (("alarm", 8, one.alarms), ("gained", 30, one.gained), ("lost", 30, _lost(one))):
            for alarm in alarms:
                at = _x(one.start - first + alarm.opened, span)
                long = max(2.0, WIDTH * (alarm.closed - alarm.opened) / span)
                said = escape(f"{_clock(one, alarm.opened)} {alarm.why}")
                place = f'x="{at:.1f}" y="{y}" width="{long:.1f}" height="12"'
                marks.append(f'<rect class="{kind}" {place}><title>{said}</title></rect>')
    ends = f"<span>{escape(clock.rfc3339(first))}</span><span>{escape(clock.rfc3339(last))}</span>"
    return (
        f'<svg viewBox="0 0 {WIDTH} 44" preserveAspectRatio="none" role="img" aria-label="time line">'
        f'{"".join(marks)}</svg><div class="ends">{ends}</div>'
    )


def _lost(one: Replayed) -> Sequence[Alarm]:
    return one.lost if one.others is not None else ()


def _recording(one: Replayed, picture: Picture, left: list[int]) -> str:
    name = escape(shown(one.path.name))
    when = escape(f"recorded {clock.rfc3339(one.start)}, by {one.by}; {one.seconds / 60:.1f} min")
    told = [_alarm(one, alarm, "", picture, left) for alarm in one.alarms]
    if one.others is not None:
        told += [_alarm(one, alarm, "gained by the other setting", picture, left) for alarm in one.gained]
        told += [f'<p class="lost">not by the other setting: {_clock(one, alarm.opened)}</p>' for alarm in one.lost]
    return f"<section><h2>{name}</h2><p>{when}</p>{_curve(one)}{''.join(told)}</section>"


def _alarm(one: Replayed, alarm: Alarm, note: str, picture: Picture, left: list[int]) -> str:
    shown_picture = ""
    if left[0] > 0 and (png := picture(one, alarm)) is not None:
        left[0] -= 1
        data = base64.b64encode(png).decode()
        shown_picture = f'<img alt="the sound around it, low to high, over time" src="data:image/png;base64,{data}">'
    lasted = f"{_clock(one, alarm.opened)}, for {alarm.closed - alarm.opened:.0f} s, up to a score of {alarm.peak:.2f}"
    words = "; ".join(part for part in (note, alarm.why, bands_in_words(alarm.moved)) if part)
    return f"<article><h3>{escape(lasted)}</h3><p>{escape(words)}</p>{shown_picture}</article>"


def _curve(one: Replayed) -> str:
    """Return the scores of a recording over its length, with the threshold and the alarms, as a drawing."""
    top = 1.1 * max([one.threshold, *(score for _, score in one.scores)])
    points = " ".join(f"{_x(at, one.seconds):.1f},{HEIGHT * (1 - score / top):.1f}" for at, score in one.scores)
    threshold = f"{HEIGHT * (1 - one.threshold / top):.1f}"
    alarms = "".join(
        f'<rect class="alarm" x="{_x(alarm.opened, one.seconds):.1f}" y="0" '
        f'width="{max(2.0, _x(alarm.closed - alarm.opened, one.seconds)):.1f}" height="{HEIGHT}" opacity="0.25"/>'
        for alarm in one.alarms
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="score over time">'
        f'{alarms}<line class="threshold" x1="0" x2="{WIDTH}" y1="{threshold}" y2="{threshold}"/>'
        f'<polyline class="score" points="{points}"/></svg>'
    )


def _x(seconds: float, span: float) -> float:
    return WIDTH * seconds / max(span, 1e-9)


def _clock(one: Replayed, seconds: float) -> str:
    return clock.rfc3339(one.start + seconds)


_PAGE: Final = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f23; --paper: #fff; --faint: #8a929b; --alarm: #c62828; --score: #1565c0;
        --gained: #ef6c00; --lost: #2e7d32 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --paper: #14171a; --faint: #7d868f; --alarm: #ff6b6b; --score: #64b5f6; --gained: #ffb74d;
          --lost: #81c784 } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
       background: var(--paper) }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; overflow-wrap: anywhere; margin-bottom: 0 } h3 { font-size: 1rem }
section { border-top: 1px solid var(--faint); margin-top: 1.5rem } svg { width: 100%; height: 6rem; display: block }
nav svg { height: 3rem } img { max-width: 100%; height: auto } .ends { display: flex; justify-content: space-between;
  color: var(--faint); font-size: 0.85rem } .heard { fill: var(--faint) } .alarm { fill: var(--alarm) }
.gained { fill: var(--gained) } rect.lost { fill: var(--lost) } p.lost { color: var(--lost) }
.score { fill: none; stroke: var(--score); stroke-width: 1.5; vector-effect: non-scaling-stroke }
.threshold { stroke: var(--faint); stroke-dasharray: 6 4; vector-effect: non-scaling-stroke }
</style></head>
<body><h1>$title</h1>$summary<nav>$line</nav>$recordings</body></html>
""")
