"""torch's elastic agent with our rules: rounds, rendezvous, the processes and what they write to standard error."""
