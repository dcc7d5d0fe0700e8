"""Chooses the recordings that a network does not see: what is later heard of them is as new as tomorrow's sound."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from trainer.dataset import Clip

LEAST_RECORDINGS: Final = 5
"""Of fewer none is given away: a section's three target clips are needed for what they teach."""


def choose_held_out(clips: Sequence[Clip], fraction: float, seed: int) -> set[Path]:
    """Return the paths of the clips to hold out: whole recordings, `fraction` of each section's, at least one.

    Chosen in each domain that has `LEAST_RECORDINGS`, or in the larger one where only both together have them. A
    section's choice depends on its own recordings, the fraction and the seed alone: what a general network did not see,
    a fine-tuning with the same two does not see either.
    """
    if not fraction:
        return set()
    sections: defaultdict[str, dict[str, list[Clip]]] = defaultdict(dict)
    for clip in sorted(clips):
        sections[clip.name].setdefault(clip.recording, []).append(clip)
    held_out: set[Path] = set()
    for name, recordings in sections.items():
        rng = np.random.default_rng([seed, *name.encode()])
        for candidates in _groups(recordings):
            n_held_out = min(max(1, round(fraction * len(candidates))), len(candidates) - 1)
            chosen = rng.choice(len(candidates), n_held_out, replace=False)
            held_out |= {clip.path for i in chosen for clip in recordings[candidates[i]]}
    return held_out


def _groups(recordings: dict[str, list[Clip]]) -> list[list[str]]:
    """Recordings of a section by domain: the domains that have enough, else the larger one of enough in all."""
    domains: defaultdict[str, list[str]] = defaultdict(list)
    for recording, clips in recordings.items():
        domains[clips[0].domain].append(recording)
    enough = [names for names in domains.values() if len(names) >= LEAST_RECORDINGS]
    if enough or len(recordings) < LEAST_RECORDINGS:
        return enough
    return [max(domains.values(), key=len)]
