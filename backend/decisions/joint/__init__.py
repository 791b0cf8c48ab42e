"""Many workloads placed at once: a plan, and how far at most it is from the best."""
