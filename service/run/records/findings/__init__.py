"""What is remarkable in one run's records: pure functions over a few numbers of each record, in the order of the steps.

Never reads a file.
"""
