"""Machines that do not exist: their sound, their faults and the halls they stand in, made from physics and a seed.

    sound         primitives: named randomness, waves that turn with a shaft, shaped noise, things that are struck
    machines      the seven machine types, an individual of each, how it moves and what it sounds like when it is well
    faults        what each fault adds to that sound
    surroundings  the room between machine and microphone, and everything else in the hall
    recording     the four above as one recording: `clip` and `episode`
    dataset       many recordings, in the folders and names of DCASE task 2
    command       `earshot simulate`

Each room imports only those above it. Everything is a pure function of a seed and of names: a section is the same
machine in the same room whatever else is made with it.
"""
