"""Series aggregated in buckets of 16, 32, 64 … steps, so that a long curve reads few rows.

Never answers anything that the log points alone would not.
"""
