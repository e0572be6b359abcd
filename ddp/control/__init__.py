"""How ranks agree on what people asked for: polling, the queue of rank 0, the control word, shutdown signals.

Never executes a command.
"""
