"""Jobs that leave a trace, and moments at which a scheduler process freezes or kills itself."""
