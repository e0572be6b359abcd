"""Alert rules as pure functions, the log of alert changes, the outbox of webhook deliveries.

Never delivers: the API process does.
"""
