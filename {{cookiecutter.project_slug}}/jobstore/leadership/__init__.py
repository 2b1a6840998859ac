"""Which process may run jobs: the lease, the contest for it, and what dead processes left."""
