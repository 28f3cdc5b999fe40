"""A page in the browser: jobs of a cluster (`kubectl neuron dashboard`), runs of a machine (`neuron-train dashboard`).

A server on loopback that shows what a `source.Source` gives; it knows neither Kubernetes nor the trainer. Design:
docs/design/024-dashboard.md.
"""
