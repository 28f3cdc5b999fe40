"""Megatron's data: token files (`indexed`, `writer`), which sample is what (`splits`, `indices`, `blend`, `cache`), and
what a model is given (`sets`, `items`); `build` goes from the configuration to the data sets."""
