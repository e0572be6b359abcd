"""Commands that look at whole runs: check, plot, report, and the summary of a comparison.

Never cares where the records are: service/cli/stats/sources does.
"""
