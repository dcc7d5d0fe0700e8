"""The detector: one folder that holds all that listening to a machine needs, and proves it on the spot.

    model.onnx      the network (edge/ear/model.py), no external data
    scorer.npz      means, whitening matrices, calibration scores of every section, and its thresholds by false alarms a
                    week where there was sound enough for such a table; plain arrays, no pickle
    detector.json   what it is: settings, sections, thresholds, metrics, and the SHA-256 of the files beside it
    golden.flac     a recording, with the scores it must give in detector.json
    normal.npz      the windows that a machine was enrolled from (edge/detector/heard.py); not of machines trained on
    MODEL_CARD.md   the same for people

A detector is written whole or not at all: into a folder beside it, then renamed. The one before stays as `<name>.old`.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from edge.detector import heard
from edge.ear import Ear, FrontendSettings, HopPlan, Model
from edge.errors import DetectorError, shown
from edge.judge import (
    SCORE_NAMES,
    Calibration,
    Domain,
    Fusion,
    Gaussian,
    Kind,
    NormalWindows,
    Ordinary,
    RateCurve,
    ScoreName,
    SectionStatistics,
    log_score_at,
    ordinary_of,
    score_of,
)
from edge.source import Pickup

log = logging.getLogger(__name__)

SCHEMA: Final = 3
"""Written. Read as well: 1, which knew no false alarms a week, and 2, which kept no belief of what is ordinary."""

_READ_SCHEMAS: Final = (1, 2, 3)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeeklyCard(_Part):
    """What the table of false alarms a week was made from: hours of normal sound, and the keys of `event` that count.

    rarest  the fewest false alarms a week that the hours can promise
    """

    hours: float
    rarest: float
    event: dict[str, Any]


class LimitCard(_Part):
    """What would be heard of one kind of change (edge/judge/limits.py), as `Limit` says it."""

    kind: Kind
    limit_db: float | None
    wait_seconds: float | None
    wait_louder_seconds: float | None
    strengths_db: tuple[float, ...]
    probability: tuple[float, ...]


class SectionCard(_Part):
    """What `detector.json` says of one section.

    weekly  None where there was too little unbroken normal sound
    domains  of each mean that ordinary sound has
    would_hear  from which strength on known changes are reported; empty where nobody has tried
    conditions  what a person calls each mean; empty where nobody named any
    fusion  a detector that does not say is of before there was a choice
    """

    machine: str
    section: str
    domains: list[Domain]
    class_index: int | None
    windows: int
    thresholds: dict[ScoreName, float]
    weekly: WeeklyCard | None = None
    fusion: Fusion = "mean"
    would_hear: tuple[LimitCard, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`machine/section`, as `--section` takes it."""
        return f"{self.machine}/{self.section}"


class Golden(_Part):
    """Which section `golden.flac` is scored as, and the score of each of its windows."""

    section: str
    scores: list[float]


class Card(_Part):
    """`detector.json`. The thresholds are those of `false_alarms_per_week`, or else of `false_alarm_rate` a window.

    Scores other than `score` of which so few a week cannot be promised have those of `false_alarm_rate` in any case.
    """

    schema_version: int = SCHEMA
    name: str
    version: str
    created: str
    frontend: dict[str, float]
    frontend_fingerprint: str
    window_frames: int
    network: dict[str, Any]
    classes: list[str]
    sections: list[SectionCard]
    score: ScoreName
    false_alarm_rate: float
    false_alarms_per_week: float | None = None
    training: dict[str, Any]
    metrics: dict[str, Any]
    golden: Golden | None = None
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Section:
    """One section of a detector: what is normal, and how normal clips scored that the fit had not seen.

    ordinary  what ordinary sound is expected to score, of every score
    weekly  thresholds by false alarms a week, of every score; empty where there was too little sound
    """

    card: SectionCard
    statistics: SectionStatistics
    ordinary: Mapping[ScoreName, Ordinary]
    calibration: Mapping[ScoreName, Calibration]
    weekly: Mapping[ScoreName, RateCurve] = field(default_factory=dict)

    def threshold(self, score: ScoreName, false_alarm_rate: float) -> float:
        """Return what the score of a window has to exceed, so that this part (0 to 1) of ordinary ones does."""
        return score_of(log_score_at(self.ordinary[score], false_alarm_rate), score)


