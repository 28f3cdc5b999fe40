"""Nodes and processes: topology, instance types, devices, environment, directories."""
