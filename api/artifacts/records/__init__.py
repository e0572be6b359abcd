"""Saved records, from the run directory or from the store's copies: pages, list entries and exports.

It never knows a route or a run's registry.
"""