@dataclass(frozen=True)
class Detector:
    """A detector in memory."""

    path: Path
    card: Card
    model: Model
    sections: Mapping[str, Section]
    sha256: str

    @property
    def frontend(self) -> FrontendSettings:
        """Settings of the frames that the network was trained on."""
        return frontend_of(self.card)

    @property
    def plan(self) -> HopPlan:
        """How a stream is cut into this network's windows."""
        return HopPlan(self.frontend, self.card.window_frames)

    @property
    def pickup(self) -> Pickup | None:
        """The channel and the gain of the recordings that it was made from; None where nobody noted them."""
        channel, gain_db = (self.card.training.get(key) for key in ("channel", "gain_db"))
        if type(channel) is not int or not isinstance(gain_db, int | float):
            return None
        return Pickup(channel, float(gain_db))

    def mismatch(self, pickup: Pickup) -> str | None:
        """Say in what `pickup` is not that which it was made with; None where it is, or nobody knows."""
        own = self.pickup
        if own is None or (own.channel, own.gain_db) == (pickup.channel, pickup.gain_db):
            return None
        return (
            f"{shown(self.path)}: made from {own}, and hears {pickup} now: expected the same, else its scores and "
            "thresholds mean nothing"
        )

    def ear(self) -> Ear:
        """Return an ear of its own for one stream, which hears as this detector was made to."""
        return Ear(self.model, self.plan)

    def section(self, name: str | None) -> Section:
        """Return a section by `machine/section`, by `section` alone where that is unique, or the only one for None.

        Raises DetectorError that lists what there is.
        """
        if not self.sections:
            raise DetectorError(f"{self.path}: knows no machine: expected one enrolled on it (`earshot enroll`)")
        if name is not None and name in self.sections:
            return self.sections[name]
        wanted = [own for own in self.sections.values() if name in (None, own.card.section, own.card.machine)]
        if len(wanted) == 1:
            return wanted[0]
        what = f"section {name} {'fits several' if wanted else 'is not there'}" if name else "no section is named"
        raise DetectorError(f"{self.path}: {what}: expected one of {', '.join(self.sections)}")


def frontend_of(card: Card) -> FrontendSettings:
    """Return the frontend settings that `detector.json` states."""
    whole = {"sample_rate_hz", "frame_samples", "hop_samples", "n_mels"}
    return FrontendSettings(**{k: int(v) if k in whole else v for k, v in card.frontend.items()})  # type: ignore[arg-type]


def read(path: Path) -> Detector:
    """Read a detector folder; every file must be as it was written.

    Raises DetectorError that names the file, what came and what was expected.
    """
    if not path.exists() and _old(path).is_dir():
        log.warning("%s: not there, as after a crash while it was replaced: the one before is used", path)
        path = _old(path)
    if not path.is_dir():
        raise DetectorError(f"{path}: not a detector folder: expected a folder with detector.json in it")
    card = _read_card(path / "detector.json")
    for name, expected in card.files.items():
        came = file_sha256(path / name)
        if came != expected:
            raise DetectorError(f"{path / name}: SHA-256 {came[:12]}: expected {expected[:12]}, as detector.json says")
    if card.frontend_fingerprint != frontend_of(card).fingerprint:
        raise DetectorError(
            f"{path / 'detector.json'}: frontend fingerprint {card.frontend_fingerprint[:12]}: expected "
            f"{frontend_of(card).fingerprint[:12]}: this program computes other frames than the detector was trained on"
        )

    model = Model(path / "model.onnx")
    if model.n_mels != frontend_of(card).n_mels or model.n_classes != len(card.classes):
        raise DetectorError(
            f"{path / 'model.onnx'}: {model.n_mels} bands and {model.n_classes} classes: expected "
            f"{frontend_of(card).n_mels} and {len(card.classes)}, as detector.json says"
        )
    sections = _read_sections(path / "scorer.npz", card)
    return Detector(path, card, model, sections, file_sha256(path / "detector.json"))


