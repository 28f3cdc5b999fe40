"""Records of text as samples (`model_alignment_strategy`): questions with answers, or pairs of answers to compare.

`tuning` and `preferences` read the records of a file; `tokens` and `answers` tokenise them, `packing` makes rows of
them, `samples` gives the rows by number. `recipe` is what the configuration says of it, `report` counts what became of
the records, and `build` keeps all of it on disk.
"""
