"""A run's directory, record and states.

Never accesses the store.
"""
