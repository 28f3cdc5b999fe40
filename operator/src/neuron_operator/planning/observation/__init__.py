"""What a pass has seen of the cluster, typed."""
