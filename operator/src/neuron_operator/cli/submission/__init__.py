"""`kubectl neuron submit`: from a file to a job that runs."""
