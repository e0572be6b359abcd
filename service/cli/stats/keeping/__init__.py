"""Commands of `leitstand stats` that check or change a run's files.

Never replaces a file by another content.
"""
