"""The detector: one folder that holds all that listening to a machine needs, and proves it on the spot.

    model.onnx      the network (edge/ear/model.py), no external data
    scorer.npz      means, whitening matrices, calibration scores of every section, and its thresholds by false alarms a
                    week where there was sound enough for such a table; plain arrays, no pickle
    detector.json   what it is: settings, sections, thresholds, metrics, and the SHA-256 of the files beside it
    golden.flac     a recording, with the scores it must give in detector.json
    normal.npz      the windows that a machine was enrolled from (edge/detector/heard.py); not of machines trained on
    MODEL_CARD.md   the same for people

All of it is read as if a stranger had sent it: plain files of the folder alone, within bounds, each as its check sum
says, each key and array held against what it is for (edge/detector/card.py, sections.py). Whatever the bytes, what
comes of it is a detector or a DetectorError.

A detector is written whole or not at all: into a folder beside it, then renamed. The one before stays as `<name>.old`.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edge.arrays import MOST_ARRAYS_BYTES
from edge.detector import heard
from edge.detector.card import MOST_CARD_BYTES, SCHEMA, Card, card_of, frontend_of
from edge.detector.sections import Section, as_arrays, sections_of
from edge.ear import MOST_GRAPH_BYTES, Ear, FrontendSettings, HopPlan, Model
from edge.errors import DetectorError, shown
from edge.files import read_plain
from edge.judge import NormalWindows
from edge.source import Pickup

log = logging.getLogger(__name__)

MOST_BYTES: Final = {
    "detector.json": MOST_CARD_BYTES,
    "golden.flac": 64 << 20,
    "model.onnx": MOST_GRAPH_BYTES,
    "scorer.npz": MOST_ARRAYS_BYTES,
}
NORMAL: Final = "normal.npz"
EXAMPLE: Final = "example"
"""In the `training` of a card: true of what comes with Earshot."""

MOST_OTHER_BYTES: Final = 16 << 20
NEEDED: Final = ("MODEL_CARD.md", "golden.flac", "model.onnx", "scorer.npz")
"""What each folder holds beside `detector.json`, which has their check sums."""


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

    @property
    def is_example(self) -> bool:
        """Whether it is of a machine that nobody has, to show what a detector is: its card says so."""
        return self.card.training.get(EXAMPLE) is True

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

    def normal(self, name: str) -> NormalWindows | None:
        """Return the windows that a section was enrolled from; None where they are not in it.

        Raises DetectorError where they are not as they were written.
        """
        if NORMAL not in self.card.files or len(self.sections) != 1:
            return None
        path = _there(self.path) / NORMAL
        with _naming(path):
            return heard.windows_of(_as_written(path, self.card.files[NORMAL]), self.sections[name].card, self.model)

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


def read(path: Path, models: MutableMapping[str, Model] | None = None) -> Detector:
    """Read a detector folder; every file must be as it was written, and whole, and say what makes sense.

    models: networks by the SHA-256 of their file. One that is among them is shared, and another is added.
    Raises DetectorError that names the file, what came and what was expected. What it returns has not proved itself yet
    (edge/detector/golden.py).
    """
    path = _there(path)
    try:
        return _read(path, {} if models is None else models)
    except MemoryError as error:
        raise DetectorError(f"{shown(path)}: takes more memory than there is") from error


def digest_of(path: Path) -> str:
    """Return the SHA-256 of `detector.json`, which has those of all other files; none of them is opened but for that.

    Raises DetectorError as `read`, though not for what only a look inside can tell.
    """
    path = _there(path)
    written = _bytes_of(path / "detector.json")
    with _naming(path / "detector.json"):
        files = card_of(written).files
    for name, expected in files.items():
        _as_written(path / name, expected)
    return hashlib.sha256(written).hexdigest()


def _there(path: Path) -> Path:
    """Return where the folder lies: after a crash while it was replaced that is the one before."""
    try:
        if not path.exists() and _old(path).is_dir():
            log.warning("%s: not there, as after a crash while it was replaced: the one before is used", path)
            path = _old(path)
        is_folder = path.is_dir()
    except OSError as error:
        raise DetectorError(f"{shown(path)}: {error.strerror}: expected a folder with detector.json in it") from error
    if not is_folder:
        raise DetectorError(f"{shown(path)}: not a detector folder: expected a folder with detector.json in it")
    return path


def _read(path: Path, models: MutableMapping[str, Model]) -> Detector:
    written = _bytes_of(path / "detector.json")
    with _naming(path / "detector.json"):
        own = card_of(written)
        frontend = frontend_of(own)
        if missing := set(NEEDED) - set(own.files):
            raise ValueError(f"files without {', '.join(sorted(missing))}: expected the check sum of each")
        if own.frontend_fingerprint != frontend.fingerprint:
            raise ValueError(
                f"frontend fingerprint {shown(own.frontend_fingerprint[:12])}: expected {frontend.fingerprint[:12]}: "
                "this program computes other frames than the detector was trained on"
            )
    parts = {name: _as_written(path / name, expected) for name, expected in own.files.items()}

    digest = own.files["model.onnx"]
    model = models.get(digest) or Model(path / "model.onnx", parts["model.onnx"])
    if model.n_mels != frontend.n_mels or model.n_classes != len(own.classes):
        raise DetectorError(
            f"{shown(path / 'model.onnx')}: {model.n_mels} bands and {model.n_classes} classes: expected "
            f"{frontend.n_mels} and {len(own.classes)}, as detector.json says"
        )
    models[digest] = model
    with _naming(path / "scorer.npz"):
        sections = sections_of(parts["scorer.npz"], own, model)
    return Detector(path, own, model, sections, hashlib.sha256(written).hexdigest())


def _as_written(path: Path, expected: str) -> bytes:
    data = _bytes_of(path)
    came = hashlib.sha256(data).hexdigest()
    if came != expected:
        raise DetectorError(
            f"{shown(path)}: SHA-256 {came[:12]}: expected {shown(expected[:12])}, as detector.json says"
        )
    return data


def _bytes_of(path: Path) -> bytes:
    try:
        return read_plain(path, MOST_BYTES.get(path.name, MOST_OTHER_BYTES), within=path.parent)
    except OSError as error:
        raise DetectorError(
            f"{shown(path)}: {error.strerror or error}: expected a file of a detector folder"
        ) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise DetectorError(f"{shown(path)}: {error}") from error


def expect_place(path: Path) -> None:
    """Raise DetectorError unless a detector can be written there; for who will have one only after hours."""
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(prefix=f".{real.name}-", dir=real.parent).cleanup()
        if real.exists() and not (real / "detector.json").exists():
            raise DetectorError(f"{shown(path)}: exists and is no detector folder: expected a new name")
    except OSError as error:
        raise DetectorError(f"{shown(path)}: cannot be written: {error.strerror}") from error


def write(
    path: Path,
    card: Card,
    sections: Mapping[str, Section],
    *,
    model: Path,
    golden: Path,
    model_card: str,
    normal: NormalWindows | None = None,
    check: Callable[[Path], Card | None] | None = None,
) -> Detector:
    """Write a detector folder whole, or not at all; what stood there before is kept until the new one is complete.

    normal: what a section was enrolled from, for what is learnt later.
    check: called with the finished folder before it gets its name; raises to refuse it, and may return the card to
    store instead (with the golden scores that only the finished folder can give).
    """
    expect_place(path)
    path = Path(os.path.realpath(path))  # a link stays one: it may be how an installation names its newest detector
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        shutil.copyfile(model, folder / "model.onnx")
        shutil.copyfile(golden, folder / "golden.flac")
        (folder / "MODEL_CARD.md").write_text(model_card, encoding="utf-8")
        np.savez(folder / "scorer.npz", **as_arrays(sections))
        if normal is not None:
            np.savez(folder / NORMAL, **heard.as_arrays(normal))
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
    """Where the one before lies: beside the folder itself, also where `path` is a link to it."""
    path = Path(os.path.realpath(path))
    return path.with_name(f"{path.name}.old")


def _write_card(folder: Path, card: Card) -> None:
    files = {p.name: file_sha256(p) for p in sorted(folder.iterdir()) if p.name != "detector.json"}
    text = card.model_copy(update={"files": files, "schema_version": SCHEMA}).model_dump_json(indent=2)
    (folder / "detector.json").write_text(text + "\n", encoding="utf-8")
