"""Records of text as samples (`model_alignment_strategy`): questions with answers, or pairs of answers to compare.

`files` are where records are and `layouts` what they look like; `reader` reads all of them. `tokens`, `answers` and
`chat` tokenise them (`encoder`: in their order), `packing` makes rows of them, `samples` gives the rows by number.
`recipe` is what the configuration says of it, `report` counts what became of the records, and `build` keeps all of it
on disk.
"""
