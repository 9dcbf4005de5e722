"""What a study file says of a space: its keys, and what is wrong with them."""
