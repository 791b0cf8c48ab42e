"""Where and when a workload should run: the decision context, the scorer, and the published output."""
