"""What on-call engineers see of the operator: metrics and probes."""
