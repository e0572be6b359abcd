"""What was computed from a record's file, kept in the user's cache directory until the file changes.

Never needed: whatever happens to the cache, records are read as without it.
"""
