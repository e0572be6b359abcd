"""Video super-resolution as a single-process workload: it knows no ranks."""
