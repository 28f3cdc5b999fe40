"""Findings about an input, one typed sentence per fault, and the table of their codes."""
