"""Final numbers: chosen networks, all training images, several seeds, the test set once for each."""
