"""One module per group of metric families, `leitstand_<group>_…`: declarations, not code.

Never reads the store: values come from `api/metrics/scrape.py`.
"""
