"""Differences between SQLite and PostgreSQL: locks, snapshots, change notification.

Never knows a table.
"""
