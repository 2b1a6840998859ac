"""An application that declares as many jobs as BENCH_DECLARED says."""
