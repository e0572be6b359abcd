"""Measurements of steps: the row of values of a step, the window between log points, durations, stragglers.

Never writes a file or the store.
"""
