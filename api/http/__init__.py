"""Building blocks of every route: parameters, pages, conditional requests, problems, authentication and rate limits.

It never knows a run and never queries the store.
"""
