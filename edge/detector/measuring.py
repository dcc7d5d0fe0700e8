"""Recordings of normal sound to what their windows measure, as a fit takes it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.detector.naming import parse_name, whole_of
from edge.detector.rows import Part, Rows, apart_of, stretches_of
from edge.ear import Ear, Measurement
from edge.errors import EarshotError, shown
from edge.judge import NormalWindows
from edge.source import AS_IT_IS, Note, Pickup, read_blocks, say_once

log = logging.getLogger(__name__)

BLOCK_SAMPLES: Final = 1 << 16


def measure(ear: Ear, path: Path, pickup: Pickup = AS_IT_IS) -> list[Measurement]:
    """Return what the windows of one recording measure, no two of them overlapping.

    Raises SourceError or EarshotError that names the recording if it cannot be used: damaged, too short, or silent.
    """
    heard = list(_hear(ear, path, pickup))
    apart = apart_of([one.end_sample for one in heard], ear.plan)
    return [one for one, is_apart in zip(heard, apart, strict=True) if is_apart]


@dataclass(frozen=True)
class Recording:
    """One file of normal sound.

    name     what it was cut from: parts of one recording have one name
    trained_on  whether the network was trained on it
    """

    path: Path
    name: str
    domain: str = "source"
    trained_on: bool = False
    pickup: Pickup = AS_IT_IS


def recording_of(path: Path, pickup: Pickup = AS_IT_IS) -> Recording:
    """Return a file as a recording, with the name that its parts share: all that stands before `_part_N`."""
    named = parse_name(path)
    whole = whole_of(named.attributes if named else path.stem)
    if whole is None:
        return Recording(path, str(path), pickup=pickup)
    return Recording(path, f"{path.parent}/{named.section if named else ''}/{whole}", pickup=pickup)


def measure_normal(
    ear: Ear,
    recordings: Iterable[Recording],
    skip: Callable[[str], None] = log.warning,
) -> NormalWindows | None:
    """Return what the recordings measure at every hop, in their order; those that cannot be used are left out.

    A file longer than twice `rows.STRETCH_SECONDS` is cut into stretches, each a recording of its own, and no window
    reaches across a cut. None if nothing is left; `skip` is told what was left out.
    Memory: what is returned, 2.1 kB a hop and a few bytes a class (0.7 GB for two days), and an eighth of it at most
    while it grows.
    """
    rows, parts = Rows(), list[Part]()
    for file, recording in enumerate(recordings):
        start = len(rows)
        try:
            for heard in _hear(ear, recording.path, recording.pickup):
                rows.append(heard, file)
        except EarshotError as error:
            rows.keep(start, [])
            skip(str(error))
            continue
        end_samples = rows.end_samples[start:].copy()
        stretches = stretches_of(end_samples, ear.plan)
        for i, (first, end) in enumerate(stretches):
            name = f"{recording.name}#{i}" if len(stretches) > 1 else recording.name
            parts.append(Part(name, end - first, recording.domain, recording.trained_on))
        rows.keep(start, [(start + first, start + end) for first, end in stretches])
    return rows.as_windows(ear.plan, parts)


@dataclass(frozen=True)
class Stretch:
    """What the hops of one stretch of sound measured, in their order, those that could not be trusted left out."""

    name: str
    heard: Sequence[Measurement]
    domain: str = "source"
    trained_on: bool = False


def normal_windows(ear: Ear, stretches: Iterable[Stretch]) -> NormalWindows | None:
    """Return the windows of stretches of normal sound as a fit takes them, or None if there are none."""
    rows, parts = Rows(), list[Part]()
    for stretch in stretches:
        for heard in stretch.heard:
            rows.append(heard)
        parts.append(Part(stretch.name, len(stretch.heard), stretch.domain, stretch.trained_on))
    return rows.as_windows(ear.plan, parts)


def _hear(ear: Ear, path: Path, pickup: Pickup = AS_IT_IS) -> Iterator[Measurement]:
    """Yield what every hop of a recording measures where its sound can be trusted. Raises as `measure`, at the end."""
    ear.reset()
    n_samples = n_heard = 0
    fault: str | None = None
    notes: list[Note] = []
    for samples in read_blocks(path, pickup, block_samples=BLOCK_SAMPLES, on_note=notes.append):
        n_samples += samples.size
        for heard in ear.feed(samples):
            fault = fault or heard.fault
            if heard.fault is None:
                n_heard += 1
                yield heard

    if n_heard:
        for note in notes:
            say_once(path, note)
        return
    if fault is not None:
        why = "; ".join([fault, *(note.text for note in notes)])
        raise EarshotError(f"{shown(path)}: {why}: expected the sound of a machine")
    window_seconds = _seconds(ear, ear.plan.window_samples)
    raise EarshotError(
        f"{shown(path)}: {_seconds(ear, n_samples):.2f} s: expected one window, {window_seconds:g} s, or more"
    )


def _seconds(ear: Ear, n_samples: int) -> float:
    return n_samples / ear.plan.frontend.sample_rate_hz
