"""Codes of reading: text, interpolations, overrides, key names and single values; `codes` has the others."""

from typing import Final

from .finding import Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

TABLE: Final = (
    # ---- 10xx reading ------------------------------------------------------------------------------------------------
    ("1001", _E, "", "Not a configuration", "The text is empty, is not YAML, or is not a mapping of keys.",
     "Fix the line; compare it with a file in examples/."),
    ("1002", _E, "", "Too large to be a configuration",
     "The text exceeds a bound on size, depth, number of values or length of one value; aliases count each time.",
     "Remove what is not configuration: real files have 8 kB and 200 values."),
    ("1003", _E, "", "A tag that is not allowed", "A value has a YAML tag (`!!python/…`), which could run code.",
     "Write the value itself."),
    ("1004", _E, "", "A duplicate key",
     "Two keys of one mapping have the same name; YAML would silently keep the last. Often the lines under a key are "
     "not indented.", "Keep one of them, or indent what belongs below another key."),
    ("1005", _E, "", "A number that no key can have", "An integer above 64 bits, or a number that is not finite.",
     "Write a number in the key's range."),
    ("1006", _N, "", "The word None was read as null",
     "Python's None is a string in YAML; for keys that are not texts it is read as null.", "Write null."),
    ("1007", _E, "", "A file of another program", "Its keys are those of another program's configuration.",
     "Start from a file in examples/ and copy the values."),
    # ---- 11xx interpolation ------------------------------------------------------------------------------------------
    ("1101", _E, "", "An interpolation of a missing key", "`${a.b}` names no key of this configuration.",
     "Name a key from the top of the file (`${trainer.max_steps}`), or relative to its own (`${.seq_length}`)."),
    ("1102", _E, "", "Circular interpolations", "The value needs itself; the message shows the loop.",
     "Write one of the values out."),
    ("1103", _E, "", "An unknown resolver",
     "`${name:…}` names a function that is not offered. `eval` is not: it would run code from a resource.",
     "Use multiply, add, divide, oc.env (in the pod), oc.decode, oc.select, or write the value."),
    ("1104", _E, "", "An interpolation that cannot be computed",
     "Its form is wrong, or the function cannot work with these arguments.", "Fix the form, or write the value."),
    ("1105", _N, "", "An environment variable, known in the pod only",
     "`oc.env` is resolved in the pod; outside, the value is kept as it is written and not checked.",
     "No action needed; write the value itself to have it checked."),
    ("1106", _E, "", "An environment variable in a key that decides the job's shape",
     "The value is needed before there is a pod, so it cannot come from the pod's environment.",
     "Write the value itself."),
    ("1107", _E, "", "Interpolations that grow without bound",
     "Resolving them takes more steps, or gives longer values, than any configuration needs.",
     "Write the values out."),
    # ---- 12xx overrides ----------------------------------------------------------------------------------------------
    ("1201", _E, "", "An override that cannot be read", "An override is `key=value`, `+key=value` or `~key`.",
     "Write key=value, quoted for the shell, with the value as YAML."),
    ("1202", _E, "", "An override deletes a missing key", "`~key` names a key that is not in the file.",
     "Remove the override."),
    ("1203", _E, "", "An override of an unknown key", "`key=value` changes keys that are documented or in the file.",
     "Fix the name, or write `+key=value` to add a key of your own."),
    # ---- 13xx key names ----------------------------------------------------------------------------------------------
    ("1301", _E, "", "A misspelled key", "The name is one or two letters away from a documented one.",
     "Use the name that the message proposes."),
    ("1302", _E, "", "An unknown key", "The section has no such key and allows no others.",
     "Remove it, or move it to the section it belongs to."),
    ("1303", _W, "data model", "A key of your own", "data and model may hold further keys; they are passed on.",
     "No action needed if a module of yours reads it."),
    ("1304", _W, "fusions", "fusions at the top level", "Documented under model; accepted here, as in a tutorial.",
     "Move it under model."),
    ("1305", _E, "exp_manager.exp_log_dir async_exec_max_inflight_requests "
     "model.fusions.do_layer_norm_weight_decay exp_manager.max_time_per_run data.packing fusions",
     "Two names of one key disagree", "A key and its other spelling are both given, with different values.",
     "Set only one of the two."),
    # ---- 14xx single values ------------------------------------------------------------------------------------------
    ("1401", _E, "", "A required key is missing", "There is no sensible default, or the key is null.", "Add it."),
    ("1402", _E, "", "A value of the wrong type", "The key takes another type of value.",
     "Write a value of that type."),
    ("1403", _E, "", "A value out of range", "The number is outside the key's bounds.",
     "Use a number within the bounds."),
    ("1404", _E, "", "Not one of the allowed values", "The key has a fixed list of values.", "Use one of the list."),
    ("1405", _E, "", "A text or list of the wrong length", "It is empty, too long, or has a wrong number of items.",
     "Use as many as the message says."),
)  # fmt: skip
