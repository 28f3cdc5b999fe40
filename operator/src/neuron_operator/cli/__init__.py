"""`kubectl neuron`: what a configuration will be, before anything is started; no cluster is asked.

It must start at once (docs/plan.md has figures), so each command imports what it needs when it runs.
"""
