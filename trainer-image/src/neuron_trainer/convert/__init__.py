"""`neuron-train checkpoint convert`: weights between this trainer's checkpoints, Hugging Face's and upstream's (NxD).

In the middle there are full tensors under Hugging Face's names, each loaded when it is asked for: `weights`. `native`,
`hugging_face` and `nxd` read and write one form each; `config_file` writes a config.json.
"""
