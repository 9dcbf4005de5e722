"""Whether a cut does what it should: each is compared with the network whose removed filters are silenced."""
