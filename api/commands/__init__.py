"""The way from a request to a queued command: arguments, acceptance, and the wait for its end.

Never executes a command: the trainer does.
"""
