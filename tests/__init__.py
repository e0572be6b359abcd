"""Tests; they mirror the folders, and `e2e/` runs the whole product."""
