"""The state of a run on disk: collected by the checkpointer, written by a thread, verified, pruned, restored.

Never a command and never the record.
"""
