"""`earshot replay`: recordings through the same line as live sound, as fast as they can be read."""

import json
import logging
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from edge import clock
from edge import detector as detectors
from edge.commands.options import detector_option, expect_output, open_output, pickup_options, section_option
from edge.commands.replay_page import Picture, page_of
from edge.commands.replayed import Alarm, Alarms, Replayed, bands_in_words, summary, thinned
from edge.config import EventSettings, load
from edge.detector import (
    BLOCK_SAMPLES,
    KEEPS_SECONDS,
    Detector,
    Explaining,
    Judge,
    Line,
    Reading,
    Recordings,
    Section,
    readings_of,
    section_of,
    verify,
)
from edge.errors import ConfigError, EarshotError, shown
from edge.judge import Event
from edge.memory import Beside, spectrogram
from edge.source import Note, Pickup, Recorded, find_audio, recorded, say_once, seconds_in
from edge.voice import cause_in_words, evidence_in_words, provisional_in_words

log = logging.getLogger(__name__)

_BY: Final = {"name": "its name", "file": "the time of the file"}

BEFORE_SECONDS: Final = 15.0
PICTURE_SECONDS: Final = 45.0
"""Of the sound that is shown around the opening of an alarm."""


@click.command("replay", short_help="Hear recordings as if they were live.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@detector_option
@section_option
@pickup_options
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Take the event settings from this file."
)
@click.option("--block-samples", type=click.IntRange(min=1), default=BLOCK_SAMPLES, show_default=True)
@click.option("--report", "report_path", type=click.Path(path_type=Path), help="Write a page of it, HTML in one file.")
@click.option(
    "--compare",
    "compare_path",
    type=click.Path(path_type=Path),
    help="A config.yaml with another `event`: say which alarms it would gain and lose.",
)
@click.option("--json", "as_json", is_flag=True, help="Every reading and event, a JSON object a line.")
def command(
    paths: Sequence[Path],
    detector_path: Path,
    section: str | None,
    pickup: Pickup,
    config_path: Path | None,
    block_samples: int,
    report_path: Path | None,
    compare_path: Path | None,
    as_json: bool,
) -> None:
    """Replay WAV or FLAC files: the same scores and episodes as if they had been heard live.

    Each file stands for itself, and nothing is learnt from it. A file that cannot be read to its end, or has no window
    that can be trusted, is named on stderr, and makes the exit code 1.
    """
    detector = detectors.read(detector_path)
    verify(detector)
    if words := detector.mismatch(pickup):
        log.warning("%s", words)
    settings = load(config_path).event if config_path else EventSettings()
    other = load(compare_path).event if compare_path else None
    files = [file for path in paths for file in find_audio(path)]
    n_bad = 0
    if report_path is not None:
        expect_output(report_path)
    replayed: list[Replayed] = []
    pace = _Pace(files, pickup)
    for file in files:
        try:
            replay = _Replay(file, detector, section_of(file, detector, section), settings, other, as_json=as_json)
            replayed.append(replay.run(pickup, block_samples))
            pace.done(file)
        except ConfigError:
            raise
        except EarshotError as error:
            log.warning("skipped: %s", error)
            n_bad += 1
    if report_path is not None and replayed:
        with open_output(report_path) as stream:
            stream.write(page_of(replayed, f"What {detector.card.name} would have heard", _picture(detector, pickup)))
    if replayed and not as_json and (len(files) > 1 or report_path or compare_path):
        click.echo("\n".join(summary(replayed)))
    if n_bad:
        raise EarshotError(
            f"{n_bad} of {len(files)} files were not replayed, or not to their end, for the reasons above"
        )


