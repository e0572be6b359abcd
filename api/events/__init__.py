"""Live events: one look at the store per run, one bounded subscription per client, server-sent events.

Never waits for a slow client.
"""
