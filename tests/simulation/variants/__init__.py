"""Broken variants of the processor, each with the bug of a real system: the simulator must catch every one of them.

A simulator that finds nothing proves something only if it would find what is there. So each variant takes away what
our code has against one bug, every lock of it where there are several, and histories are lived through until the
oracle objects. `python -m tests.simulation.variants` hunts them all; `caught.json` keeps the first seed that caught
each, which a test replays, with the variant and without it.
"""
