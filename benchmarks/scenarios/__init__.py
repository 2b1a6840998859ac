"""What is measured: one module a scenario, each with NAME, TITLE and `run(bench)`."""
