"""Files that users bring: what a file is, and its text or records with the line of each.

`detection` (form, compression and encoding, by content and suffix), `compression` (bytes out of a compressed file),
`text` (decoding that knows its line), `records` (JSON, CSV, parquet and Arrow as records), `errors`.
"""
