"""The ranks that a launcher starts: who each is, and what they leave for those that are started after them.

Never starts a process.
"""
