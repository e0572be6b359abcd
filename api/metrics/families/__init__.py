"""One module per group of metric families, `leitstand_<group>_…`: declarations of `MetricDefinition`s.

It never reads the store: values come from `api/metrics/scrape.py`.
"""
