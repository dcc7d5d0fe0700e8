"""The network of the detector for strangers: recordings as classes, and recordings altered as faults alter them.

    recordings   which recordings it may learn from, and what each is a class of
    alterations  what faults do to a sound
    credits      whose the recordings are, for the model card

`python -m trainer.general DATA --output RUN` trains it with the trainer's own loop; `earshot export RUN --texture`
makes of it a detector without a machine, on which any is enrolled.
"""

from trainer.general.alterations import ALTERATIONS, alter
from trainer.general.recordings import gather

__all__ = ["ALTERATIONS", "alter", "gather"]
