"""What the judge means, in the words that people read: in the log, in `replay`, at the demo's subscriber. Pure."""

from typing import Final

WINDOW_SECONDS: Final = 10.0
"""Up to here it is the newest window: averages are longer (event.averages_seconds)."""

_AGAINST: Final = {"enrolment": "its enrolment", "recently": "what it has sounded like so far"}


def evidence_in_words(seconds: float, against: str) -> str:
    """Return what opened an episode: `for the last minute, against its enrolment`.

    seconds, against: of the event's evidence (edge/schemas/event.json); an `against` not known is left as it is.
    """
    return f"{_how_long(seconds)}, against {_AGAINST.get(against, against)}"


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
