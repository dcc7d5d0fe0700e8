"""The paper from beginning to end, on data in the layout of DCASE 2021: one call, many hours, resumable.

    general networks    on all machines, without a high-pass and at each cut-off that Table 7 asks for
    specific networks   of each machine, from the general one of its cut-off, without and with centre loss (Table 6)
    peers               the autoencoder, and an ensemble like that of the winner of 2021 (Table 3)
    tables              Tables 2 to 7, the honest table, the challenge's files, a report, a detector a machine

Every network is exported and scored through the device's own line. The rooms, in the order of use:

    plan            what is to be done: the recipe of every network
    steps           the networks on some clips, each after the one that it begins with
    workshop        one step done, or found done: trained, exported, scored
    systems         which network a system of the tables has for each machine
    outcome         what comes of it all: tables, the challenge's files, detectors, a report
    reproduction    the whole, one step after the other

The output folder:

    seed<k>/<step>/     run, detector and scores of a step; step.json is written last, with the key of the scores
    peers/              scores of the peers
    features/           shared by all
    detectors/          the specific detector of each machine, of the first seed
    tables.json, tables.txt, metrics.json, challenge/, report.html

What is done is not done again: a network as long as recipe, training clips and beginning are what they were, a detector
as long as its network and the judge are, scores as long as their detector and the sound of the test clips are. What was
cut off goes on. Another network is trained anew, and the run that was there is put aside as `run.1`; none is removed.
"""

from trainer.reproduction.plan import Plan, plan_of
from trainer.reproduction.reproduction import Reproduction
from trainer.reproduction.steps import Step, lonely_machines, steps_of
from trainer.reproduction.systems import network_of

__all__ = ["Plan", "Reproduction", "Step", "lonely_machines", "network_of", "plan_of", "steps_of"]
