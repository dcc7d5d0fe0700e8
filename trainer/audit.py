"""What is wrong with a set of recordings, by name, before anything is trained on it or graded with it.

`check_data` is the way in: it raises on errors and returns warnings. `audit` lists both. An error is what makes a
result wrong or impossible; a warning is what a person should know of a result. The kinds:

    section     test clips of a section that nothing was trained on (error); trained and not tested, a hole in the
                numbering 00..N, a domain that is tested without training clips (warnings)
    class       fewer than two classes to tell apart, test clips of a section that are all normal or all anomalous
                (errors); the same in one domain of it (warning)
    label       an anomaly among the training clips (error); a test clip whose label nobody tells (warning)
    unreadable  damaged, cut off, too slow, no recording at all: training leaves it out (warning), a table that is
                compared with others cannot (error, for test clips)
    silent      one value from beginning to end, or no more than rounding: nothing to learn, and no score (error); a
                stretch of one value in it, as of digital silence (warning)
    short       shorter than a window: training repeats it (warning), a test clip has no score (error)
    rate        recordings of one machine at several sampling rates: a network learns to tell the rates (error); of
                several machines (warning)
    duplicate   one sound in train and in test, whatever the files are called and however they are packed, or under two
                labels (errors); twice within train or within test (warning)
    recording   parts of one recording in train and in test (warning)

Every recording is decoded once, in processes of their own; what was found is kept by path, size, times and inode.
"""

import hashlib
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from tqdm import tqdm

from edge.errors import EarshotError
from edge.source import AS_IT_IS, SAMPLE_RATE_HZ, Pickup, Samples, rate_in, read_blocks
from trainer.cores import usable_cores
from trainer.dataset import Clip

log = logging.getLogger(__name__)

Severity = Literal["error", "warning"]
Kind = Literal["section", "class", "label", "unreadable", "silent", "short", "rate", "duplicate", "recording"]

WINDOW_SECONDS: Final = 9.6
"""What the streaming preset hears at once (299 frames); a shorter recording has no score."""

ROUNDING: Final = 2 / 32_768
"""Peak to peak of what a 16-bit converter makes of silence."""

STILL_SECONDS: Final = 0.3
"""A stretch of one value that no microphone makes: the line refuses windows with 8 dead frames (edge/ear/ear.py)."""

NAMED_PER_KIND: Final = 10
"""How many findings of a kind a message lists before it counts the rest."""

_BLOCK_SAMPLES: Final = 1 << 18
_WORTH_A_POOL: Final = 200
"""Recordings to be decoded before starting processes pays: they take half a second to start."""
_CACHE_VERSION: Final = 1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: a sentence that names what and where, and the recordings it is about."""

    severity: Severity
    kind: Kind
    text: str
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one recording turned out to be, or why it cannot be read (then all else is empty).

    rate_hz, n_samples   as stored, one channel
    span                 highest minus lowest sample
    still_samples        the longest stretch of one value
    digest               of the decoded samples, float32: the same in a WAV and in a FLAC, whatever the tags say
    """

    error: str | None = None
    rate_hz: int = 0
    n_samples: int = 0
    span: float = 0.0
    still_samples: int = 0
    digest: str = ""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.n_samples / self.rate_hz if self.rate_hz else 0.0

    @property
    def silent(self) -> bool:
        """Whether there is nothing in it but one value and the rounding of it."""
        return self.error is None and self.span <= ROUNDING

    @property
    def still_seconds(self) -> float:
        """The longest stretch of one value."""
        return self.still_samples / self.rate_hz if self.rate_hz else 0.0

    def shorter_than(self, window_seconds: float) -> bool:
        """Whether no window fits in. Resampling to 16 kHz may round a sample off the end of what is exactly one."""
        return self.seconds * SAMPLE_RATE_HZ < window_seconds * SAMPLE_RATE_HZ - 1


def check_data(
    clips: Sequence[Clip], *, for_evaluation: bool, cache: Path | None = None, window_seconds: float = WINDOW_SECONDS
) -> list[str]:
    """Raise EarshotError that lists every error in the data; return the warnings, a line each, for a person to read.

    clips: all that will be used, training and test clips together; only test clips where a finished detector is graded.
    for_evaluation: the test clips will be graded. Else they are only looked at for what they have in common with the
    training clips: sampling rates, sounds, recordings.
    cache: file in which to keep what was heard; it is made, and written whole or not at all. The next call decodes only
    what has changed. One that cannot be read is made anew.
    """
    findings = audit(clips, for_evaluation=for_evaluation, cache=cache, window_seconds=window_seconds)
    refuse_errors(findings)
    return _listed([finding for finding in findings if finding.severity == "warning"])


