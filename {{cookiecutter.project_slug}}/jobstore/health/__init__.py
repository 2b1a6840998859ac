"""What probes, Prometheus and people are told about the scheduler."""
