"""What others may have written: read with types and bounds, and made fit for where it is shown."""
