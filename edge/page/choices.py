"""What a person chose on the page, kept beside the configuration and never in it: its comments are the documentation.

    <state_directory>/page.json

It counts only while there is a page: whoever closes the page is back at config.yaml, and nothing that nobody sees is in
force. What it changes is said in the log at each start.
"""

import logging
import threading
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from edge.config import Config, EventSettings, Settings
from edge.errors import EarshotError
from edge.files import read_plain
from edge.memory import write_whole

log = logging.getLogger(__name__)

NAME: Final = "page.json"
MOST_BYTES: Final = 65_536

Title = Annotated[str, Field(min_length=1, max_length=60)]
Threshold = Annotated[float, Field(ge=-1e9, le=1e9)]


class SourceChoices(Settings):
    """Of one source: the name that people know it by, and the threshold in place of the detector's own."""

    title: Title | None = None
    threshold: Threshold | None = None


class Choices(Settings):
    """All that was chosen. None: as config.yaml has it."""

    sources: dict[str, SourceChoices] = Field(default_factory=dict)
    learning: Literal["off", "until_promised"] | None = None
    shelve_minutes: Annotated[float, Field(gt=0, le=10_080)] | None = None

    def of(self, source: str) -> SourceChoices:
        """What was chosen for a source."""
        return self.sources.get(source, SourceChoices())

    def events(self, source: str, settings: EventSettings) -> EventSettings:
        """Return by which rules a source is judged."""
        changed: dict[str, object] = {}
        if self.learning is not None:
            changed["learning"] = self.learning
        if (threshold := self.of(source).threshold) is not None:
            changed |= {"threshold": threshold, "false_alarms_per_week": None}
        return settings.model_copy(update=changed)


class ChoiceFile:
    """The choices, as they were written last. Any thread may call any method."""

    def __init__(self, folder: Path | None, now: Choices) -> None:
        """Touch no disk. folder: None, and nothing can be kept; now: what is in force, as `chosen` read it."""
        self._path = folder / NAME if folder else None
        self._lock = threading.Lock()
        self._now = now

    @property
    def can_be_kept(self) -> bool:
        """Whether there is a place for choices."""
        return self._path is not None

    @property
    def now(self) -> Choices:
        """What is chosen."""
        return self._now

    def keep(self, choices: Choices) -> None:
        """Write them. Raises EarshotError where that cannot be done: then nothing has changed."""
        if self._path is None:
            raise EarshotError("there is no state_directory: expected one in config.yaml, to keep what is chosen here")
        with self._lock:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, choices.model_dump_json(indent=1).encode())
            except OSError as error:
                raise EarshotError(f"{self._path}: {error.strerror or error}") from error
            self._now = choices


def chosen(config: Config) -> Choices:
    """Read what was chosen on the page of a configuration, and say so; nothing if it has none.

    What cannot be read or believed is left aside, with a line in the log.
    """
    if config.page.port is None or config.state_path is None:
        return Choices()
    path = config.state_path / NAME
    choices = _read(path)
    for name in (source.name for source in config.sources):
        if (threshold := choices.of(name).threshold) is not None:
            log.info("%s: threshold %g, as was chosen on the page (%s)", name, threshold, path)
    if choices.learning is not None:
        log.info("event.learning: %s, as was chosen on the page (%s)", choices.learning, path)
    return choices


def _read(path: Path) -> Choices:
    try:
        return Choices.model_validate_json(read_plain(path, MOST_BYTES))
    except FileNotFoundError:
        return Choices()
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else _first_of(error)
        log.warning("%s: %s: what was chosen on the page is not in force", path, why)
        return Choices()


def _first_of(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
