"""Keeping a run's files for years: checking, thinning out, packing.

Never reads a record's values but to decide what stays.
"""
