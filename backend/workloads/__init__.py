"""What a workload is: declared here once, and reshaped into the models that other rooms read, store and publish."""
