"""Rollups: series aggregated in buckets of 16, 32, 64 … steps, so that few rows are read for a long curve.

Never returns a result that differs from the one computed from all log points.
"""
