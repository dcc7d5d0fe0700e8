"""Grades systems on labelled clips: scores in, tables out.

    scores      what is graded: a clip and its scores, a system and its clips
    scoring     a detector on clips, through the line that a device listens with
    metrics     AUC, pAUC, harmonic means, intervals, and whether two systems differ at all
    honest      the honest table: what a score is worth that nobody could pick with test labels
    tables      Tables 2 to 7 of the paper, in its own shape; paper.py holds the paper's figures
    plain       grades as text
    challenge   the CSV files that the challenge's evaluator reads
    results     all of it in a folder: what `earshot evaluate` leaves

Nothing is trained here.
"""
