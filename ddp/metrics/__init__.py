"""What a step measures: the row of numbers of a step, the window between log points, times, stragglers.

Never writes a file or the store.
"""