def audit(
    clips: Sequence[Clip],
    *,
    for_evaluation: bool,
    for_training: bool = True,
    cache: Path | None = None,
    window_seconds: float = WINDOW_SECONDS,
) -> list[Finding]:
    """Return all that is wrong with the data, errors first; arguments as those of `check_data`.

    for_training: a network will learn to tell the classes apart; where a finished detector is looked at, one will do.
    """
    heard = listen([clip.path for clip in clips], cache=cache, pickup=clips[0].pickup if clips else AS_IT_IS)
    train = [clip for clip in clips if clip.split == "train"]
    test = [clip for clip in clips if clip.split == "test"]
    usable = [clip for clip in train if heard[clip.path].error is None]

    findings = [*_anomalies(train), *_unreadable_classes(train, usable)]
    if for_training:
        findings += _one_class(train, usable)
    if for_evaluation:
        findings += [*_sections(usable, test), *_numbering(clips), *_labels(test)]
        findings += [found for clip in test for found in _of_test(clip, heard[clip.path], window_seconds)]
    findings += _of_training(train, heard, window_seconds)
    findings += [*_rates(clips, heard), *_duplicates(clips, heard), *_recordings(train, test)]
    return sorted(findings, key=lambda finding: finding.severity)


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Raise EarshotError that lists the errors among the findings, if there are any: at most ten of a kind, and how
    many more there are."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise EarshotError("\n    ".join([f"the data has {_counted(len(errors), 'error')}:", *_listed(errors)]))


def _listed(findings: Sequence[Finding]) -> list[str]:
    by_kind: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        by_kind[finding.kind].append(finding.text)
    lines = []
    for kind, texts in by_kind.items():
        lines += texts[:NAMED_PER_KIND]
        if len(texts) > NAMED_PER_KIND:
            lines.append(f"and {len(texts) - NAMED_PER_KIND} more of this kind ({kind})")
    return lines


# --- What the names say ---


def _anomalies(train: Iterable[Clip]) -> Iterator[Finding]:
    for clip in train:
        if clip.label == "anomaly":
            text = f"{clip.path}: an anomaly among the training clips: expected normal sound only"
            yield Finding("error", "label", text, (clip.path,))


def _unreadable_classes(train: Sequence[Clip], usable: Sequence[Clip]) -> Iterator[Finding]:
    """Each class must have a clip that can be read."""
    readable = {clip.name for clip in usable}
    for name in sorted({clip.name for clip in train} - readable):
        paths = tuple(clip.path for clip in train if clip.name == name)
        text = f"{name}: none of its {_counted(len(paths), 'training clip')} can be read: expected some normal sound"
        yield Finding("error", "section", text, paths)


def _one_class(train: Sequence[Clip], usable: Sequence[Clip]) -> Iterator[Finding]:
    """A network learns by telling classes apart."""
    readable = {clip.name for clip in usable}
    if train and len(readable) < 2:
        only = f"one class only, {min(readable)}" if readable else "no class"
        yield Finding("error", "class", f"{only}: expected training clips of two sections or machines to tell apart")


def _sections(usable: Sequence[Clip], test: Sequence[Clip]) -> Iterator[Finding]:
    """What is tested must have been trained on; where nothing is trained, a finished detector is graded."""
    if not test:
        yield Finding("error", "section", "no test clips: expected some to grade")
    trained = Counter((clip.name, clip.domain) for clip in usable)
    trained_names = {name for name, _ in trained}
    tested: dict[str, list[Clip]] = defaultdict(list)
    for clip in test:
        tested[clip.name].append(clip)

    for name, own in sorted(tested.items()):
        paths = tuple(clip.path for clip in own)
        if trained_names and name not in trained_names:
            text = f"{name}: {_counted(len(own), 'test clip')} and no training clips of this section: expected both"
            yield Finding("error", "section", text, paths)
            continue
        for domain, n_clips in sorted(Counter(clip.domain for clip in own).items()):
            if trained_names and not trained[name, domain]:
                text = f"{name}: {_counted(n_clips, 'test clip')} and no training clips of its {domain} domain"
                yield Finding("warning", "section", f"{text}: they are graded by the other domain's sound", paths)

    graded_machines = {clip.machine for clip in test}
    for name in sorted(trained_names - set(tested)):
        if name.rpartition("/")[0] in graded_machines:
            yield Finding("warning", "section", f"{name}: training clips and no test clips: it is learned, not graded")


