"""What probes, Prometheus and people are told of the scheduler."""
