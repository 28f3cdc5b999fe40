"""Reference pages generated from the models: `python -m neuron_api.reference config`; `make crds` writes them all."""
