"""Everything that the views look at, in one hand."""

from dataclasses import dataclass

from edge.memory import Episodes
from edge.page.choices import ChoiceFile
from edge.page.device import Device
from edge.page.feed import Feed
from edge.page.lines import Lines


@dataclass(frozen=True)
class Desk:
    """What a page is about. most_minutes: the longest shelving that may be asked for (mqtt.largest_shelve_minutes)."""

    device: Device
    feed: Feed
    episodes: Episodes
    choices: ChoiceFile
    lines: Lines
    most_minutes: float
