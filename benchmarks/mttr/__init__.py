"""From a fault to the next new step: our launcher and its peers, and how its rendezvous grows. `make bench-mttr`."""
