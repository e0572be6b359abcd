"""Alerts in the API process: the active ones, the monitor that detects changes, and webhook delivery.

It never contains the rules: those are pure functions in `service/alerts`.
"""
