"""Database that the trainer writes and the API reads: SQLite or PostgreSQL, through SQLAlchemy Core.

Never decides what a run may do.
"""
