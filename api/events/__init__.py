"""Live events: one poll of the store per run, one bounded subscription per client, server-sent events.

It never waits for a slow client.
"""
