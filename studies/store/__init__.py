"""Where studies lie, and how they are read and written."""
