"""Which runs there are, and one of them during a request: registry, directories, state, settings, records.

Never declares a route.
"""
