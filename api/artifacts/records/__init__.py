"""Saved records, from the run directory or from the store's copies: pages, headline entries, exports.

Never knows a request or a route.
"""
