"""What a person has the sources of a running daemon learn: one proposal a source at most. Called by the page.

    enrol     from what a source hears from now on: a `teaching`
    relearn   from what is remembered: a stretch of it, or the episodes that were called normal

Never by MQTT: who may write to a topic must not be able to teach a fault.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge import detector as detectors
from edge.config import Config, SourceSettings
from edge.daemon.enrolling import Enrolment, conditions_of
from edge.daemon.hindsight import Normal, in_stretch, learn, normal_episodes
from edge.daemon.in_force import IN_PLACE_OF, learnt_path
from edge.daemon.listener import Listener
from edge.daemon.opening import pickup_of
from edge.daemon.proposal import Proposal
from edge.daemon.recorder import called_normal
from edge.daemon.relearning import Relearning
from edge.daemon.teaching import Teaching
from edge.detector import Detector, Promise
from edge.errors import DetectorError, EarshotError
from edge.memory import History, Notes

log = logging.getLogger(__name__)

DEFAULT_MINUTES: Final = 30.0
NOTES_FOLDER: Final = "learning"
"""In the state directory: what is being learnt, or waits to be accepted, so that a reload or a power cut ends none."""

Stretch = tuple[float, float] | None
"""From when to when, UNIX seconds; None: the episodes that a person called normal since the last time."""

CLOSE_SECONDS: Final = 1.0


class School:
    """The proposals of one daemon. May be called from any thread."""

    def __init__(
        self,
        config: Config,
        configured: Mapping[Path, Detector],
        in_force: Mapping[str, Detector],
        listeners: Sequence[Listener],
        on_learnt: Callable[[], None],
        history: History | None = None,
    ) -> None:
        """configured: detectors by the paths that the configuration names; in_force: by sources, that they use."""
        self._config = config
        self._sources = {source.name: source for source in config.sources}
        self._configured = configured
        self._in_force = in_force
        self._listeners = {each.name: each for each in listeners}
        self._on_learnt = on_learnt
        self._history = history
        state = config.state_path
        self._notes = Notes(state / NOTES_FOLDER if state else None)
        self._asking = threading.Lock()
        self._proposals: dict[str, Proposal] = {}

    def resume(self) -> None:
        """Go on with what nobody has ended; where that cannot be, the log says so."""
        for source in self._sources:
            try:
                goes_on = self._go_on(source, self._notes.read(source) or {})
            except EarshotError as error:
                log.warning("%s: learning does not go on: %s", source, error)
                self._notes.write(source, {})
            else:
                if goes_on:
                    log.info("%s: learning goes on where it was", source)

    def _go_on(self, source: str, note: Mapping[str, object]) -> bool:
        match note:
            case {"minutes": int() | float() as minutes, "condition": None | str() as condition}:
                self.enrol(source, minutes=minutes, condition=condition)
            case {"stretch": None}:
                self._propose_again(source, None, note)
            case {"stretch": [int() | float() as start, int() | float() as end]}:
                self._propose_again(source, (start, end), note)
            case _:
                return False
        return True

    def enrol(self, source: str, *, minutes: float = DEFAULT_MINUTES, condition: str | None = None) -> Teaching:
        """Begin to learn the machine that a source hears, or go on where that was left.

        condition: what to call another load, season or place of the machine that is known; it is added to what is
        known. Without, the machine is learnt anew.
        Raises EarshotError: no such source, nowhere to write, it is at it already, nothing that a condition could be
        added to, or minutes that make no sense.
        """
        settings, state = self._settings(source), self._state()
        with self._asking:
            self._expect_none(source)
            configured = self._configured[settings.detector]
            base = configured if condition is None else self._in_force[source]
            name = None if condition is None else conditions_of(base, condition)
            enrolment = Enrolment(
                base,
                source if name is None else base.section(None).card.machine,
                minutes=minutes,
                kept=_heard_path(state, source),
                pickup=pickup_of(settings),
                condition=name,
                promise=Promise(base.card.false_alarm_rate, event=self._config.event),
                normal=called_normal(state, source, base),
                notes={IN_PLACE_OF: configured.sha256},
            )
            teaching = Teaching(enrolment, *self._places(source), lambda: self._learnt(source))
            self._proposals[source] = teaching
            self._notes.write(source, {"minutes": minutes, "condition": condition})
            self._listeners[source].overhear = teaching.hear
        return teaching

    def relearn(self, source: str, stretch: Stretch = None) -> Proposal:
        """Learn what is remembered as normal, without listening: it takes some seconds, and waits to be accepted.

        Raises EarshotError: no such source, nowhere to write, it is at it already, or nothing to learn from.
        """
        self._expect_none(source)  # before anything is read
        normal = self._remembered(source, stretch)
        note = {"stretch": stretch, "base": self._in_force[source].sha256}
        return self._propose(source, note, lambda output: self._taught(source, normal, output))

    def _propose_again(self, source: str, stretch: Stretch, note: Mapping[str, object]) -> None:
        """Propose what was learnt before, which a person may have looked at; without it, learn it anew."""
        base = self._in_force[source]

        def make(output: Path) -> Detector:
            if note.get("base") == base.sha256 and "made" in note:
                try:
                    made = detectors.read(output, {base.card.files["model.onnx"]: base.model})
                except DetectorError as error:
                    log.warning("%s: what was proposed cannot be read, and is learnt anew: %s", source, error)
                else:
                    if made.sha256 == note["made"]:
                        return made
            return self._taught(source, self._remembered(source, stretch), output)

        self._propose(source, note, make)

    def _propose(self, source: str, note: Mapping[str, object], make: Callable[[Path], Detector]) -> Proposal:
        """Have it made in a thread of its own. note: for the next daemon: of what, on which `base`, what was `made`."""

        def noted(output: Path) -> Detector:
            try:
                made = make(output)
            except EarshotError:
                self._note(source, {})
                raise
            self._note(source, {"stretch": note["stretch"], "base": self._in_force[source].sha256, "made": made.sha256})
            return made

        places = self._places(source)
        with self._asking:
            self._expect_none(source)
            self._notes.write(source, note)
            proposal = self._proposals[source] = Relearning(source, noted, *places, lambda: self._learnt(source))
        return proposal

    def _note(self, source: str, note: Mapping[str, object]) -> None:
        """Write down how far its proposal has come, unless it has ended meanwhile."""
        with self._asking:
            if not self._proposals[source].is_over:
                self._notes.write(source, note)

    def tell(self, source: str, word: str) -> None:
        """Say `enough`, `accept`, `stop` or `discard` to it. Raises EarshotError where that means nothing."""
        proposal = self.proposal(source)
        if proposal is None:
            raise EarshotError(f"{source}: nothing is being learnt")
        words = {
            "enough": proposal.enough,
            "accept": proposal.accept,
            "stop": proposal.stop,
            "discard": proposal.discard,
        }
        words[word]()
        with self._asking:
            if proposal.is_over:
                self._notes.write(source, {})

    def proposal(self, source: str) -> Proposal | None:
        """Return the newest of a source, also one that has ended; None if there was none."""
        self._settings(source)
        return self._proposals.get(source)

    def goes_on(self, source: str) -> bool:
        """Return whether the next enrolment of a source goes on with what was heard before, in another life, too."""
        self._settings(source)
        return self._config.state_path is not None and _heard_path(self._config.state_path, source).exists()

    def close(self) -> None:
        """Stop every enrolment; what was heard is kept, and the next daemon goes on with it."""
        for source, proposal in self._proposals.items():
            self._listeners[source].overhear = None
            if not proposal.is_over:
                proposal.stop()
        self._notes.close(CLOSE_SECONDS)

    def _learnt(self, source: str) -> None:
        self._notes.write(source, {})
        self._on_learnt()

    def _remembered(self, source: str, stretch: Stretch) -> Normal:
        base, state = self._in_force[self._settings(source).name], self._state()
        if stretch is None:
            return normal_episodes(state, source, base)
        if self._history is None:
            raise EarshotError("memory.days is 0: expected some, for nothing is remembered")
        return in_stretch(self._history.books(source), *stretch, base)

    def _taught(self, source: str, normal: Normal, output: Path) -> Detector:
        settings, base = self._settings(source), self._in_force[source]
        promise = Promise(base.card.false_alarm_rate, base.card.false_alarms_per_week, self._config.event)
        notes = {IN_PLACE_OF: self._configured[settings.detector].sha256}
        return learn(base, source, normal, output, promise, pickup_of(settings), notes)

    def _expect_none(self, source: str) -> None:
        before = self._proposals.get(source)
        if before is not None and not before.is_over:
            raise EarshotError(f"{source}: something is being learnt: stop it first, or accept it, or discard it")

    def _settings(self, source: str) -> SourceSettings:
        if source not in self._sources:
            raise EarshotError(f"{source}: expected one of {', '.join(self._sources)}")
        return self._sources[source]

    def _state(self) -> Path:
        if self._config.state_path is None:
            raise EarshotError("state_directory is null: expected a folder, for what is learnt has to outlive us")
        return self._config.state_path

    def _places(self, source: str) -> tuple[Path, Path]:
        """Return where what was learnt is proposed, and where it is put once it is accepted."""
        final = learnt_path(self._state(), source)
        return final.with_name(f"{source}.proposed"), final


def _heard_path(state: Path, source: str) -> Path:
    return learnt_path(state, source).with_name(f"{source}.heard")
