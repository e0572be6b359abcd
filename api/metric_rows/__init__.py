"""The rows of the table of metrics, by what they are about; `api/metric_table.py` joins them."""
