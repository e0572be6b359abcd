"""The state of a run on disk: collected by the checkpointer, written by a thread, verified, pruned, restored.

Never handles commands and never writes records.
"""
