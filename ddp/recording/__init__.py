"""What rank 0 writes: records, series, heartbeat, registration, logs, experiment trackers.

Never on the training thread, and never a collective.
"""
