"""Agreement of all ranks on commands: polling, the queue of rank 0, the control word, shutdown signals.

Never executes a command.
"""
