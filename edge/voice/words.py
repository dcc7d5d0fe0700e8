"""What the judge means, in the words that people read: in the log, in `replay`, at the demo's subscriber. Pure."""

from typing import Final

WINDOW_SECONDS: Final = 10.0
"""Up to here it is the newest window: averages are longer (event.averages_seconds)."""

LOWEST_HZ: Final = 60.0
HIGHEST_HZ: Final = 7_500.0
"""Beyond these a place is all that is below, or above."""

HUM_HZ: Final = 500.0
"""Below it nobody calls it a hiss."""

_AGAINST: Final = {"enrolment": "its enrolment", "recently": "what it has sounded like so far"}


def evidence_in_words(seconds: float, against: str) -> str:
    """Return what opened an episode: `for the last minute, against its enrolment`.

    seconds, against: of the event's evidence (edge/schemas/event.json); an `against` not known is left as it is.
    """
    return f"{_how_long(seconds)}, against {_AGAINST.get(against, against)}"


def cause_in_words(
    kind: str, hz_lo: float, hz_hi: float, delta_db: float, per_second: float | None, new: bool | None
) -> str:
    """Return why, as a person would say it: `a new tone at 3.1 kHz, 14 dB above usual, about 12 times a second`.

    All are of the event's `why` (edge/schemas/event.json).
    """
    usual = f"{abs(delta_db):.0f} dB {'above' if delta_db > 0 else 'below'} usual"
    often = "" if per_second is None else f"about {_number(per_second)} times a second"
    match kind:
        case "tone" if new is False:
            return ", ".join(
                filter(None, (f"the tone at {_hertz(hz_lo)} is {abs(delta_db):.0f} dB louder than usual", often))
            )
        case "tone":
            return ", ".join(filter(None, (f"a {'new ' if new else ''}tone at {_hertz(hz_lo)}", usual, often)))
        case "impacts":
            return ", ".join(filter(None, (f"knocking {_where(hz_lo, hz_hi)}", often, usual)))
        case "modulation":
            return ", ".join(filter(None, (f"it comes and goes {_where(hz_lo, hz_hi)}", often)))
        case "broadband" if delta_db > 0:
            return f"{'a hum' if hz_hi < HUM_HZ else 'a hiss'} {_where(hz_lo, hz_hi)}, {usual}"
        case "broadband":
            return f"quieter {_where(hz_lo, hz_hi)} by {abs(delta_db):.0f} dB"
        case "level":
            return f"{'louder' if delta_db > 0 else 'quieter'} as a whole by {abs(delta_db):.0f} dB"
    return "it cannot be told what has changed"


def _where(hz_lo: float, hz_hi: float) -> str:
    if hz_hi >= HIGHEST_HZ:
        return f"above {_hertz(hz_lo)}"
    return f"below {_hertz(hz_hi)}" if hz_lo <= LOWEST_HZ else f"between {_hertz(hz_lo)} and {_hertz(hz_hi)}"


def _hertz(hz: float) -> str:
    """Return a frequency with two digits that count: `3.1 kHz`, `120 Hz`."""
    if hz >= 995:
        return f"{hz / 1000:.2g} kHz"
    return f"{_number(hz)} Hz"


def _number(x: float) -> str:
    return f"{float(f'{x:.2g}'):g}"


def provisional_in_words(hours: float, of: float) -> str:
    """Return how far a machine has come that is still being learnt: `provisional, 3.2 of 48 h`."""
    return f"provisional, {hours:.1f} of {of:.3g} h"


def _how_long(seconds: float) -> str:
    if seconds <= WINDOW_SECONDS:
        return "in the newest window"
    for unit, name in ((3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            n = round(seconds / unit)
            return f"for the last {name}" if n == 1 else f"for the last {n} {name}s"
    return f"for the last {seconds:g} seconds"
