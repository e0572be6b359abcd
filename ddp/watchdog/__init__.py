"""Stage and stack of every rank, and stall detection: one thread per rank, through the status store.

Never runs a collective.
"""
