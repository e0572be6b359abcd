"""What a store knows of a run whose records lie in a directory: digests, state, events.

Never changes a store.
"""
