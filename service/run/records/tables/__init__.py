"""Records as rows of one flat table: lines of CSV and JSON, Parquet files.

Never reads a record's file.
"""
