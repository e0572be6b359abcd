"""Files of a run on this machine, read safely and cached: checkpoints, previews, log and records.

It never writes, and never trusts a path, a link or a size that it has not checked.
"""
