"""The report page and the slides of a study."""