def write(
    path: Path,
    card: Card,
    sections: Mapping[str, Section],
    *,
    model: Path,
    golden: Path | None,
    model_card: str,
    normal: NormalWindows | None = None,
    check: Callable[[Path], Card | None] | None = None,
) -> Detector:
    """Write a detector folder whole, or not at all; what stood there before is kept until the new one is complete.

    normal: what a section was enrolled from, for what is learnt later.
    check: called with the finished folder before it gets its name; raises to refuse it, and may return the card to
    store instead (with the golden scores that only the finished folder can give).
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not (path / "detector.json").exists():
        raise DetectorError(f"{path}: exists and is no detector folder: expected a new name")
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        shutil.copyfile(model, folder / "model.onnx")
        if golden is not None:
            shutil.copyfile(golden, folder / "golden.flac")
        (folder / "MODEL_CARD.md").write_text(model_card, encoding="utf-8")
        np.savez(folder / "scorer.npz", **_arrays(sections))
        if normal is not None:
            heard.save(folder, normal)
        _write_card(folder, card)
        if check is not None and (checked := check(folder)) is not None:
            _write_card(folder, checked)
        read(folder)
        folder.chmod(0o755)
        put_in_place(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return read(path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises DetectorError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DetectorError(f"{path}: {error.strerror}: expected a file of a detector folder") from error


def put_in_place(folder: Path, path: Path) -> None:
    """Give the new folder its name, and keep the one before as `<name>.old`, which `read` takes after a crash here."""
    old = _old(path)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    folder.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _read_card(path: Path) -> Card:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DetectorError(f"{path}: cannot be read: {error}") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise DetectorError(f"{path}: not JSON: {error}") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version not in _READ_SCHEMAS:
        raise DetectorError(
            f"{path}: schema_version {version}: expected 1 or {SCHEMA}, which is what this program reads"
        )
    try:
        card = Card.model_validate(data)
        frontend_of(card)
    except (ValidationError, ValueError, TypeError) as error:
        raise DetectorError(f"{path}: {error}") from error
    return card


def _write_card(folder: Path, card: Card) -> None:
    files = {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.name != "detector.json"}
    text = card.model_copy(update={"files": files, "schema_version": SCHEMA}).model_dump_json(indent=2)
    (folder / "detector.json").write_text(text + "\n", encoding="utf-8")


def _arrays(sections: Mapping[str, Section]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for name, section in sections.items():
        own = section.statistics
        for part, gaussian in own.parts.items():
            arrays[f"{name}:{part}.means"] = gaussian.means
            arrays[f"{name}:{part}.whitening"] = gaussian.whitening
            if gaussian.rest is not None:
                arrays[f"{name}:{part}.rest"] = gaussian.rest
            if gaussian.scale is not None:
                arrays[f"{name}:{part}.scale"] = gaussian.scale
        arrays[f"{name}:band_mean"] = own.band_mean
        arrays[f"{name}:band_deviation"] = own.band_deviation
        for score, typical in own.typical.items():
            arrays[f"{name}:typical.{score}"] = np.array(typical)
        for score, belief in section.ordinary.items():
            arrays[f"{name}:ordinary.{score}"] = np.array(astuple(belief))
        for score, calibration in section.calibration.items():
            arrays[f"{name}:calibration.{score}"] = calibration.scores
            if calibration.recording is not None:
                arrays[f"{name}:recording.{score}"] = calibration.recording
        for score, curve in section.weekly.items():
            arrays[f"{name}:weekly.{score}"] = curve.as_array()
    return arrays


def _read_sections(path: Path, card: Card) -> dict[str, Section]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        sections = {c.name: Section(c, *_section_of(arrays, c)) for c in card.sections}
    except (OSError, ValueError, KeyError) as error:
        raise DetectorError(f"{path}: {error}: expected the statistics of {len(card.sections)} sections") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DetectorError(f"{path}: {name} holds NaN or infinity: expected finite numbers")
    return sections


def _section_of(
    arrays: Mapping[str, Any], card: SectionCard
) -> tuple[SectionStatistics, dict[ScoreName, Ordinary], dict[ScoreName, Calibration], dict[ScoreName, RateCurve]]:
    own = {key.removeprefix(f"{card.name}:"): value for key, value in arrays.items() if key.startswith(f"{card.name}:")}

    domains = tuple(card.domains)
    statistics = SectionStatistics(
        parts={
            n: Gaussian(domains, own[f"{n}.means"], own[f"{n}.whitening"], own.get(f"{n}.rest"), own.get(f"{n}.scale"))
            for n in SCORE_NAMES
            if f"{n}.means" in own
        },
        typical={n: tuple(own[f"typical.{n}"].tolist()) for n in SCORE_NAMES if f"typical.{n}" in own},
        band_mean=own["band_mean"],
        band_deviation=own["band_deviation"],
        class_index=card.class_index,
        fusion=card.fusion,
    )
    calibration = {
        n: Calibration(own[f"calibration.{n}"], own.get(f"recording.{n}"))
        for n in SCORE_NAMES
        if f"calibration.{n}" in own
    }
    believed = {
        n: Ordinary(*own[f"ordinary.{n}"].tolist()) if f"ordinary.{n}" in own else ordinary_of(calibrated, n)
        for n, calibrated in calibration.items()
    }
    hours = card.weekly.hours if card.weekly else 0.0
    weekly = {n: RateCurve.of(own[f"weekly.{n}"], hours) for n in SCORE_NAMES if f"weekly.{n}" in own}
    return statistics, believed, calibration, weekly