def _numbering(clips: Iterable[Clip]) -> Iterator[Finding]:
    """Sections of 2021 and later count from 00 without a hole; machines of 2020 did not."""
    numbers: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.path.stem.startswith("section_"):
            numbers[clip.machine].add(clip.section)
    for machine, found in sorted(numbers.items()):
        highest = max(found, key=int)
        absent = [n for n in (f"{i:0{len(highest)}d}" for i in range(int(highest))) if n not in found]
        if absent:
            text = f"{machine}: section {', '.join(absent)} is not there, {', '.join(sorted(found))} are"
            yield Finding("warning", "section", text)


def _labels(test: Sequence[Clip]) -> Iterator[Finding]:
    """Sections and domains by what is known of their test clips."""
    cells: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in test:
        cells[clip.name, "all"].append(clip)
        cells[clip.name, clip.domain].append(clip)

    one_label_only = set()
    for (name, domain), own in sorted(cells.items()):
        secret = tuple(clip.path for clip in own if clip.label is None)
        labels = Counter(clip.label for clip in own if clip.label is not None)
        if domain == "all" and secret:
            text = f"{name}: {len(secret)} of {_counted(len(own), 'test clip')} have no label: they cannot be graded"
            yield Finding("warning", "label", f"{text} without the ground truth (first: {secret[0]})", secret)
        if len(labels) != 1 or name in one_label_only:
            continue
        ((label, n_clips),) = labels.items()
        paths = tuple(clip.path for clip in own if clip.label == label)
        if domain == "all":
            one_label_only.add(name)
            text = f"{name}: {_counted(n_clips, 'test clip')}, all {label}: expected normal and anomalous ones"
            yield Finding("error", "class", text, paths)
        else:
            text = f"{name}: {_counted(n_clips, 'test clip')} in its {domain} domain, all {label}: it has no grade"
            yield Finding("warning", "class", text, paths)


def _recordings(train: Iterable[Clip], test: Iterable[Clip]) -> Iterator[Finding]:
    """Parts of one recording are alike: a test on one after training on another is too easy."""
    trained: dict[str, Clip] = {}
    for clip in train:
        if _is_part(clip):
            trained.setdefault(clip.recording, clip)
    tested: dict[str, list[Clip]] = defaultdict(list)
    for clip in test:
        if _is_part(clip) and clip.recording in trained:
            tested[clip.recording].append(clip)
    for recording, own in sorted(tested.items()):
        text = (
            f"{recording}: parts of this recording are in train and in test: {trained[recording].path}, {own[0].path}"
        )
        yield Finding("warning", "recording", text, (trained[recording].path, *(clip.path for clip in own)))


def _is_part(clip: Clip) -> bool:
    return clip.recording != f"{clip.name}/{clip.path.stem}"


# --- What the recordings say ---


def _of_test(clip: Clip, heard: Heard, window_seconds: float) -> Iterator[Finding]:
    """What is wrong with one test clip: without its score, a table cannot be compared with another."""
    found = partial(Finding, paths=(clip.path,))
    if heard.error is not None:
        yield found("error", "unreadable", f"{heard.error}: a test clip that cannot be scored")
    elif heard.silent:
        yield found("error", "silent", f"{clip.path}: silent, one value throughout: it cannot be scored")
    elif heard.shorter_than(window_seconds):
        text = f"{clip.path}: {heard.seconds:.2f} s, shorter than a window of {window_seconds:g} s: it cannot be scored"
        yield found("error", "short", text)
    elif heard.still_seconds >= STILL_SECONDS:
        text = f"{clip.path}: {heard.still_seconds:.1f} of {heard.seconds:.1f} s are one value, as in digital silence"
        yield found("warning", "silent", f"{text}: windows with it have no score")


