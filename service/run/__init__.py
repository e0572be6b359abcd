"""A run on disk and in words: its directory, its record, its states.

Never the store.
"""