class _Replay:
    """One file, and what is printed of it. Times are seconds from its beginning."""

    def __init__(
        self,
        file: Path,
        detector: Detector,
        section: Section,
        settings: EventSettings,
        other: EventSettings | None = None,
        *,
        as_json: bool,
    ) -> None:
        self._file = file
        self._shown = click.format_filename(shown(file))  # a name need not be UTF-8, and a terminal takes nothing else
        self._section = section
        self._rate_hz = detector.frontend.sample_rate_hz
        self._judge = Judge(settings, detector, section)
        self._line = Line(detector, section, keeps_seconds=KEEPS_SECONDS)
        self._explaining = Explaining(self._line, self._judge, section)
        self._as_json = as_json
        self._scores: list[tuple[float, float]] = []
        self._alarms = Alarms()
        self._other = Judge(other, detector, section) if other else None
        self._others = Alarms()
        self._faults: list[str] = []
        self._notes: list[Note] = []
        self._recorded = ""
        self._seconds = 0.0

    def run(self, pickup: Pickup, block_samples: int) -> Replayed:
        """Print what is heard, and return it. Raises EarshotError if nothing of it can be judged."""
        when = self._say_when(pickup)
        for reading in readings_of(
            self._line, self._file, pickup, block_samples=block_samples, on_note=self._notes.append
        ):
            self._hear(reading)
        self._note(self._judge.interrupt("source_lost"))
        if self._other is not None:
            for event in self._other.interrupt("source_lost"):
                self._others.hear(event)
        if not self._scores:
            raise EarshotError(f"{shown(self._file)}: 0 windows to judge: {self._why_none(pickup)}")
        for note in self._notes:
            say_once(self._file, note)
        if not self._as_json:
            highest = f"highest score {max(score for _, score in self._scores):.3f}"
            known = self._judge.provisional
            provisional = f" ({provisional_in_words(known.hours, known.of)})" if known else ""
            threshold = f"threshold {self._judge.threshold:.3f}{provisional}"
            click.echo(f"{self._shown}: {len(self._scores)} windows, {highest}, {threshold}")
        return Replayed(
            self._file,
            when.start,
            _BY[when.by],
            self._seconds,
            self._judge.threshold,
            thinned(self._scores),
            self._alarms.found,
            self._section.statistics.band_mean,
            None if self._other is None else self._others.found,
        )

    def _say_when(self, pickup: Pickup) -> Recorded:
        when = recorded(self._file, pickup)
        self._recorded = clock.rfc3339(when.start)
        if not self._as_json:
            click.echo(f"{self._shown}: recorded {self._recorded}, by {_BY[when.by]}")
        return when

    def _why_none(self, pickup: Pickup) -> str:
        notes = [note.text for note in self._notes]
        if self._faults:
            return "; ".join([f"{len(self._faults)} were left out: {self._faults[0]}", *notes])
        seconds, window_seconds = seconds_in(self._file, pickup), self._line.plan.window_samples / self._rate_hz
        length = "it" if seconds is None else f"{seconds:.2f} s"
        return "; ".join([f"{length} is shorter than a window of {window_seconds:g} s", *notes])

    def _hear(self, reading: Reading) -> None:
        end_seconds = reading.end_sample / self._rate_hz
        score = self._judge.score_of(reading)
        if self._as_json:
            record = {
                "type": "reading",
                "path": str(self._file),
                "section": self._section.card.name,
                "end_sample": reading.end_sample,
                "end_seconds": end_seconds,
                "score": score,
                "threshold": self._judge.threshold,
                "level_dbfs": reading.level_dbfs,
                "fault": reading.fault,
                "recorded": self._recorded,
            }
            click.echo(json.dumps(record))
        self._seconds = end_seconds
        if score is not None:
            self._scores.append((end_seconds, score))
        elif reading.fault:
            self._faults.append(reading.fault)
        self._note(self._explaining.explain(reading, self._judge.hear(reading, end_seconds)))
        for event in self._other.hear(reading, end_seconds) if self._other else ():
            self._others.hear(event)

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            self._alarms.hear(event)
            self._print_event(event)

    def _print_event(self, event: Event) -> None:
        if self._as_json:
            click.echo(
                json.dumps({"type": "event", "path": str(self._file), **asdict(event), "recorded": self._recorded})
            )
            return
        bands = bands_in_words((band.hz_lo, band.hz_hi, band.delta_db) for band in event.bands)
        basis = f"{evidence_in_words(event.basis.seconds, event.basis.against)}; " if event.kind == "opened" else ""
        cause = f"{cause_in_words(**asdict(event.why))}; " if event.why else ""
        words = f"score {event.score:.3f} {basis}{cause}{bands}".rstrip("; ")
        click.echo(f"{self._shown}: {event.time:8.2f} s {event.kind}: {words}")


class _Pace:
    """How far it has come, on stderr where that is a terminal: files, the rate, and the time left."""

    def __init__(self, files: Sequence[Path], pickup: Pickup) -> None:
        self._is_shown = sys.stderr.isatty() and len(files) > 1
        self._seconds = {file: seconds_or_none(file, pickup) or 0.0 for file in files} if self._is_shown else {}
        self._begun = time.monotonic()
        self._n_done = 0
        self._done_seconds = 0.0

    def done(self, file: Path) -> None:
        """One file is heard."""
        if not self._is_shown:
            return
        self._n_done += 1
        self._done_seconds += self._seconds[file]
        took = max(time.monotonic() - self._begun, 1e-9)
        rate = max(self._done_seconds / took, 1e-9)
        left = (sum(self._seconds.values()) - self._done_seconds) / rate
        words = f"{self._n_done} of {len(self._seconds)} files, {rate:.0f}x real time, {left:.0f} s left"
        click.echo(f"\r{words:<79.79}", nl=self._n_done == len(self._seconds), err=True)


def seconds_or_none(file: Path, pickup: Pickup) -> float | None:
    """Return how long a recording is, None if that cannot be told, or it cannot be read at all."""
    try:
        return seconds_in(file, pickup)
    except EarshotError:
        return None


def _picture(detector: Detector, pickup: Pickup) -> Picture:
    rate_hz = detector.frontend.sample_rate_hz

    def of(one: Replayed, alarm: Alarm) -> bytes | None:
        first = max(0.0, alarm.opened - BEFORE_SECONDS)
        end = min(one.seconds, first + PICTURE_SECONDS)
        opened, closed = alarm.opened - first, min(alarm.closed, end) - first
        beside = Beside(detector.frontend, one.usual_db, alarm.moved)
        cut = (0, round(first * rate_hz), round(end * rate_hz))
        for _, samples in Recordings([one.path], pickup).of([cut]):
            return spectrogram(samples, beside, opened_seconds=opened, closed_seconds=closed, title=one.path.name)
        return None

    return of
