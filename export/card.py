"""MODEL_CARD.md: what a person should know before they trust a detector."""

from collections.abc import Mapping
from typing import Any

from edge.detector import NETWORK_HEADING, Card, Section


def model_card(card: Card, sections: Mapping[str, Section]) -> str:
    """Return the card as Markdown, with the front matter that model hubs read."""
    rows = "\n".join(
        f"| {name} | {', '.join(own.card.domains)} | {own.card.windows} | {own.card.thresholds[card.score]:.3f} |"
        for name, own in sections.items()
    )
    others = [name for name in card.classes if name not in sections]
    return f"""---
tags: [anomalous-sound-detection, audio, onnx]
library_name: earshot
---
# {card.name}

Hears when one of these machines starts to sound wrong. Trained by Earshot {card.version} on normal sound alone:
{card.training["clips"]} clips of {len(card.classes)} classes, preset `{card.network["preset"]}`, high-pass at
{card.frontend["f_min_hz"]:g} Hz.

| section | domains | normal windows | threshold ({card.score}) |
|---|---|---|---|
{rows}

{_scale(card)} {_promise(card)}, as far as cross-fitting on the training recordings can tell.
Another room, microphone or load may exceed it more often.

Classes of the network that nothing is scored against: {", ".join(others) or "none"}.

Not for safety: it misses faults that are quiet against their surroundings, and it knows no fault by name.
"""


def texture_card(card: Card, recipe: Mapping[str, Any], credited: str) -> str:
    """Return the card of a detector without a machine. What stands under its last heading, every machine's card keeps.

    credited: whose recordings it was trained on, Markdown.
    """
    return f"""---
tags: [anomalous-sound-detection, audio, onnx]
library_name: earshot
---
# {card.name}

Knows no machine: `earshot enroll` makes of it, and of normal sound, a detector of one. It has not heard that machine,
and need not have.

{NETWORK_HEADING}

The first layers of a network, {card.network["stem_channels"]} channels by frequency, averaged over 9.6 s with a weight
that falls with the level: `earshot export RUN --texture`. Trained by Earshot {card.version} to tell classes of sound
apart: {card.training["clips"]} clips, {recipe["epochs"]} epochs, seed {recipe["seed"]}.

Not for safety: it misses faults that are quiet against their surroundings, and it knows no fault by name.

{credited}"""


def _scale(card: Card) -> str:
    if card.score == "fused":
        return "Ordinary sound scores 1."
    if card.score == "confidence":
        return "The score is the network's doubt that it hears the section: log((1 - P) / P) of its class."
    return "The score is a Mahalanobis distance from the section's normal sound."


def _promise(card: Card) -> str:
    if card.false_alarms_per_week is not None:
        return f"Normal sound should cause {card.false_alarms_per_week:g} false alarms a week"
    return f"A normal window should exceed the threshold with a probability of {card.false_alarm_rate:g} or less"
