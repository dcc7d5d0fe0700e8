"""The figures of the paper, AUC and pAUC in per cent, by machine: what tables.py shows beside ours.

Source: Zeng, Liu, Zhao and Zhou, "Self-supervised Anomalous Sound Detection for Machine Condition Monitoring", Tables 2
to 7; the harmonic means are those that the paper prints. On DCASE 2021 Task 2, sections 03 to 05.

Two cells do not fit the rest, and stand here as printed: Table 6 has 75.53 as valve's pAUC with centre loss, where
Tables 3 and 4 have 67.18 and 75.53 is the harmonic mean of all.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from trainer.dataset import Clip

MACHINES: Final = ("ToyCar", "ToyTrain", "fan", "gearbox", "pump", "slider", "valve")
TESTED_SECTIONS: Final = ("03", "04", "05")

Figures = Mapping[str, tuple[float, float]]
"""AUC and pAUC of each machine, per cent; a machine that the paper leaves out is not in it."""


def _columns(names: str, rows: str) -> Mapping[str, Figures]:
    """names: the pairs of columns; rows: machine, then AUC and pAUC of each pair, `-` where the paper has none."""
    columns: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in names.split()}
    for row in rows.strip().splitlines():
        machine, *cells = row.split()
        for name, auc, pauc in zip(columns, cells[::2], cells[1::2], strict=True):
            if auc != "-":
                columns[name][machine] = float(auc), float(pauc)
    return MappingProxyType(columns)


TABLE_2: Final = _columns(
    "m p",
    """
    ToyCar    62.92 54.42  54.58 54.17
    ToyTrain  68.21 56.04  49.04 49.50
    fan       72.64 54.59  86.15 71.45
    gearbox   66.18 57.68  52.02 51.95
    pump      63.31 54.94  78.81 67.57
    slider    74.17 61.30  89.15 73.82
    valve     57.51 52.46  59.23 59.67
    """,
)

TABLE_3: Final = _columns(
    "baseline top1 general specific",
    """
    ToyCar    65.93 52.32  75.27 59.71  65.09 58.24  78.40 68.73
    ToyTrain  68.51 57.56  69.15 59.91  71.24 59.33  73.43 62.19
    fan       60.68 50.50  61.01 60.79  86.15 71.45  91.44 82.78
    gearbox   65.49 56.86  63.07 61.56  71.09 60.48  73.40 64.06
    pump      58.30 50.98  86.76 81.55  78.81 67.57  89.06 77.32
    slider    57.22 51.41  83.18 63.60  89.15 73.82  89.11 75.03
    valve     51.87 50.07  65.36 60.15  74.78 61.03  80.03 67.18
    """,
)
TABLE_3_HARMONIC_MEAN: Final = {"baseline": 56.38, "top1": 66.80, "general": 69.43, "specific": 75.53}

TABLE_4: Final = _columns(
    "source/top1 source/ours target/top1 target/ours",
    """
    ToyCar    81.44 59.05  78.63 68.94  69.97 60.39  78.18 68.53
    ToyTrain  77.56 62.21  75.89 62.83  62.38 57.78  71.12 61.56
    fan       51.45 61.70  94.63 85.43  74.93 59.91  88.45 80.29
    gearbox   63.52 61.38  76.13 64.02  62.62 61.75  70.87 64.10
    pump      88.72 82.19  86.39 73.11  84.88 80.91  91.90 82.05
    slider    85.56 66.10  91.10 75.85  80.92 61.28  87.20 74.24
    valve     69.56 64.03  79.35 68.06  61.64 56.71  80.72 66.33
    """,
)
TABLE_4_HARMONIC_MEAN: Final = {
    "source/top1": (71.66, 64.56),
    "source/ours": (82.59, 70.49),
    "target/top1": (70.00, 61.91),
    "target/ours": (80.45, 70.26),
}

TABLE_5: Final = _columns(
    "without with",
    """
    ToyCar    62.92 54.42  65.09 58.24
    ToyTrain  68.21 56.04  71.24 59.33
    fan       86.15 71.45  -     -
    gearbox   66.18 57.68  71.09 60.48
    pump      78.81 67.57  -     -
    slider    89.15 73.82  86.41 69.16
    valve     59.23 59.67  74.78 61.03
    """,
)

TABLE_6: Final = _columns(
    "without with",
    """
    ToyCar    78.40 68.73  65.12 61.10
    ToyTrain  73.43 62.19  67.11 56.97
    fan       89.70 78.66  91.44 82.78
    gearbox   71.56 62.59  73.40 64.06
    pump      80.35 69.37  89.06 77.32
    slider    89.11 75.03  81.21 66.48
    valve     76.20 61.50  80.03 75.53
    """,
)

TABLE_7: Final[Mapping[str, tuple[bool, float]]] = MappingProxyType(
    {
        "ToyCar": (False, 1000),
        "ToyTrain": (False, 2000),
        "fan": (True, 0),
        "gearbox": (True, 2000),
        "pump": (True, 0),
        "slider": (False, 0),
        "valve": (True, 2000),
    }
)
"""Centre loss, and the cut-off of the high-pass, Hz."""

_SIMULATED: Final = "dataset.json"
"""What `earshot simulate` leaves beside its machines."""


def is_dcase_2021(clips: Sequence[Clip]) -> bool:
    """Return whether clips are those of DCASE 2021 Task 2, and not only of its shape: then its figures compare.

    Its seven machines with sections 00 to 05, about 1000 source and 3 target training clips each, as WAV, and not
    simulated.
    """
    machines = {clip.machine for clip in clips}
    n_train = Counter((clip.name, clip.domain) for clip in clips if clip.split == "train")
    expected = [f"{machine}/{section:02d}" for machine in MACHINES for section in range(6)]
    return (
        machines == set(MACHINES)
        and {name for name, _ in n_train} == set(expected)
        and all(n_train[name, "source"] >= 900 and n_train[name, "target"] == 3 for name in expected)
        and all(clip.path.suffix.lower() == ".wav" for clip in clips)
        and not any((root / _SIMULATED).exists() for root in {up for clip in clips for up in clip.path.parents[2:4]})
    )
