"""`neuron-train doctor`: can a training run here? What it sees, line by line, each with its remedy.

`machine` reads what is there, `trials` lets child processes (`trial`) use the devices within a time; `checks/` judge
both, without looking at anything themselves; `checkup` has their order, `report` what is printed and sent back.
"""
