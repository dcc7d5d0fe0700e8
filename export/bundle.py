"""A finished run to a detector folder: graph, statistics, golden recording, proof, card."""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
import yaml

from edge import __version__
from edge import detector as detectors
from edge.config import EventSettings
from edge.detector import Card, Detector, Promise, golden_scores
from edge.ear import FrontendSettings, HopPlan, Model
from edge.errors import EarshotError, SourceError
from edge.source import read_samples
from export.card import model_card, texture_card
from export.gate import check_blocks, check_runtime
from export.graph import write_onnx
from trainer.dataset import Clip
from trainer.fit import fit_sections
from trainer.network import Network, NetworkSettings
from trainer.training import load_clips, load_held_out, load_network

GATE_CLIPS: Final = 8


def export(
    run: Path,
    output: Path,
    *,
    name: str,
    false_alarm_rate: float,
    only: Sequence[str] | None = None,
    false_alarms_per_week: float | None = None,
    event: EventSettings | None = None,
) -> Detector:
    """Write the detector of a finished run, and return it as a device would read it.

    only: the sections to fit, `machine/section`, where a device needs no others; each takes about 400 kB.
    false_alarms_per_week: in place of the rate a window, as `event` (else its defaults) counts episodes.
    Raises EarshotError, and writes nothing, if the run is not finished, no section has enough normal sound, one has too
    little for the false alarms a week, or the detector does not prove itself (export/gate.py).
    """
    network, classes = load_network(run)
    if only and (unknown := set(only) - set(classes)):
        raise EarshotError(f"{run}: section {', '.join(sorted(unknown))}: expected one of {', '.join(classes)}")
    clips = load_clips(run)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    promise = Promise(false_alarm_rate, false_alarms_per_week, event or EventSettings(), recipe["score"])
    card = _card(name, network, classes, promise, clips, recipe)

    with tempfile.TemporaryDirectory() as scratch:
        onnx_path, golden_path = Path(scratch, "model.onnx"), Path(scratch, "golden.flac")
        write_onnx(network, onnx_path, {"frontend": card.frontend_fingerprint, "preset": network.settings.preset})
        bare = Detector(Path(scratch), card, Model(onnx_path), {}, "")
        sections = fit_sections(bare.ear(), clips, classes, only or classes, promise, held_out=load_held_out(run))
        if not sections:
            raise EarshotError(f"{run}: no section has enough normal sound of whole windows to fit")
        card = card.model_copy(update={"sections": [section.card for section in sections.values()]})

        per_section = [[clip for clip in clips if clip.name == name] for name in sections]
        proof = _long_enough(per_section, bare.plan)
        _write_golden(golden_path, proof[:2])

        def check(folder: Path) -> Card:
            finished = detectors.read(folder)
            agreement = {**check_runtime(network, finished, proof), **check_blocks(finished, proof)}
            golden = golden_scores(finished, next(iter(sections)))
            return card.model_copy(update={"golden": golden, "metrics": {"largest_differences": agreement}})

        return detectors.write(
            output,
            card,
            sections,
            model=onnx_path,
            golden=golden_path,
            model_card=model_card(card, sections),
            check=check,
        )


def export_texture(run: Path, output: Path, *, name: str, false_alarm_rate: float) -> Detector:
    """Write a finished run's early map as a detector without a machine, for `earshot enroll` to learn machines on.

    false_alarm_rate: what machines are promised that are enrolled on it. A CREDITS.md of the run goes into its card.
    Raises EarshotError, and writes nothing, if the run is not finished, its network cannot be stepped hop by hop, none
    of its clips is a window long, or the detector does not prove itself (export/gate.py).
    """
    network, _ = load_network(run)
    if network.settings.pad_time:
        raise EarshotError(f"{run}: its network pads time: expected one that streams, such as the preset `streaming`")
    clips = load_clips(run)
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    if recipe["score"] != "fused":
        raise EarshotError(
            f"{run / 'recipe.yaml'}: score {recipe['score']}: expected fused, by which a texture is used"
        )
    card = _card(name, network, [], Promise(false_alarm_rate), clips, recipe)
    card = card.model_copy(update={"window_frames": NetworkSettings().window_frames})
    told = run / "CREDITS.md"
    credited = told.read_text(encoding="utf-8") if told.exists() else ""

    with tempfile.TemporaryDirectory() as scratch:
        onnx_path, golden_path = Path(scratch, "model.onnx"), Path(scratch, "golden.flac")
        write_onnx(network, onnx_path, {"frontend": card.frontend_fingerprint, "preset": "texture"}, early=True)
        bare = Detector(Path(scratch), card, Model(onnx_path), {}, "")
        proof = _long_enough([clips], bare.plan)
        if not proof:
            raise EarshotError(f"{run}: no clip of it is a window long: expected one to prove the detector on")
        _write_golden(golden_path, proof[:2])

        def check(folder: Path) -> Card:
            finished = detectors.read(folder)
            agreement = {**check_runtime(network, finished, proof), **check_blocks(finished, proof)}
            return card.model_copy(update={"metrics": {"largest_differences": agreement}})

        return detectors.write(
            output,
            card,
            {},
            model=onnx_path,
            golden=golden_path,
            model_card=texture_card(card, recipe, credited),
            check=check,
        )


def _card(
    name: str,
    network: Network,
    classes: Sequence[str],
    promise: Promise,
    clips: Sequence[Clip],
    recipe: Mapping[str, Any],
) -> Card:
    """Return the card of a detector without sections, which has not proved anything yet."""
    frontend = FrontendSettings(f_min_hz=recipe["f_min_hz"])
    return Card(
        name=name,
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        frontend=asdict(frontend),
        frontend_fingerprint=frontend.fingerprint,
        window_frames=network.settings.window_frames,
        network=asdict(network.settings),
        classes=list(classes),
        sections=[],
        score=promise.score,
        false_alarm_rate=promise.false_alarm_rate,
        false_alarms_per_week=promise.false_alarms_per_week,
        training={
            "clips": len(clips),
            "sha256": data_sha256(clips),
            "recipe": dict(recipe),
            "channel": clips[0].pickup.channel,
            "gain_db": clips[0].pickup.gain_db,
        },
        metrics={},
    )


def data_sha256(clips: Sequence[Clip]) -> str:
    """Return one hash of the training recordings, whatever their place on the disk."""
    digests = sorted(f"{clip.name} {detectors.file_sha256(clip.path)}" for clip in clips)
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _long_enough(per_section: Sequence[Sequence[Clip]], plan: HopPlan) -> list[Clip]:
    """Return a few clips of the sections, in turn, that can be read and are a window long: proof and golden sound."""
    in_turn = [clip for some in zip(*per_section, strict=False) for clip in some]
    first = per_section[0][:2]
    chosen = [*first, *(clip for clip in in_turn if clip not in first)]
    usable = (clip for clip in chosen if _n_samples(clip) >= plan.window_samples)
    return list(islice(usable, GATE_CLIPS))


def _n_samples(clip: Clip) -> int:
    """Zero for a recording that cannot be used: training has named it and left it out, and so does the proof."""
    try:
        return read_samples(clip.path, clip.pickup).size
    except SourceError:
        return 0


def _write_golden(path: Path, clips: Sequence[Clip]) -> None:
    """Two clips of the first section, one after the other: several hops beyond the first window."""
    samples = np.concatenate([read_samples(clip.path, clip.pickup) for clip in clips])
    soundfile.write(path, np.clip(samples, -1, 1), 16_000, subtype="PCM_16")
