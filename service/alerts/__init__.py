"""Alert rules as pure functions, the log of what turned on and off, the outbox of webhooks.

Never delivers: the API process does.
"""
