"""The networks that a run can train, by the setting NETWORK, and what is fixed in them.

Never reads data, and never knows ranks.
"""
