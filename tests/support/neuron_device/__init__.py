"""The stand-in of a Neuron device for tests: `build` makes it, `report` reads what a run did with it.

`source/` is its C++ part, `site/` the package `torch_neuronx` with the entry point by which PyTorch loads it.
"""