def _of_training(train: Iterable[Clip], heard: Mapping[Path, Heard], window_seconds: float) -> Iterator[Finding]:
    """What is wrong with training clips: some can be left out; and what training bears is told once a machine."""
    short: dict[str, list[Path]] = defaultdict(list)
    still: dict[str, list[Path]] = defaultdict(list)
    for clip in train:
        this = heard[clip.path]
        if this.error is not None:
            yield Finding("warning", "unreadable", f"{this.error}: left out", (clip.path,))
        elif this.silent:
            text = f"{clip.path}: silent, one value throughout: expected the normal sound of a machine"
            yield Finding("error", "silent", text, (clip.path,))
        else:
            if this.shorter_than(window_seconds):
                short[clip.machine].append(clip.path)
            if this.still_seconds >= STILL_SECONDS:
                still[clip.machine].append(clip.path)

    for machine, paths in sorted(short.items()):
        worst = min(paths, key=lambda path: heard[path].seconds)
        text = f"{machine}: {_counted(len(paths), 'training clip')} shorter than a window of {window_seconds:g} s"
        text += f" (shortest: {worst}, {heard[worst].seconds:.2f} s): repeated to fill one"
        yield Finding("warning", "short", text, tuple(paths))
    for machine, paths in sorted(still.items()):
        worst = max(paths, key=lambda path: heard[path].still_seconds)
        text = f"{machine}: {_counted(len(paths), 'training clip')} with a stretch of one value, as of digital silence"
        text += f" (longest: {worst}, {heard[worst].still_seconds:.1f} of {heard[worst].seconds:.1f} s)"
        yield Finding("warning", "silent", text, tuple(paths))


def _rates(clips: Sequence[Clip], heard: Mapping[Path, Heard]) -> Iterator[Finding]:
    """Sound that came from another rate ends at another frequency: that is heard, and it is not the machine."""
    at: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        if heard[clip.path].error is None:
            at[clip.machine][heard[clip.path].rate_hz].append(clip.path)

    for machine, rates in sorted(at.items()):
        if len(rates) > 1:
            rare = min(rates, key=lambda rate_hz: len(rates[rate_hz]))
            counts = ", ".join(
                f"{_counted(len(paths), 'clip')} at {rate_hz} Hz" for rate_hz, paths in sorted(rates.items())
            )
            text = f"{machine}: {counts} (first at {rare} Hz: {rates[rare][0]}): expected one sampling rate a machine"
            yield Finding("error", "rate", text, tuple(rates[rare]))

    machines = defaultdict(list)
    for machine, rates in sorted(at.items()):
        if len(rates) == 1:
            machines[min(rates)].append(machine)
    if len(machines) > 1:
        counts = "; ".join(f"{', '.join(names)} at {rate_hz} Hz" for rate_hz, names in sorted(machines.items()))
        yield Finding("warning", "rate", f"machines have different sampling rates: {counts}")


def _duplicates(clips: Iterable[Clip], heard: Mapping[Path, Heard]) -> Iterator[Finding]:
    """The same decoded samples twice. Silence is the same everywhere, and is another finding."""
    same: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if heard[clip.path].error is None and not heard[clip.path].silent:
            same[heard[clip.path].digest].append(clip)

    for own in same.values():
        if len(own) < 2:
            continue
        paths = tuple(clip.path for clip in own)
        train = [clip for clip in own if clip.split == "train"]
        test = [clip for clip in own if clip.split == "test"]
        labels = {clip.label for clip in test if clip.label}
        if train and test:
            text = (
                f"{test[0].path}: the same sound as the training clip {train[0].path}: expected each in one of the two"
            )
            yield Finding("error", "duplicate", text, paths)
        elif len(labels) > 1:
            text = f"{test[0].path}: the same sound, with another label, as {test[1].path}"
            yield Finding("error", "duplicate", text, paths)
        else:
            others = ", ".join(map(str, paths[1:4])) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")
            classes = sorted({clip.name for clip in own})
            where = f" (of {' and '.join(classes)})" if len(classes) > 1 else ""
            yield Finding("warning", "duplicate", f"{paths[0]}: the same sound as {others}{where}", paths)


# --- Listening ---


