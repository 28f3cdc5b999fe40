"""What computes attention: PyTorch's operators over all keys, or a kernel of the Neuron SDK."""
