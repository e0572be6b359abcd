"""What a run's time went to, and what went wrong with it: derived from its events and its row, the same everywhere.

Never reads a store, a file or a clock.
"""