def listen(paths: Sequence[Path], *, cache: Path | None = None, pickup: Pickup = AS_IT_IS) -> dict[Path, Heard]:
    """Return what every recording is, decoding only those that are not in the cache as they are on disk now.

    What was heard of another channel, or at another gain, was another sound: a cache knows of one pickup.
    """
    if cache is not None and pickup != AS_IT_IS:
        digest = hashlib.blake2b(repr(pickup).encode(), digest_size=4).hexdigest()
        cache = cache.with_name(f"{cache.stem}-{digest}{cache.suffix}")
    known = _read_cache(cache)
    heard: dict[Path, Heard] = {}
    unheard: list[tuple[Path, list[int]]] = []
    for path in dict.fromkeys(paths):
        identity = _identity(path)
        entry = known.get(str(path))
        if identity and entry and entry["identity"] == identity:
            heard[path] = Heard(**entry["heard"])
        else:
            unheard.append((path, identity))

    for (path, identity), result in zip(unheard, _each_heard([path for path, _ in unheard], pickup), strict=True):
        heard[path] = result
        if result.error is None:  # what cannot be read today, for want of a disk, may be well tomorrow
            known[str(path)] = {"identity": identity, "heard": asdict(result)}
    if cache is not None and unheard:
        _write_cache(cache, known)
    return heard


def _each_heard(paths: Sequence[Path], pickup: Pickup) -> Iterator[Heard]:
    hear = partial(_hear, pickup=pickup)
    bar: Callable[[Iterable[Heard]], Iterator[Heard]] = partial(
        tqdm, desc="check", total=len(paths), unit="clip", disable=None if len(paths) >= _WORTH_A_POOL else True
    )
    if len(paths) < _WORTH_A_POOL:
        yield from bar(map(hear, paths))
        return
    # Spawned, not forked: the caller may have threads, and a fork would copy their locks.
    with ProcessPoolExecutor(usable_cores(), get_context("spawn")) as pool:
        yield from bar(pool.map(hear, paths, chunksize=32))


def _hear(path: Path, pickup: Pickup) -> Heard:
    """Decode one recording as training and the device would, but at its own rate. Runs in a process of its own."""
    digest = hashlib.blake2b(digest_size=16)
    lowest, highest, n_samples, still = np.inf, -np.inf, 0, _Still()
    try:
        rate_hz = rate_in(path, pickup)
        # A rate that is too low is refused by name when it is asked for 16 kHz.
        wanted_hz = max(rate_hz, SAMPLE_RATE_HZ)
        for samples in read_blocks(path, pickup, block_samples=_BLOCK_SAMPLES, sample_rate_hz=wanted_hz):
            digest.update(samples.tobytes())
            lowest, highest = min(lowest, float(samples.min())), max(highest, float(samples.max()))
            n_samples += samples.size
            still.feed(samples)
    except EarshotError as error:
        return Heard(error=str(error))
    return Heard(
        rate_hz=rate_hz,
        n_samples=n_samples,
        span=highest - lowest,
        still_samples=still.longest,
        digest=digest.hexdigest(),
    )


class _Still:
    """The longest stretch of one value in a stream of samples."""

    def __init__(self) -> None:
        self.longest = 0
        self._run = 0
        self._last: np.float32 | None = None

    def feed(self, samples: Samples) -> None:
        if self._last is None or samples[0] != self._last:
            self._run = 0
        changes = np.flatnonzero(samples[1:] != samples[:-1]) + 1
        if changes.size:
            runs = np.diff(changes, append=samples.size)
            self.longest = max(self.longest, self._run + int(changes[0]), int(runs.max()))
            self._run = int(runs[-1])
        else:
            self._run += samples.size
            self.longest = max(self.longest, self._run)
        self._last = samples[-1]


# --- What was heard before ---


def _identity(path: Path) -> list[int]:
    """Return what changes whenever a file does, nothing where there is none. The inode and ctime see a file that was
    put in place of another with its time set back."""
    try:
        stat = path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _read_cache(cache: Path | None) -> dict[str, Any]:
    """Return what was kept, nothing where it was not kept by this version of it or is damaged."""
    if cache is None or not cache.exists():
        return {}
    try:
        stored = json.loads(cache.read_text(encoding="ascii"))
        if stored["version"] != _CACHE_VERSION:
            return {}
        files: dict[str, Any] = stored["files"]
        for entry in files.values():
            Heard(**entry["heard"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: made anew, it cannot be read: %s", cache, error)
        return {}
    return files


def _write_cache(cache: Path, files: Mapping[str, Any]) -> None:
    part = cache.with_name(f"{cache.name}.{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"version": _CACHE_VERSION, "files": files}), encoding="ascii")
        part.replace(cache)
    except OSError as error:
        raise EarshotError(f"{cache}: cannot be written: {error.strerror or error}") from error


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
