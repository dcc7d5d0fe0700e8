"""`earshot replay`: recordings through the same line as live sound, as fast as they can be read."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from edge import clock
from edge import detector as detectors
from edge.commands.options import detector_option, pickup_options, section_option
from edge.config import EventSettings, load
from edge.detector import (
    BLOCK_SAMPLES,
    KEEPS_SECONDS,
    Detector,
    Explaining,
    Judge,
    Line,
    Reading,
    Section,
    readings_of,
    section_of,
    verify,
)
from edge.errors import ConfigError, EarshotError, shown
from edge.judge import Event
from edge.source import Note, Pickup, find_audio, recorded, say_once, seconds_in
from edge.voice import cause_in_words, evidence_in_words, provisional_in_words

log = logging.getLogger(__name__)


@click.command("replay", short_help="Hear recordings as if they were live.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@detector_option
@section_option
@pickup_options
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Take the event settings from this file."
)
@click.option("--block-samples", type=click.IntRange(min=1), default=BLOCK_SAMPLES, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Every reading and event, a JSON object a line.")
def command(
    paths: Sequence[Path],
    detector_path: Path,
    section: str | None,
    pickup: Pickup,
    config_path: Path | None,
    block_samples: int,
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
    files = [file for path in paths for file in find_audio(path)]
    n_bad = 0
    for file in files:
        try:
            replay = _Replay(file, detector, section_of(file, detector, section), settings, as_json)
            replay.run(pickup, block_samples)
        except ConfigError:
            raise
        except EarshotError as error:
            log.warning("skipped: %s", error)
            n_bad += 1
    if n_bad:
        raise EarshotError(
            f"{n_bad} of {len(files)} files were not replayed, or not to their end, for the reasons above"
        )


class _Replay:
    """One file, and what is printed of it. Times are seconds from its beginning."""

    def __init__(
        self, file: Path, detector: Detector, section: Section, settings: EventSettings, as_json: bool
    ) -> None:
        self._file = file
        self._shown = click.format_filename(shown(file))  # a name need not be UTF-8, and a terminal takes nothing else
        self._section = section
        self._rate_hz = detector.frontend.sample_rate_hz
        self._judge = Judge(settings, detector, section)
        self._line = Line(detector, section, keeps_seconds=KEEPS_SECONDS)
        self._explaining = Explaining(self._line, self._judge, section)
        self._as_json = as_json
        self._scores: list[float] = []
        self._faults: list[str] = []
        self._notes: list[Note] = []
        self._recorded = ""

    def run(self, pickup: Pickup, block_samples: int) -> None:
        """Print what is heard. Raises EarshotError if nothing of it can be judged."""
        self._say_when(pickup)
        for reading in readings_of(
            self._line, self._file, pickup, block_samples=block_samples, on_note=self._notes.append
        ):
            self._hear(reading)
        for event in self._judge.interrupt("source_lost"):
            self._print_event(event)
        if not self._scores:
            raise EarshotError(f"{shown(self._file)}: 0 windows to judge: {self._why_none(pickup)}")
        for note in self._notes:
            say_once(self._file, note)
        if not self._as_json:
            highest = f"highest score {max(self._scores):.3f}"
            known = self._judge.provisional
            provisional = f" ({provisional_in_words(known.hours, known.of)})" if known else ""
            threshold = f"threshold {self._judge.threshold:.3f}{provisional}"
            click.echo(f"{self._shown}: {len(self._scores)} windows, {highest}, {threshold}")

    def _say_when(self, pickup: Pickup) -> None:
        when = recorded(self._file, pickup)
        self._recorded = clock.rfc3339(when.start)
        if not self._as_json:
            by = "its name" if when.by == "name" else "the time of the file"
            click.echo(f"{self._shown}: recorded {self._recorded}, by {by}")

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
        if score is not None:
            self._scores.append(score)
        elif reading.fault:
            self._faults.append(reading.fault)
        for event in self._explaining.explain(reading, self._judge.hear(reading, end_seconds)):
            self._print_event(event)

    def _print_event(self, event: Event) -> None:
        if self._as_json:
            click.echo(
                json.dumps({"type": "event", "path": str(self._file), **asdict(event), "recorded": self._recorded})
            )
            return
        bands = ", ".join(f"{b.hz_lo:.0f}-{b.hz_hi:.0f} Hz {b.delta_db:+.0f} dB" for b in event.bands)
        basis = f"{evidence_in_words(event.basis.seconds, event.basis.against)}; " if event.kind == "opened" else ""
        cause = f"{cause_in_words(**asdict(event.why))}; " if event.why else ""
        words = f"score {event.score:.3f} {basis}{cause}{bands}".rstrip("; ")
        click.echo(f"{self._shown}: {event.time:8.2f} s {event.kind}: {words}")
