"""Records of a question and its answer as samples (`model_alignment_strategy.sft`): loss on the answer alone.

`records` reads the file, `pieces` tokenises it, `packed` joins pieces to rows, `build` keeps them on disk.
"""
