"""What a person has the sources of a running daemon learn: one enrolment a source at most. Called by the page.

Never by MQTT: who may write to a topic must not be able to teach a fault.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.config import Config, SourceSettings
from edge.daemon.enrolling import Enrolment, conditions_of
from edge.daemon.in_force import IN_PLACE_OF, learnt_path
from edge.daemon.listener import Listener
from edge.daemon.opening import pickup_of
from edge.daemon.recorder import called_normal
from edge.daemon.teaching import Teaching, result_of
from edge.detector import Detector, Promise, teach
from edge.errors import EarshotError

DEFAULT_MINUTES: Final = 30.0


class School:
    """The enrolments of one daemon. May be called from any thread."""

    def __init__(
        self,
        config: Config,
        configured: Mapping[Path, Detector],
        in_force: Mapping[str, Detector],
        listeners: Sequence[Listener],
        on_learnt: Callable[[], None],
    ) -> None:
        """configured: detectors by the paths that the configuration names; in_force: by sources, that they use."""
        self._config = config
        self._sources = {source.name: source for source in config.sources}
        self._configured = configured
        self._in_force = in_force
        self._listeners = {each.name: each for each in listeners}
        self._on_learnt = on_learnt
        self._teachings: dict[str, Teaching] = {}

    def enrol(self, source: str, *, minutes: float = DEFAULT_MINUTES, condition: str | None = None) -> Teaching:
        """Begin to learn the machine that a source hears, or go on where that was left.

        condition: what to call another load, season or place of the machine that is known; it is added to what is
        known. Without, the machine is learnt anew.
        Raises EarshotError: no such source, nowhere to write, it is at it already, or minutes that make no sense.
        """
        settings, state = self._settings(source), self._state()
        before = self._teachings.get(source)
        if before is not None and not before.is_over:
            raise EarshotError(f"{source}: an enrolment is going on: stop it first")
        configured = self._configured[settings.detector]
        base = configured if condition is None else self._in_force[source]
        final = learnt_path(state, source)
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
        teaching = Teaching(enrolment, final.with_name(f"{source}.proposed"), final, self._on_learnt)
        self._teachings[source] = teaching
        self._listeners[source].overhear = teaching.hear
        return teaching

    def relearn(self, source: str) -> dict[str, Any]:
        """Learn the episodes that a person called normal since the last time, without listening; return the result.

        It is in force at once, the detector before is kept. Takes some seconds.
        Raises EarshotError if no episode was called normal, or nothing can be written.
        """
        settings, state = self._settings(source), self._state()
        base, final = self._in_force[source], learnt_path(state, source)
        normal = called_normal(state, source, base)
        if not normal:
            raise EarshotError(f"{source}: no episode was called normal since: expected one, of this network")
        promise = Promise(base.card.false_alarm_rate, base.card.false_alarms_per_week, self._config.event)
        notes = {IN_PLACE_OF: self._configured[settings.detector].sha256}
        made = teach(base, normal, final, promise, notes=notes)
        self._on_learnt()
        return result_of(made)

    def teaching(self, source: str) -> Teaching | None:
        """Return the newest enrolment of a source, also one that has ended; None if there was none."""
        self._settings(source)
        return self._teachings.get(source)

    def goes_on(self, source: str) -> bool:
        """Return whether the next enrolment of a source goes on with what was heard before, in another life, too."""
        self._settings(source)
        return self._config.state_path is not None and _heard_path(self._config.state_path, source).exists()

    def close(self) -> None:
        """Stop every enrolment; what was heard is kept."""
        for source, teaching in self._teachings.items():
            self._listeners[source].overhear = None
            if not teaching.is_over:
                teaching.stop()

    def _settings(self, source: str) -> SourceSettings:
        if source not in self._sources:
            raise EarshotError(f"{source}: expected one of {', '.join(self._sources)}")
        return self._sources[source]

    def _state(self) -> Path:
        if self._config.state_path is None:
            raise EarshotError("state_directory is null: expected a folder, for what is learnt has to outlive us")
        return self._config.state_path


def _heard_path(state: Path, source: str) -> Path:
    return learnt_path(state, source).with_name(f"{source}.heard")
