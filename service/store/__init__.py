"""The database that the trainer writes and the API reads: SQLite or PostgreSQL, through SQLAlchemy Core.

Never a rule about what a run may do.
"""
