"""The path from a request to a queued command: validation, acceptance, and the wait for its end.

It never executes a command: the trainer does.
"""
