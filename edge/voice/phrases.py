"""What a notification says, in each language that there is: another one is one more table here. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Language = str

PHRASES: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {
        "opened": "{source} sounds wrong",
        "recovered": "{source} sounds normal again",
        "source_lost": "{source}: the alarm has ended, the microphone is gone",
        "shutdown": "{source}: the alarm has ended, the device was stopped or began anew",
        "max_duration": "{source}: the alarm has ended, it lasted too long",
        "shelved": "{source}: the alarm was shelved",
        "interrupted": "{source}: the alarm has ended, the device had no power",
        "closed": "{source}: the alarm has ended",
        "degraded": "{source}: its microphone is not to be trusted",
        "lost": "{source}: its microphone is lost",
        "well": "{source} is heard again",
        "picture": "{source}: the picture of its episode",
        "check": "{source}: a try",
        "louder": "{hz_lo:.0f} to {hz_hi:.0f} Hz are louder by {delta_db:.0f} dB",
        "quieter": "{hz_lo:.0f} to {hz_hi:.0f} Hz are quieter by {delta_db:.0f} dB",
        "score": "score {score:.2f}, threshold {threshold:.2f}",
        "peak": "highest score {peak:.2f}, threshold {threshold:.2f}, {minutes:.0f} min",
        "late": "told {hours:.1f} h late",
        "tried": "If you can read this, notifications arrive.",
    },
    "de": {
        "opened": "{source} klingt anders als sonst",
        "recovered": "{source} klingt wieder normal",
        "source_lost": "{source}: Alarm zu Ende, das Mikrofon ist weg",
        "shutdown": "{source}: Alarm zu Ende, das Gerät wurde angehalten oder neu gestartet",
        "max_duration": "{source}: Alarm zu Ende, er dauerte zu lange",
        "shelved": "{source}: der Alarm wurde zurückgestellt",
        "interrupted": "{source}: Alarm zu Ende, das Gerät war ohne Strom",
        "closed": "{source}: Alarm zu Ende",
        "degraded": "{source}: dem Mikrofon ist nicht zu trauen",
        "lost": "{source}: das Mikrofon fehlt",
        "well": "{source} wird wieder gehört",
        "picture": "{source}: Bild der Auffälligkeit",
        "check": "{source}: ein Versuch",
        "louder": "{hz_lo:.0f} bis {hz_hi:.0f} Hz sind {delta_db:.0f} dB lauter",
        "quieter": "{hz_lo:.0f} bis {hz_hi:.0f} Hz sind {delta_db:.0f} dB leiser",
        "score": "Wert {score:.2f}, Schwelle {threshold:.2f}",
        "peak": "höchster Wert {peak:.2f}, Schwelle {threshold:.2f}, {minutes:.0f} min",
        "late": "{hours:.1f} h verspätet",
        "tried": "Wer dies lesen kann, bekommt Nachrichten.",
    },
}

LANGUAGE_OF_SENTENCES: Final = "en"
"""In which an event says why (`why` of edge/schemas/event.json)."""

MOST_BANDS: Final = 3


def say(language: Language, name: str, **values: object) -> str:
    """Return a phrase with its values filled in."""
    return PHRASES[language][name].format(**values)


def reasons(language: Language, event: Mapping[str, Any]) -> str:
    """Return why an episode is one: the event's own sentence, or its bands in words; empty if nothing stands out."""
    why, bands = event.get("why"), bands_in_words(language, event["bands"])
    if why is None or language != LANGUAGE_OF_SENTENCES or (why["kind"] == "unknown" and bands):
        return bands
    return str(why["sentence"])


def bands_in_words(language: Language, bands: Sequence[Mapping[str, float]]) -> str:
    """Return the strongest bands: `4072 to 4706 Hz are louder by 10 dB`."""
    return ", ".join(
        say(language, "louder" if band["delta_db"] > 0 else "quieter", **{**band, "delta_db": abs(band["delta_db"])})
        for band in bands[:MOST_BANDS]
    )
