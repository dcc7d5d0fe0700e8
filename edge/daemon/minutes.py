"""What happens at one source, as the memory takes it: it looks on, and tells nobody."""

from edge.config import EventSettings
from edge.daemon.happening import Happening, Moment, Standing
from edge.detector import Detector, Judge, Section
from edge.ear import measured_shapes
from edge.judge import Alarm, alarms_at
from edge.memory import Diary, Heard, History


class Minutes:
    """Hands each moment of one source to its diary. For the listening thread; waits for no disk."""

    def __init__(
        self,
        history: History,
        source: str,
        detector: Detector,
        section: Section,
        judge: Judge,
        settings: EventSettings,
    ) -> None:
        """Open nothing. settings: by which `judge` closes its episodes."""
        self._history, self._source, self._judge, self._settings = history, source, judge, settings
        frontend = detector.frontend
        self._diary: Diary = history.diary(
            source,
            measured_shapes(detector.model, quiet=section.statistics.needs_quiet),
            {
                "source": source,
                "detector": detector.sha256,
                "network": detector.card.files["model.onnx"],
                "section": section.card.name,
                "score": judge.score_name,
                "averages_seconds": judge.averages_seconds,
                "f_min_hz": frontend.f_min_hz,
                "f_max_hz": frontend.f_max_hz,
            },
            n_averages=len(judge.averages_seconds),
            hop_seconds=detector.plan.hop_seconds,
        )
        self._standing = Standing("waiting")

    def hear(self, happening: Happening) -> None:
        """Look on."""
        match happening:
            case Standing():
                self._standing = happening
            case Moment() if self._standing.hears:
                self._diary.hear(self._heard(happening))

    def alarms(self, threshold: float, since: float) -> list[Alarm]:
        """Return what episodes a threshold would have told of since then (UNIX seconds). Any thread; reads the disk."""
        minutes = self._history.series(self._source, ("rarity",))
        newer = minutes["time"] >= since
        return alarms_at(
            minutes["time"][newer],
            minutes["rarity"][newer],
            self._judge.rarity_of(threshold),
            off_seconds=self._settings.off_delay_seconds,
            most_minutes=self._settings.max_episode_minutes,
        )

    def end(self) -> None:
        """Nothing more is heard."""
        self._diary.end()

    def _heard(self, moment: Moment) -> Heard:
        return Heard(
            time=moment.time,
            trusted=self._standing.status != "degraded",
            measured=None if moment.reading is None else moment.reading.measured,
            score=moment.score,
            threshold=moment.threshold,
            evidence=moment.evidence,
            rarity=moment.rarity,
            averages=moment.averages,
            episode=moment.episode is not None,
            shelved=moment.shelved_until is not None,
        )
