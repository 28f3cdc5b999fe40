"""`kubectl neuron`: what a configuration will be, before anything is started; and what has become of a job.

It must start at once (docs/plan.md has figures), so each command imports what it needs when it runs. Only `connection`
knows a cluster; what the live commands say is worked out from a `sighting`, by pure functions.
"""
