"""Rank 0's writers: records, series, heartbeat, registration, logs, experiment trackers.

Never writes on the training thread, and never runs a collective.
"""
