"""A run's files on this disk, read safely and cached: checkpoints, previews, log, records.

Never writes, and never trusts a path, a link or a size that it has not checked.
"""
