"""Which stage every rank is in, stalls and stacks: one thread per rank, through the status store.

Never a collective.
"""
