"""Tests of what trainer and API share."""
