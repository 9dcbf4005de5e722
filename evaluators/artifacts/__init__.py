"""The artifact: the one file that holds a compressed network, its verification and its export."""
