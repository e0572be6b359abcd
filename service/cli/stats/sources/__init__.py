"""Runs as the commands of `leitstand stats` read them: from a directory, or from a server through its public API.

Never prints anything.
"""
