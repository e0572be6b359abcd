"""One Prometheus scrape: the catalog of metrics, the values that one scrape reads, and the collector.

It never queries the trainer: a scrape reads the store and the run directory.
"""
