"""Workloads to copy: what trains under the control room beside the default one. Nothing of Leitstand imports them."""
