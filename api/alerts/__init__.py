"""Alerts of the API process: which are active, who watches for them, and webhook delivery.

Never the rules themselves: those are pure functions in `service/alerts`.
"""
